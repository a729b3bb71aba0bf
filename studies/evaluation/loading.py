"""From a saved agent to one that answers: its task, its environment, its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym

import agents
import rlhf_env  # noqa: F401  (registers RLHF-v0)
from agents import Agent
from rlhf_env import Task
from rlhf_env.rewards.text_regression import TextRegressionReward
from studies.evaluation.saved import Saved
from studies.experiment.acting import has_policy
from studies.experiment.agent_names import is_custom
from studies.experiment.build import make_agent, make_task, shortened
from studies.experiment.checks import check_task
from studies.experiment.inputs import TaskInputs, file_digests, read_inputs
from studies.experiment.task.custom import learn_reward, load_custom_task
from studies.experiment.task.spec import Problem
from studies.results.run_folder import REWARD

MAX_ENVS = 64


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a task is to be made of, read but not loaded."""

    problem: Problem
    """Names it."""
    inputs: TaskInputs | None
    """What was read for a model; None for a built-in task."""
    reward: Path | None
    """The file of a previously learned reward; None if there is none."""


def read_source(saved: Saved, asked: Problem, *, trust: bool = False) -> Source:
    """Return the task of the command line, else the one that the agent was trained on.

    Args:
        saved: the agent, in an untrusted folder.
        asked: what the command line names.
        trust: import the code that the folder's settings name.

    Raises:
        ValueError: if neither is known, the files cannot be used or are not those that the
            agent was trained on, or the folder names code and is not trusted.
    """
    check_code(saved, trust=trust)
    if asked.task is not None or asked.model is not None:
        return Source(problem=asked, inputs=_inputs(asked), reward=None)
    named_again = asked.own.reward
    _check_no_more(replace(asked, own=replace(asked.own, reward=None)))
    if saved.run is None:
        raise ValueError(
            f"--task or --model must say what to ask, got neither, and {saved.folder} does not "
            "tell either; give --task, or --model with --prompts and a reward"
        )
    problem = saved.run.problem
    if problem.model is None:
        problem = replace(problem, task=saved.run.task_name)
    if named_again not in (None, problem.own.reward):
        raise ValueError(
            f"--reward must be the one of {saved.folder}, {problem.own.reward!r}, got "
            f"{named_again!r}; to ask something else, give --model with all that goes with it"
        )
    if not trust and named_again is None:
        _check_no_code(saved, problem)
    if problem.model is not None:
        # Before a reward is imported: it may not be the file that the agent was trained on.
        _check_unchanged(saved, file_digests(problem.own))
    inputs = _inputs(problem)
    reward = saved.run.out / REWARD
    return Source(problem=problem, inputs=inputs, reward=reward if reward.is_file() else None)


def load_task(source: Source) -> Task:
    """Load the model, if there is one, and make the task.

    Raises:
        ValueError: if the model, the reward or all prompts cannot be used.
    """
    problem, inputs = source.problem, source.inputs
    if inputs is None:
        return shortened(make_task(problem.task or ""), problem.own.max_new_tokens)
    learned = None
    if source.reward is not None:
        learned = TextRegressionReward.load(source.reward)
    elif inputs.ratings is not None:
        learned = learn_reward(inputs.ratings)[0]
    return load_custom_task(problem.model or "", problem.own, inputs, learned, problem.kl_coef)


def load_agent(saved: Saved, task: Task) -> Agent:
    """Return the saved agent in an environment that pays the score at the end.

    Raises:
        ValueError: if its weights do not fit the task's model, or it is an agent of one's own that
            has no policy.
    """
    envs = gym.make_vec("RLHF-v0", num_envs=MAX_ENVS, task=task)
    if not is_custom(saved.agent):
        kind: Any = getattr(agents, saved.agent)
        return kind.load(saved.checkpoint, envs)
    assert saved.run is not None
    agent = make_agent(saved.run.run, envs, saved.run.learning.agent_options)
    if not has_policy(agent):
        raise ValueError(
            f"the folder must hold an agent with a policy, such as a class derived from "
            f"agents.Agent, got {saved.folder} of {saved.agent!r}, which only acts; what it "
            "reached is in the run's evaluation.json"
        )
    agent.restore(saved.checkpoint)
    return agent


def check_code(saved: Saved, *, trust: bool) -> None:
    """Refuse to import the agent that only a folder names: the folder's author would choose it.

    Raises:
        ValueError: with the name.
    """
    if is_custom(saved.agent) and not trust:
        raise ValueError(
            f"{saved.folder} names code to run, the agent {saved.agent!r:.200}, which is not run "
            "because a folder says so; if you trust it, give --trust"
        )


def _inputs(problem: Problem) -> TaskInputs | None:
    if problem.model is not None:
        return read_inputs(problem.own)
    check_task(problem.task or "")
    return None


def _check_no_more(asked: Problem) -> None:
    usual = Problem().to_json()
    for name, value in asked.to_json().items():
        if value != usual[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} goes with --task or --model, got {value!r} without "
                "one; name one, or leave it out"
            )


def _check_no_code(saved: Saved, problem: Problem) -> None:
    """Refuse to import code that only the folder names: the folder's author would choose it."""
    if problem.model is None and is_custom(problem.task or ""):
        again = f"--task {problem.task}"
    elif problem.model is not None and ":" in (problem.own.reward or ""):
        again = f"--reward {problem.own.reward}"
    else:
        return
    raise ValueError(
        f"{saved.folder} names code to run, {again.split()[1]!r:.200}, which is not run because a "
        f"folder says so; if you trust it, give {again} again, or --trust"
    )


def _check_unchanged(saved: Saved, digests: Mapping[str, str]) -> None:
    for option, digest in digests.items():
        if saved.digests.get(option) != digest:
            raise ValueError(
                f"--{option} must be as it was when {saved.folder} was trained, got another "
                "content; put the file back, or give --model and all that goes with it"
            )
