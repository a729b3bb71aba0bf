"""What a run needs, built and tried out before any file is made: task, environment, agent."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from agents.rollouts.contract import check_methods
from agents.training.process_checks import check_divisible
from rlhf_env.mdp.render import printable
from rlhf_env.rewards.metrics.held_out import HeldOutFigures, held_out_figures
from rlhf_env.rewards.own_randomness import kept_randomness
from rlhf_env.rewards.text_regression import TextRegressionReward
from rlhf_env.task import Task
from studies.execution.threads import flush_denormals, set_threads
from studies.experiment.acting import Envs, untrained
from studies.experiment.agent_names import is_custom
from studies.experiment.build import make_agent, make_envs, make_task, shortened
from studies.experiment.custom_checks import MAX_ERROR, hush, try_reward
from studies.experiment.inputs import TaskInputs
from studies.experiment.task.custom import learn_reward, load_custom_task
from studies.training.checks import check_lengths
from studies.training.preferences import TrainingPreferences
from studies.training.replay import replay_argument
from studies.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Everything a run needs, built and tried out; no file has been made."""

    task: Task
    """The prompts and the reward."""
    agent: Any
    """The agent to train."""
    envs: Envs
    """Its environment."""
    untrained: Any
    """What acts before training: the agent, or a twin of one whose random numbers acting uses."""
    untrained_envs: Envs
    """The environment of that one."""
    learned: TextRegressionReward | None
    """The reward, where it was learned from ratings."""
    figures: HeldOutFigures | None
    """How well it forecasts ratings held out."""


def assemble(
    settings: Settings,
    inputs: TaskInputs | None,
    preferences: TrainingPreferences | None,
    console: Console,
) -> Assembly:
    """Learn the reward if there are ratings, load the model, and make the agent.

    Args:
        settings: checked.
        inputs: of the task, checked; None for a built-in one.
        preferences: to learn from; None where the agent makes its own episodes.
        console: shows what is being waited for, and what was left out.

    Raises:
        ValueError: if the model or the reward cannot be used.
    """
    learned, figures = None, None
    hush()
    flush_denormals()
    if inputs is not None and inputs.ratings is not None:
        count = len(inputs.ratings)
        console.print(f"learning a reward from {count:,} rated text{'s' if count > 1 else ''} ...")
        learned, held_out = learn_reward(inputs.ratings)
        figures = held_out_figures(
            learned.predict(held_out.texts), held_out.values, learned.neutral
        )
    with noting(console):
        task = build_task(settings, inputs, learned)
    check_lengths(settings.learning, task.max_new_tokens)
    if inputs is None:
        try_reward(task.reward, [task.prompts[0], task.prompts[-1]], "--task")
    options, device = dict(settings.learning.agent_options), settings.learning.device
    if preferences is not None:
        options |= preferences.arguments(settings.out)
    envs = make_envs(settings.run, task, device)
    with noting(console):
        options |= replay_argument(settings.learning, envs)
        agent = made_agent(settings, envs, options)
    set_threads(settings.threads, sum(p.numel() for p in task.reference.parameters()))
    check_divisible(agent)
    with kept_randomness():
        twin, twin_envs = untrained(settings.run, task, agent, options, device)
    return Assembly(
        task=task,
        agent=agent,
        envs=envs,
        untrained=twin,
        untrained_envs=twin_envs,
        learned=learned,
        figures=figures,
    )


def made_agent(settings: Settings, envs: Envs, options: Mapping[str, Any]) -> Any:
    """Return the agent; of one of one's own, say in one sentence why it cannot be made.

    Raises:
        ValueError: with the error of its constructor, or the method that it lacks.
    """
    name = settings.learning.agent
    if not is_custom(name):
        return make_agent(settings.run, envs, options)
    try:
        agent = make_agent(settings.run, envs, options)
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_ERROR]
        raise ValueError(
            f"agent {name!r} must be made with the environments and the settings that it names, "
            f"got {type(error).__name__}: {reason}; correct its constructor"
        ) from error
    check_methods("agent", agent, ("act", "update"), "act(observation) and update(rollout)")
    return agent


@contextmanager
def noting(console: Console) -> Iterator[None]:
    """Show warnings as notes, once what they are about is done."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        yield
    for note in noted:
        console.print(f"note: {printable(str(note.message))}", markup=False)


def build_task(
    settings: Settings, inputs: TaskInputs | None, learned: TextRegressionReward | None
) -> Task:
    """Return the built-in task, or one made of the model and the inputs.

    Raises:
        ValueError: if the model or all prompts cannot be used.
    """
    problem = settings.problem
    if inputs is None:
        return shortened(make_task(settings.task_name or ""), problem.own.max_new_tokens)
    return load_custom_task(problem.model or "", problem.own, inputs, learned, problem.kl_coef)
