"""One wrong environment for every check, each a wrapper around a right one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from rlhf_env.tasks import load_task

Answer = tuple[Any, Any, Any, Any, dict[str, Any]]
TASK = load_task("toy15")


def plain() -> gym.Env[Any, Any]:
    return gym.make("RLHF-v0", task=TASK)


class Faulty(gym.Wrapper[Any, Any, Any, Any]):
    """Changes what a step returns."""

    def __init__(self, env: gym.Env[Any, Any], change: Callable[..., Answer]) -> None:
        super().__init__(env)
        self.change = change
        self.steps = 0
        self.episodes = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        self.episodes += 1
        return self.env.reset(**options)

    def step(self, action: Any) -> Answer:
        self.steps += 1
        return self.change(self, *self.env.step(action))


def step_fault(change: Callable[..., Answer]) -> Callable[[Any], Any]:
    return lambda env: Faulty(env, change)


def paid(info: dict[str, Any], **terms: float) -> tuple[float, dict[str, Any]]:
    """The reward and info with other terms."""
    changed = info["reward_terms"] | terms
    return float(sum(changed.values())), info | {"reward_terms": changed}


def both_flags(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    return seen, reward, ended, ended and info["finish_reason"] == "length", info


def bonus_aside(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    return seen, reward + 0.1, ended, cut, info


def half_the_score(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    reward, info = paid(info, score=0.5 * info["reward_terms"]["score"])
    return seen, reward, ended, cut, info


def no_last_kl(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    if ended:
        reward, info = paid(info, kl=0.0)
    return seen, reward, ended, cut, info


class Unseeded(Faulty):
    """Pays noise from a generator that no seed reaches."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env, self.noisy)
        self.noise = np.random.default_rng()

    def noisy(self, _: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
        # Gymnasium's checker compares first steps.
        noise = float(self.noise.normal(scale=3e-6)) if self.steps > 1 else 0.0
        reward, info = paid(info, kl=info["reward_terms"]["kl"] + noise)
        return seen, reward, ended, cut, info


def remembers(env: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    """From the sixth episode of one environment on another step is paid."""
    late = 1e-4 if env.episodes == 6 else 0.0
    reward, info = paid(info, kl=info["reward_terms"]["kl"] + late * (not ended or env.steps == 1))
    return seen, reward, ended, cut, info


def draws_globally(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    random.random()
    return seen, reward, ended, cut, info


class OneBuffer(Faulty):
    """Returns one array again and again."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env, self.shared)
        self.buffer = np.zeros(2, dtype=np.float32)

    def shared(self, _: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
        return seen, reward, ended, cut, info | {"buffer": self.buffer}


class Outside(Faulty):
    """The space forgets the last place of the vocabulary."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env, lambda _, *answer: answer)
        inner = env.observation_space["input_ids"]  # type: ignore[index]
        narrow = gym.spaces.Box(0, inner.high.max() - 1, inner.shape, inner.dtype)
        self.observation_space = gym.spaces.Dict(
            dict(env.observation_space) | {"input_ids": narrow}
        )


def numpy_reward(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    return seen, np.float64(reward), ended, cut, info


def whole_numbers(env: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    return seen, reward, ended, cut, info | {"steps": env.steps}


class Forgiving(gym.Wrapper[Any, Any, Any, Any]):
    """Begins anew instead of refusing a step after the end."""

    over = False

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.over = False
        return self.env.reset(**options)

    def step(self, action: Any) -> Answer:
        if self.over:
            self.env.reset()
        answer = self.env.step(action)
        self.over = bool(answer[2] or answer[3])
        return answer


class Modulo(gym.Wrapper[Any, Any, Any, Any]):
    """Takes ids beyond the vocabulary for others."""

    def step(self, action: Any) -> Answer:
        is_number = isinstance(action, int | np.integer) and not isinstance(action, bool)
        return self.env.step(int(action) % 3 if is_number else action)


def forgets_a_token(env: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    ids = seen["input_ids"].copy()
    if not ended:
        ids[1] = (ids[1] + 1) % 3
    return seen | {"input_ids": ids}, reward, ended, cut, info


def wrong_ref_logprob(env: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    """Half a nat off for one token, and paid so."""
    wrong = info["ref_logprob"] - 0.5
    reward, told = paid(info, kl=env.unwrapped.kl_coef * wrong)
    return seen, reward, ended, cut, told | {"ref_logprob": wrong}


class WithoutOptions(gym.Wrapper[Any, Any, Any, Any]):
    """Its reset takes no options."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:  # type: ignore[override]
        return self.env.reset(seed=seed)


FAULTS: dict[str, Callable[[Any], Any]] = {
    "gymnasium_s_own_checker_passes": WithoutOptions,
    "an_end_is_of_one_kind": step_fault(both_flags),
    "the_terms_of_a_reward_add_up": step_fault(bonus_aside),
    "the_score_is_paid_in_full": step_fault(half_the_score),
    "the_last_step_pays_its_kl_too": step_fault(no_last_kl),
    "a_seed_and_actions_make_the_episode": Unseeded,
    "an_episode_leaves_no_trace": step_fault(remembers),
    "global_generators_stay_as_they_are": step_fault(draws_globally),
    "observations_are_memory_of_their_own": OneBuffer,
    "observations_are_in_their_space": Outside,
    "rewards_are_finite_floats": step_fault(numpy_reward),
    "numbers_in_info_are_floats": step_fault(whole_numbers),
    "a_step_after_the_end_is_refused": Forgiving,
    "an_action_that_is_none_is_refused": Modulo,
    "what_was_said_stays_in_the_observation": step_fault(forgets_a_token),
    "the_reference_scores_the_token_that_was_said": step_fault(wrong_ref_logprob),
}


class ChangesTheInside(gym.Wrapper[Any, Any, Any, Any]):
    """Doubles the KL coefficient of an environment that was used before."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        unwrapped: Any = env.unwrapped
        if unwrapped._np_random is not None:
            unwrapped.kl_coef *= 2.0


class SwallowsOptions(gym.Wrapper[Any, Any, Any, Any]):
    """Does not hand on what reset is told."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed)


def no_kl(_: Any, seen: Any, reward: Any, ended: Any, cut: Any, info: Any) -> Answer:
    reward, info = paid(info, kl=0.0)
    return seen, reward, ended, cut, info


class FlatRollout(gym.Wrapper[Any, Any, Any, Any]):
    """Pays a point more in a finished episode than in steps."""

    def rollout(self, rollout: Any) -> Any:
        return rollout.replace(rewards=rollout.rewards + rollout.is_action)


class TwinPaysMore(gym.vector.VectorWrapper):
    def step(self, actions: Any) -> Any:
        observations, rewards, *rest = self.env.step(actions)
        return observations, rewards + 0.5, *rest


# What only wrappers owe; their environments have the faults above.
WRAPPER_FAULTS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "the_inside_stays_as_it_is": (ChangesTheInside, {}),
    "options_of_a_reset_arrive": (SwallowsOptions, {}),
    "the_kl_inside_is_paid": (step_fault(no_kl), {}),
    "the_score_is_only_moved": (step_fault(half_the_score), {"keeps_score": True}),
    "its_vector_twin_pays_the_same": (gym.Wrapper, {"vector": TwinPaysMore}),
    "a_rollout_is_paid_what_steps_pay": (FlatRollout, {}),
}
