"""From the settings of one run to its task, its environment and its agent."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from transformers.utils.logging import disable_progress_bar

import agents
import rlhf_env  # noqa: F401  (registers RLHF-v0)
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.task import Task
from rlhf_env.tasks import family_and_horizon, family_options, load_task
from studies.experiment.agent_names import (
    OFFERED,
    SAMPLING,
    custom_class,
    is_custom,
    settings_of,
)
from studies.experiment.further_settings import further_settings
from studies.experiment.grid import Budget, RunSettings
from studies.experiment.implicit_reward import with_implicit_reward
from studies.experiment.inputs import TaskInputs, read_inputs
from studies.experiment.names import entropy_threshold, tokens_per_action
from studies.experiment.old_episodes import old_episodes
from studies.experiment.references import import_object
from studies.experiment.task.custom import learn_reward, load_custom_task
from studies.experiment.task.family import FamilyOptions
from studies.experiment.task.family_checks import ELSEWHERE
from studies.experiment.task.spec import OwnTask
from wrappers import boundaries, vector

if TYPE_CHECKING:
    from rlhf_env.rewards.text_regression import TextRegressionReward

MAX_ENVS = 64
# Tables of logits learn with far larger steps than transformers do.
TABLE_LEARNING_RATE = 0.05
LEARNING_RATES = {"toy15": TABLE_LEARNING_RATE}
# At the agents' own step size, pretrained models move far from their reference in one update.
# PPO takes many steps per update, the others one.
MODEL_LEARNING_RATES = {"ppo": 3e-5, "kl_penalty_ppo": 3e-5}
MODEL_LEARNING_RATE = 1e-4
# Of agents without a discount.
NO_DISCOUNT = 1.0
# Densities with the discount of the agent, and their wrappers.
SHAPING = {"potential": "PotentialShaping", "process_potential": "ProcessPotential"}


def run_task(run: RunSettings) -> Task:
    """Return the task of a run: that of its model, or the one it names."""
    return budget_task(run.budget, run.kl_coef)


def budget_task(budget: Budget, kl_coef: float | None) -> Task:
    """Return the task that a budget is of.

    Args:
        budget: names it, or its model.
        kl_coef: of a task that is made of a model; None takes the usual one.
    """
    if budget.model is None:
        task = make_task(budget.task, budget.family_options)
        return shortened(task, budget.own.max_new_tokens)
    # Folders load in a moment; their bar would appear between the lines of finished runs.
    disable_progress_bar()
    inputs, learned = custom_inputs(budget.own)
    return load_custom_task(budget.model, budget.own, inputs, learned, kl_coef)


@functools.cache
def custom_inputs(own: OwnTask) -> tuple[TaskInputs, TextRegressionReward | None]:
    """Return prompts and reward; read, and learned, once per process."""
    inputs = read_inputs(own)
    return inputs, None if inputs.ratings is None else learn_reward(inputs.ratings)[0]


def shortened(task: Task, max_new_tokens: int | None) -> Task:
    """Return a task with another horizon; None leaves it as it is."""
    if max_new_tokens is None:
        return task
    return dataclasses.replace(task, max_new_tokens=max_new_tokens)


def make_task(name: str, options: FamilyOptions | None = None) -> Task:
    """Return a built-in task, a family's with its options, or what ``module:function`` returns.

    Raises:
        ValueError: if the options do not fit together, or the function returns something else.
    """
    if (parts := family_and_horizon(name)) is not None:
        return load_task(name, **({} if options is None else options.of(parts[0])))
    if not is_custom(name):
        return load_task(name)
    made = import_object(name, "task")()
    if not isinstance(made, Task):
        raise ValueError(f"task must return a rlhf_env.Task, got a {type(made).__name__}")
    return made


def check_family_tasks(budgets: Iterable[Budget]) -> None:
    """Build every task of a family once, which takes milliseconds.

    Raises:
        ValueError: if options do not fit together, or no family of the grid has one of them.
    """
    of_families = [own for own in budgets if family_and_horizon(own.task) is not None]
    for own in of_families:
        try:
            make_task(own.task, own.family_options)
        except ValueError as error:
            raise ValueError(f"task {own.task!r} cannot be made: {error}") from error
    named = dict.fromkeys(own.task.partition("-")[0] for own in of_families)
    known = {name: [o for o in family_options(name) if o not in ELSEWHERE] for name in named}
    for text in of_families[0].family_options.task_options if of_families else ():
        if not any(text.partition("=")[0] in options for options in known.values()):
            have = "; ".join(f"{name} has {', '.join(options)}" for name, options in known.items())
            raise ValueError(
                f"task_options must be options of a family of the grid, got {text!r}, but {have}"
            )


def make_envs(run: RunSettings, task: Task, device: str = "auto") -> VectorEnv[Any, Any, Any]:
    """Return the vector environment with the density inside and the granularity outside.

    Shaping is outside of both: its discount is the agent's, per decision.
    """
    rows = min(run.budget.episodes_per_update, MAX_ENVS)
    envs = gym.make_vec("RLHF-v0", num_envs=rows, task=task, kl_coef=run.kl_coef, device=device)
    if run.every_k is not None:
        envs = vector.EveryK(envs, k=run.every_k)
    if run.density == "implicit":
        coef = task.kl_coef if run.kl_coef is None else run.kl_coef
        envs = with_implicit_reward(envs, task, coef)
    if run.density == "process":
        envs = vector.ProcessReward(envs)
    if run.density == "process_raw":
        envs = vector.RawProcessReward(envs)
    envs = with_granularity(envs, run.granularity)
    if run.density in SHAPING:
        gamma = NO_DISCOUNT if run.gamma is None else run.gamma
        envs = getattr(vector, SHAPING[run.density])(envs, gamma=gamma)
    return envs


def with_granularity(envs: VectorEnv[Any, Any, Any], granularity: str) -> VectorEnv[Any, Any, Any]:
    """Return the environment with actions of several tokens, if the granularity has them."""
    if (tokens := tokens_per_action(granularity)) is not None:
        return vector.MacroAction(envs, n=tokens)
    if (threshold := entropy_threshold(granularity)) is not None:
        unsure = boundaries.high_reference_entropy(threshold)
        return vector.MacroAction(envs, boundary=unsure)
    if granularity == "turn":
        return vector.MacroAction(envs, boundary="turn")
    if granularity == "macro_punctuation":
        return vector.MacroAction(envs, boundary=boundaries.punctuation)
    if granularity == "macro_space_led":
        return vector.MacroAction(envs, boundary=boundaries.space_led)
    return vector.SequenceBandit(envs) if granularity == "bandit" else envs


def make_agent(
    run: RunSettings, envs: VectorEnv[Any, Any, Any], more: Mapping[str, Any] | None = None
) -> Any:
    """Return the agent with the settings it has.

    Args:
        run: of which the agent gets what it takes.
        envs: that it acts in.
        more: settings besides, which it has.
    """
    offered = {
        "gamma": run.gamma,
        "gae_lambda": run.gae_lambda,
        "group_size": run.group_size,
        "kl_coef": run.kl_coef,
        "kl_placement": run.kl_placement,
        "kl_estimator": run.kl_estimator,
        "importance": run.importance,
        "staleness": run.staleness,
        "episodes_per_update": run.budget.episodes_per_update,
        "learning_rate": learning_rate(run),
        "seed": run.seed,
    }
    given = {name: value for name, value in offered.items() if value is not None}
    more = {**old_episodes(run), **further_settings(run.agent, run.set), **(more or {})}
    if is_custom(run.agent):
        custom = custom_class(run.agent)
        taken = settings_of(custom, (*OFFERED, *SAMPLING))
        return custom(envs, **{k: v for k, v in given.items() if k in taken}, **more)
    known = BUILT_IN_AGENTS[run.agent]
    made: Callable[..., Any] = getattr(agents, known.class_name)
    # Of what a grid offers to all, such as a learning rate, an agent gets what it takes.
    given = {name: value for name, value in given.items() if name in known.settings}
    return made(envs, **{**known.preset, **given, **more})


def learning_rate(run: RunSettings) -> float | None:
    """Return the requested step size, or one that suits the task; None for the agent's own."""
    if run.budget.learning_rate is not None:
        return run.budget.learning_rate
    if run.budget.model is not None:
        return MODEL_LEARNING_RATES.get(run.agent, MODEL_LEARNING_RATE)
    if run.budget.family_options.is_table:
        return TABLE_LEARNING_RATE
    return LEARNING_RATES.get(run.budget.task)
