"""Checks of wrappers: those of environments on what is wrapped, and what a wrapper owes the inside.

They are made on "toy15" unless another task is named: every number of it is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch

from rlhf_env.rollout import Rollout, RolloutTransform
from rlhf_env.task import Task
from rlhf_env.testing import env as env_checks
from rlhf_env.testing.claims import Check, CheckList, NotApplicable, expect
from rlhf_env.testing.env_case import SEEDS, EnvCase
from rlhf_env.testing.episodes import Step, play
from rlhf_env.testing.task import task_case

CHECKS = CheckList("wrapper")
Wrap = Callable[[Any], Any]
# What the wrapped environment must still be.
_OF_ENVIRONMENTS = (
    "gymnasium_s_own_checker_passes",
    "an_end_is_of_one_kind",
    "the_terms_of_a_reward_add_up",
    "a_seed_and_actions_make_the_episode",
    "an_episode_leaves_no_trace",
    "global_generators_stay_as_they_are",
    "observations_are_memory_of_their_own",
    "observations_are_in_their_space",
    "rewards_are_finite_floats",
    "numbers_in_info_are_floats",
)


@dataclass(frozen=True)
class WrapperCase:
    """A wrapper, and what is known of it."""

    wrap: Wrap
    vector: Wrap | None = None
    keeps_score: bool = False
    keeps_actions: bool = True
    task: Task = field(default_factory=lambda: task_case("toy15"))

    def inner(self, **options: Any) -> gym.Env[Any, Any]:
        """Return a new environment without the wrapper."""
        return gym.make("RLHF-v0", task=self.task, **options)

    @property
    def env(self) -> EnvCase:
        """What the checks of environments are made on."""
        return EnvCase(lambda: self.wrap(self.inner()))


def wrapper_case(wrap: Wrap, task: Task | str = "toy15", **known: Any) -> WrapperCase:
    """Return a wrapper with what is known of it."""
    return WrapperCase(wrap, task=task_case(task), **known)


def _on_the_wrapped(check: Check) -> None:
    def on_the_wrapped(case: WrapperCase) -> str | None:
        return check.function(case.env)

    on_the_wrapped.__name__, on_the_wrapped.__doc__ = check.name, check.claim
    CHECKS.add(check.source)(on_the_wrapped)


for _check in env_checks.CHECKS:
    if _check.name in _OF_ENVIRONMENTS:
        _on_the_wrapped(_check)


@CHECKS.add("Farama-Foundation/Gymnasium Wrapper; huggingface/trl#6804")
def the_inside_stays_as_it_is(case: WrapperCase) -> None:
    """An environment pays the same after it has been wrapped as before."""
    env = case.inner()
    before = [play(env, seed)[2] for seed in SEEDS]
    wrapped = case.wrap(env)
    play(wrapped, 0)
    for seed, steps in zip(SEEDS, before, strict=True):
        _, _, again = play(env, seed, [step.action for step in steps])
        earlier, later = ([step.reward for step in part] for part in (steps, again))
        is_same = np.allclose(earlier, later, rtol=0.0, atol=1e-5)
        expect(is_same, f"seed {seed}: {earlier} before, {later} after")


@CHECKS.add("Farama-Foundation/Gymnasium Env.reset")
def options_of_a_reset_arrive(case: WrapperCase) -> None:
    """What reset is told reaches the environment: a prompt that does not exist is refused."""
    env = case.wrap(case.inner())
    try:
        env.reset(seed=0, options={"prompt_index": len(case.task.prompts) + 5})
    except Exception:
        return
    raise AssertionError("a prompt_index that does not exist was accepted")


@CHECKS.add("NVIDIA-NeMo/Gym#1525; huggingface/trl#4841")
def the_kl_inside_is_paid(case: WrapperCase) -> None:
    """An episode's KL terms add up to those that the same tokens are paid without the wrapper."""
    for tokens, steps in _token_episodes(case):
        plain = _paid(case.inner(), tokens, "kl")
        found = [step.info.get("reward_terms", {}).get("kl", 0.0) for step in steps]
        expect(abs(sum(found) - sum(plain)) < 1e-5, f"{found} for tokens {tokens}, inside {plain}")


@CHECKS.add("arXiv:2402.00782; huggingface/OpenEnv RFC on step rewards")
def the_score_is_only_moved(case: WrapperCase) -> None:
    """Payments at other times add up to the score."""
    if not case.keeps_score:
        raise NotApplicable("it does not say keeps_score=True")
    for tokens, steps in _token_episodes(case):
        due = sum(_paid(case.inner(), tokens, "score"))
        terms = [step.info["reward_terms"] for step in steps]
        found = [sum(v for name, v in part.items() if name != "kl") for part in terms]
        expect(abs(sum(found) - due) < 1e-5, f"{found} for a score of {due:.6g}")


@CHECKS.add("Farama-Foundation/Gymnasium vector wrappers")
def its_vector_twin_pays_the_same(case: WrapperCase) -> None:
    """Rows of a vector environment are paid what single environments are paid."""
    if case.vector is None:
        raise NotApplicable("no vector=")
    env = case.wrap(case.inner())
    rows = [play(env, 3 + row)[2] for row in range(3)]
    envs = case.vector(gym.make_vec("RLHF-v0", num_envs=3, task=case.task))
    envs.reset(seed=3)
    for t in range(max(map(len, rows))):
        actions = [steps[min(t, len(steps) - 1)].action for steps in rows]
        _, rewards, *_ = envs.step(_stacked(actions))
        for row, steps in enumerate(rows):
            if t < len(steps):
                gap = abs(float(rewards[row]) - steps[t].reward)
                seen = (
                    f"step {t} of row {row}: {float(rewards[row]):.6g}, alone {steps[t].reward:.6g}"
                )
                expect(gap < 1e-5, seen)


@CHECKS.add("Farama-Foundation/Gymnasium; arXiv:2402.00782")
def a_rollout_is_paid_what_steps_pay(case: WrapperCase) -> None:
    """What it makes of a finished episode are the rewards that stepping pays."""
    env: Any = case.wrap(case.inner())
    if not isinstance(env, RolloutTransform):
        raise NotApplicable("it transforms no rollouts")
    transform, base = env.rollout, cast(Any, env).unwrapped
    for tokens, steps in _token_episodes(case):
        found = transform(base.evaluate(_unpaid(case.task, tokens)))
        rewards = found.rewards[0, found.is_action[0]].tolist()
        total, due = sum(rewards), sum(step.reward for step in steps)
        expect(abs(total - due) < 1e-4, f"{rewards} in a rollout, {due:.6g} in steps")
        if len(steps) == len(rewards):
            gap = max(abs(a - b.reward) for a, b in zip(rewards, steps, strict=True))
            expect(gap < 1e-4, f"{rewards}, stepping pays {[step.reward for step in steps]}")


def _token_episodes(case: WrapperCase) -> list[tuple[list[int], list[Step]]]:
    """Return episodes with the tokens that they are of; the wrapped actions are tokens."""
    if not case.keeps_actions or not isinstance(
        case.wrap(case.inner()).action_space, gym.spaces.Discrete
    ):
        raise NotApplicable("its actions are not tokens")
    episodes = []
    for seed in SEEDS:
        _, _, steps = play(case.wrap(case.inner()), seed)
        episodes.append(([int(step.action) for step in steps], steps))
    return episodes


def _paid(env: gym.Env[Any, Any], tokens: list[int], term: str) -> list[float]:
    _, _, steps = play(env, 0, list(tokens))
    return [step.info["reward_terms"][term] for step in steps]


def _stacked(actions: list[Any]) -> Any:
    if isinstance(actions[0], dict):
        return {name: np.stack([action[name] for action in actions]) for name in actions[0]}
    return np.stack(actions)


def _unpaid(task: Task, tokens: list[int]) -> Rollout:
    """Return one finished episode on the first prompt, that nobody has paid yet."""
    prompt = task.prompts[0]
    ids = torch.cat([prompt, torch.tensor(tokens)])[None]
    is_action = torch.arange(ids.shape[1])[None] >= len(prompt)
    zeros = torch.zeros(ids.shape)
    return Rollout(
        tokens=ids,
        is_action=is_action,
        logprobs=zeros,
        ref_logprobs=zeros,
        rewards=zeros,
        reward_terms={"score": zeros, "kl": zeros},
        score=torch.zeros(1),
        terminated=torch.ones(1, dtype=torch.bool),
        group=torch.zeros(1, dtype=torch.int64),
        prompt_index=torch.zeros(1, dtype=torch.int64),
        decision=torch.where(is_action, torch.arange(ids.shape[1]) - len(prompt), -1),
    )
