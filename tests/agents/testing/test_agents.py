"""Checks of agents: ours pass, and each wrong one fails at its own check."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents import Reinforce
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.testing import check_agent, checks, results
from tests.agents.testing.built_in import quick_first


class Plain:
    """What an agent needs to have, around one that is right."""

    def __init__(self, envs: Any) -> None:
        self.inner = Reinforce(envs, episodes_per_update=8, learning_rate=0.05)
        self.episodes_per_update = 8

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def act(self, observation: Any) -> Any:
        return self.inner.act(observation)

    def collect(self) -> Any:
        return self.inner.collect()

    def update(self, rollout: Any) -> dict[str, float]:
        return self.inner.update(rollout)

    def restore(self, path: Any) -> None:
        self.inner.restore(path)

    def evaluate(self, episodes: int) -> Any:
        return self.inner.evaluate(episodes)


class PositiveLogprobs(Plain):
    def act(self, observation: Any) -> Any:
        tokens, logprobs = super().act(observation)
        return tokens, -logprobs


class OtherTemperature(Plain):
    """Says that it has sharper probabilities than it drew from."""

    def token_probabilities(self, tokens: Any, lengths: Any) -> Any:
        sharp = self.inner.token_probabilities(tokens, lengths).square()
        return sharp / sharp.sum(-1, keepdim=True)


class NotFinite(Plain):
    calls = 0

    def update(self, rollout: Any) -> dict[str, float]:
        return super().update(rollout) | {"speed": float("nan")}


class WritesEpisodes(Plain):
    def update(self, rollout: Any) -> dict[str, float]:
        figures = super().update(rollout)
        rollout.ref_logprobs.add_(1.0)
        return figures


class MovesTheReference(Plain):
    """Leaves it changed after an update, and learns with the right one."""

    kept: Any = None

    @property
    def weight(self) -> Any:
        return next(iter(self.inner.base.task.reference.parameters()))

    def collect(self) -> Any:
        if self.kept is not None:
            self.weight.data.copy_(self.kept)
        return super().collect()

    def update(self, rollout: Any) -> dict[str, float]:
        figures = super().update(rollout)
        self.kept = self.weight.detach().clone()
        self.weight.data.add_(1.0)
        return figures


class RaisesTheKL(Plain):
    def update(self, rollout: Any) -> dict[str, float]:
        figures = super().update(rollout)
        self.inner.base.kl_coef = 0.3
        return figures


class Unseeded(Plain):
    """Made with a generator that nobody seeds."""

    def __init__(self, envs: Any) -> None:
        super().__init__(envs)
        self.salt = np.random.default_rng().random()

    def update(self, rollout: Any) -> dict[str, float]:
        figures = super().update(rollout)
        return figures | ({"salt": float(self.salt)} if self.inner.updates == 1 else {})


class RollsDice(Plain):
    def update(self, rollout: Any) -> dict[str, float]:
        random.random()
        return super().update(rollout)


class EvaluationCounts(Plain):
    evaluated = 0

    def evaluate(self, episodes: int) -> Any:
        self.evaluated += 1
        return super().evaluate(episodes)

    def update(self, rollout: Any) -> dict[str, float]:
        return super().update(rollout) | {"evaluated": float(self.evaluated)}


class LosesItsCount(Plain):
    count = 0

    def update(self, rollout: Any) -> dict[str, float]:
        self.count += 1
        return super().update(rollout) | {"count": float(self.count)}


class Stubborn(Plain):
    """Learns, and puts the weights back."""

    def update(self, rollout: Any) -> dict[str, float]:
        kept = {k: v.clone() for k, v in self.inner.policy.state_dict().items()}
        figures = super().update(rollout)
        self.inner.policy.load_state_dict(kept)
        return figures


FAULTS: dict[str, Callable[[Any], Any]] = {
    "it_chooses_tokens_and_says_how_likely": PositiveLogprobs,
    "its_log_probabilities_are_its_own": OtherTemperature,
    "an_update_returns_figures": NotFinite,
    "an_update_leaves_the_episodes_alone": WritesEpisodes,
    "the_reference_does_not_learn": MovesTheReference,
    "the_environment_stays_as_it_is": RaisesTheKL,
    "equal_agents_learn_the_same": Unseeded,
    "global_generators_stay_as_they_are": RollsDice,
    "an_evaluation_disturbs_nothing": EvaluationCounts,
    "a_checkpoint_goes_on_as_if_nothing_had_been": LosesItsCount,
    "an_update_moves_the_policy": Stubborn,
}


@pytest.mark.parametrize("name", quick_first(BUILT_IN_AGENTS))
def test_every_built_in_agent_passes(name: str) -> None:
    kind = BUILT_IN_AGENTS[name].load()
    # It chooses among responses of the reference and learns nothing.
    skip = ("an_update_moves_the_policy",) if name == "best_of_n" else ()
    check_agent(lambda envs: kind(envs, episodes_per_update=16), skip=skip)


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_caught_by_its_check_alone(name: str) -> None:
    found = results("agent", FAULTS[name])
    assert [result.check.name for result in found if result.status == "fail"] == [name]


def test_every_check_has_its_fault() -> None:
    assert {check.name for check in checks("agent")} == set(FAULTS)
