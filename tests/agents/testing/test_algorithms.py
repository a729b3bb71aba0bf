"""Checks of learning rules: ours pass, and each wrong one fails at its own check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import Agent
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.testing import check_algorithm, checks, results
from tests.agents.testing.built_in import quick_first

RULES = [name for name in BUILT_IN_AGENTS if name != "best_of_n"]


@dataclass(frozen=True)
class Returns:
    paid: Tensor
    """[B, L] what each token is credited with."""


@dataclass(frozen=True)
class Extra:
    paid: Tensor
    weight: Tensor


class Right:
    """REINFORCE with reward to go, and a ratio that is bounded."""

    def targets(self, rollout: Any, old: Any, reference: Any) -> Any:
        to_go = rollout.rewards.flip(1).cumsum(1).flip(1)
        return Returns((to_go - 0.1).masked_fill(~rollout.is_action, 0.0))

    def losses(self, rollout: Any, new: Any, old: Any, targets: Any) -> Tensor:
        ratio = (new.logprobs - old.logprobs.detach()).clamp(-20, 20).exp()
        return -(targets.paid * ratio * rollout.is_action).sum(1)

    def loss(self, rollout: Any, new: Any, old: Any, targets: Any) -> Any:
        return self.losses(rollout, new, old, targets), {}


class TooFewRows(Right):
    def targets(self, *given: Any) -> Any:
        found = super().targets(*given)
        return Extra(found.paid, torch.ones(3))


class NotFinite(Right):
    """In the first call for a whole batch only."""

    calls = 0

    def losses(self, *given: Any) -> Tensor:
        self.calls += 1
        found = super().losses(*given)
        return found + (torch.nan if self.calls == 1 else 0.0)


class MeanOverRows(Right):
    def losses(self, *given: Any) -> Tensor:
        found = super().losses(*given)
        return found / len(found)


class LearnsItsTargets(Right):
    def __init__(self) -> None:
        self.scale = torch.ones((), requires_grad=True)

    def targets(self, *given: Any) -> Any:
        return Returns(super().targets(*given).paid * self.scale)


class LearnsThePrompt(Right):
    def losses(self, rollout: Any, new: Any, old: Any, targets: Any) -> Tensor:
        moved = new.logprobs - new.logprobs.detach()
        return super().losses(rollout, new, old, targets) + 0.1 * moved[:, 0]


class SkipsTheEnd(Right):
    def losses(self, rollout: Any, new: Any, old: Any, targets: Any) -> Tensor:
        several = rollout.is_action.sum(1, keepdim=True) > 1
        last = rollout.last_action & several
        cut = replace(new, logprobs=torch.where(last, new.logprobs.detach(), new.logprobs))
        return super().losses(rollout, cut, old, targets)


class CountsColumns(Right):
    def losses(self, rollout: Any, new: Any, old: Any, targets: Any) -> Tensor:
        return super().losses(rollout, new, old, targets) / rollout.tokens.shape[1]


class Standardizes(Right):
    def targets(self, rollout: Any, old: Any, reference: Any) -> Any:
        found = super().targets(rollout, old, reference).paid
        return Returns(found / rollout.rewards.abs().sum())


class Unbounded(Right):
    def losses(self, rollout: Any, new: Any, old: Any, targets: Any) -> Tensor:
        ratio = (new.logprobs - old.logprobs.detach()).exp()
        return -(targets.paid * ratio * rollout.is_action).sum(1)


class WritesRewards(Right):
    def targets(self, rollout: Any, old: Any, reference: Any) -> Any:
        found = super().targets(rollout, old, reference)
        old.entropy.add_(1.0)
        return found


class Moody(Right):
    calls = 0

    def losses(self, *given: Any) -> Tensor:
        self.calls += 1
        return super().losses(*given) * (1.0 + 1e-6 * (self.calls % 2))


class Forgetful(Right):
    """Counts the rollouts that it has seen, and does not take the count back."""

    def __init__(self) -> None:
        self.seen = 0.0

    def targets(self, *given: Any) -> Any:
        self.seen += 1.0
        return super().targets(*given)

    def state(self) -> dict[str, float]:
        return {"seen": self.seen}

    def load_state(self, state: dict[str, float]) -> None:
        pass


class Downhill(Right):
    def losses(self, *given: Any) -> Tensor:
        return -super().losses(*given)


FAULTS: dict[str, type[Right]] = {
    "a_loss_is_one_number_for_each_episode": NotFinite,
    "rows_may_be_split": MeanOverRows,
    "targets_carry_no_gradient": LearnsItsTargets,
    "only_chosen_tokens_are_learned": LearnsThePrompt,
    "the_last_token_is_learned": SkipsTheEnd,
    "the_width_of_the_padding_does_not_matter": CountsColumns,
    "equal_rewards_stay_finite": Standardizes,
    "an_absurd_ratio_stays_finite": Unbounded,
    "the_rollout_stays_as_it_is": WritesRewards,
    "the_same_episodes_teach_the_same": Moody,
    "its_state_can_be_restored": Forgetful,
    "its_expected_update_goes_uphill": Downhill,
}


@pytest.mark.parametrize("name", quick_first(RULES))
def test_every_built_in_rule_passes(name: str) -> None:
    check_algorithm(BUILT_IN_AGENTS[name].load())


def test_a_rule_of_one_s_own_passes() -> None:
    check_algorithm(Right())
    check_algorithm(lambda envs: Agent(envs, algorithm=Right(), episodes_per_update=8))


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_caught_by_its_check_alone(name: str) -> None:
    found = results("algorithm", FAULTS[name]())
    assert [result.check.name for result in found if result.status == "fail"] == [name]


def test_targets_without_rows_are_caught() -> None:
    """The split of rows fails with them."""
    with pytest.raises(AssertionError, match="targets_have_a_row_for_each_episode"):
        check_algorithm(TooFewRows())


def test_every_check_has_its_fault() -> None:
    names = {check.name for check in checks("algorithm")}
    assert names == set(FAULTS) | {"targets_have_a_row_for_each_episode"}
