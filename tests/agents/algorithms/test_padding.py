"""Padding is nobody's business: neither its width nor its ids reach a figure or a weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import GRPO, PPO, Agent
from agents.evaluation.metrics import distinct_ngrams, rollout_metrics
from rlhf_env.rollout import Rollout
from tests.agents.episodes import make_envs
from tests.rlhf_env.mdp.test_episode_properties import poisoned, widened
from tests.toys import tiny_gpt2, tiny_gpt2_task, tiny_llama, tiny_llama_task

TASKS = {"gpt2": (tiny_gpt2_task, tiny_gpt2), "llama": (tiny_llama_task, tiny_llama)}


def make_agent(name: str, kind: type[Agent]) -> Agent:
    task, model = TASKS[name]
    # A small Adam would turn rounding of a gradient near 0 into a step of full size.
    settings = {"learning_rate": 0.01, "adam_epsilon": 1e-2, "entropy_coef": 0.01}
    return kind(
        make_envs(task(), 8),
        policy=model(seed=1),
        episodes_per_update=16,
        epochs=2,
        minibatches=2,
        **settings,
    )


def updated(name: str, kind: type[Agent], rollout: Rollout) -> tuple[dict[str, float], Agent]:
    agent = make_agent(name, kind)
    figures = rollout_metrics(rollout, agent.base.task)
    figures |= {f"distinct_{n}": distinct_ngrams(rollout, n) for n in (1, 2)}
    return figures | agent.update(rollout), agent


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("name", TASKS)
def test_random_ids_behind_the_end_change_no_update(name: str, kind: type[Agent]) -> None:
    """Traps B3 and E3, to 1e-6 in every figure and 1e-5 in every weight."""
    rollout = make_agent(name, kind).collect()
    expected, twin = updated(name, kind, rollout)

    @settings(max_examples=6, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def check(seed: int) -> None:
        figures, agent = updated(name, kind, poisoned(rollout, seed, 32))
        assert figures == pytest.approx(expected, abs=1e-6, rel=1e-5)
        for one, other in zip(agent.policy.parameters(), twin.policy.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)

    check()


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("columns", [1, 30])
def test_wide_padding_changes_no_figure(name: str, kind: type[Agent], columns: int) -> None:
    """Trap B14: thirty more columns are more than 60 % of padding."""
    rollout = make_agent(name, kind).collect()
    wide = poisoned(widened(rollout, columns), 0, 32)
    if columns == 30:
        assert wide.is_action.float().mean() < 0.4
    expected, twin = updated(name, kind, rollout)
    figures, agent = updated(name, kind, wide)
    assert figures == pytest.approx(expected, abs=1e-6, rel=1e-5)
    for one, other in zip(agent.policy.parameters(), twin.policy.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
