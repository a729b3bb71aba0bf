"""Checks of environments and wrappers: ours pass, and each wrong one fails at its own check."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import wrappers
import wrappers.vector
from rlhf_env.testing import check_env, check_wrapper, checks, results
from rlhf_env.testing.wrapper import CHECKS as OF_WRAPPERS
from tests.rlhf_env.testing.faulty_envs import FAULTS, TASK, WRAPPER_FAULTS, plain
from tests.wrappers.pairs import ONE_OF_EACH, toy15_in_lines

OPTIONS: dict[str, dict[str, Any]] = {
    "reference": {},
    "sampled": {"kl_penalty": "sampled"},
    "penalize": {"length_limit": "penalize"},
    "bootstrap": {"length_limit": "bootstrap"},
}
KEEP_THE_SCORE = ("TerminalReward", "EveryK", "PrefixDifference")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_environment_passes(options: dict[str, Any]) -> None:
    check_env(lambda: gym.make("RLHF-v0", task=TASK, **options))


def test_the_environment_passes_on_reviews() -> None:
    from rlhf_env.tasks import load_task

    task = load_task("reviews")
    check_env(lambda: gym.make("RLHF-v0", task=task, max_new_tokens=5))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_wrapper_passes(name: str) -> None:
    stack = ONE_OF_EACH[name]
    check_wrapper(
        lambda env: stack(wrappers, env),
        vector=lambda envs: stack(wrappers.vector, envs),
        keeps_score=name in KEEP_THE_SCORE,
        keeps_actions=name != "TopKActions",
        task=toy15_in_lines(),
    )


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_caught_by_its_check_alone(name: str) -> None:
    found = results("env", lambda: FAULTS[name](plain()))
    assert [result.check.name for result in found if result.status == "fail"] == [name]


@pytest.mark.parametrize("name", sorted({check.name for check in OF_WRAPPERS} & set(FAULTS)))
def test_a_wrapper_with_the_fault_of_an_environment_is_caught(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        check_wrapper(FAULTS[name])


@pytest.mark.parametrize("name", WRAPPER_FAULTS)
def test_a_wrapper_s_own_fault_is_caught_by_its_check_alone(name: str) -> None:
    wrap, known = WRAPPER_FAULTS[name]
    found = results("wrapper", wrap, **known)
    assert [result.check.name for result in found if result.status == "fail"] == [name]


def test_the_biased_density_is_told_from_those_that_keep_the_score() -> None:
    """Raw prefix scores are the control that is known to be biased."""
    with pytest.raises(AssertionError, match="the_score_is_only_moved"):
        check_wrapper(wrappers.PrefixReward, keeps_score=True)


def test_every_check_has_its_fault() -> None:
    assert {check.name for check in checks("env")} == set(FAULTS)
    assert {check.name for check in checks("wrapper")} <= set(FAULTS) | set(WRAPPER_FAULTS)


def test_an_environment_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="give a function that makes it"):
        check_env(plain())  # type: ignore[arg-type]
