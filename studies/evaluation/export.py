"""The work of `scripts/export.py`."""

from __future__ import annotations

from rich.console import Console
from torch import Tensor

from agents import Agent
from agents.training.run_log import METRICS, read_metrics
from rlhf_env import Task
from rlhf_env.defaults import MAX_NEW_TOKENS, MAX_PROMPT_TOKENS
from rlhf_env.rewards.training.export import export_classifier
from rlhf_env.rewards.training.header import HEADER
from rlhf_env.rewards.training.trained import TrainedReward, load_reward
from studies.evaluation.loading import check_code, load_agent, load_task, read_source
from studies.evaluation.saved import Saved, find_saved
from studies.evaluation.settings import Export
from studies.experiment.custom_checks import hush
from studies.experiment.task.custom import options_named
from studies.experiment.task.spec import Problem


def run(settings: Export) -> None:
    """Load the agent's weights, or a trained reward's, and write them as a model folder.

    Raises:
        ValueError: if there is no agent, its model is not known, or the folder is taken.
        OSError: if it cannot be written.
    """
    if (settings.folder / HEADER).is_file():
        _export_reward(settings)
        return
    saved = find_saved(settings.folder)
    check_code(saved, trust=settings.trust)
    hush()
    agent = load_agent(saved, _task(saved, settings))
    if not isinstance(agent, Agent):
        raise ValueError(
            f"the folder must hold an agent that trained a policy, got {saved.folder} of "
            f"{saved.agent}, which chooses among responses of the reference"
        )
    agent.export(settings.out, adapter=settings.adapter, figures=_figures(saved, agent.updates))
    console = Console(highlight=False, soft_wrap=True)
    kind = "adapter" if settings.adapter else "model"
    updates = f"{agent.updates:,} update" + ("" if agent.updates == 1 else "s")
    console.print(f"{kind} after {updates} in {settings.out}", markup=False)


def _export_reward(settings: Export) -> None:
    """Write a reward model that a command trained as a sequence classifier."""
    hush()
    reward = load_reward(settings.folder)
    if not isinstance(reward, TrainedReward):
        raise ValueError(
            f"the folder must hold one reward model, got the ensemble {str(settings.folder)!r}; "
            "name one of its members"
        )
    shift = export_classifier(reward, settings.out)
    note = f"; its logits are larger than the scores by {shift:.6g}" if shift else ""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"reward model in {settings.out}{note}", markup=False)


def _figures(saved: Saved, updates: int) -> dict[str, float]:
    """Return what the run's log says of the update that is exported."""
    for folder in (saved.folder, *saved.folder.parents[:3]):
        if (folder / METRICS).is_file():
            rows = read_metrics(folder / METRICS)
            return {
                name: float(value)
                for row in rows
                if row["update"] == updates
                for name, value in row.items()
                if isinstance(value, int | float)
            }
    return {}


def _task(saved: Saved, settings: Export) -> Task:
    """Return a task with the model of the agent's own, whose weights the agent replaces."""
    problem = Problem(task=settings.task, model=settings.model)
    if settings.task is None and settings.model is None and saved.run is not None:
        problem = saved.run.problem
    if problem.model is None:
        # Neither rewards nor prompts are asked for, but only a task names a built-in model.
        return load_task(read_source(saved, Problem(task=settings.task), trust=settings.trust))
    own = problem.own
    with options_named():
        return Task.from_pretrained(
            problem.model,
            reward=_unused,
            prompts=[[0]],
            max_prompt_tokens=own.max_prompt_tokens or MAX_PROMPT_TOKENS,
            max_new_tokens=own.max_new_tokens or MAX_NEW_TOKENS,
        )


def _unused(prompts: list[Tensor], responses: list[Tensor]) -> list[float]:
    return [0.0] * len(responses)
