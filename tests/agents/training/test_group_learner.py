"""Groups stay whole, and no split of an update changes its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import ResponseGroup
from agents.training.group_learner import GroupLearner, group_rows
from rlhf_env.rollout import Rollout
from tests.agents.preference.preference_runs import RAGGED, gradient, make_agent
from tests.toys import EOS, tiny_gpt2_task


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets how many tokens a pass may have."""
    return lambda bound: monkeypatch.setattr(GroupLearner, "max_tokens", bound)


LIST = ResponseGroup.ranked(
    [3, 2], [[i, *[4] * (i - 2), EOS] for i in range(2, 8)], [6, 5, 4, 3, 2, 1], scored=False
)


@pytest.mark.parametrize("settings", [{}, {"loss": "lipo"}, {"loss": "tdpo2"}, {"gamma": 0.8}])
def test_the_gradient_does_not_depend_on_micro_batches(
    settings: dict[str, Any], bounded: Any
) -> None:
    """One of 8 pairs; 2, 4 and 8 micro-batches; a group in two passes, and in one per response."""
    agent = make_agent(preferences=[*RAGGED, LIST], episodes_per_update=54, **settings)
    whole = gradient(agent)
    # Rounding is relative to the largest terms that are added up.
    atol = 1e-6 * max(1.0, float(whole.abs().max()))
    for bound in (160, 80, 40, 20, 10, 1):
        bounded(bound)
        assert torch.allclose(gradient(agent), whole, atol=atol), bound


def test_an_entropy_bonus_passes_through_both_passes(bounded: Any) -> None:
    given = {"preferences": [*RAGGED, LIST], "episodes_per_update": 54}
    agent, plain = make_agent(entropy_coef=0.1, **given), make_agent(**given)
    whole = gradient(agent)
    assert not torch.allclose(whole, gradient(plain), atol=1e-3)
    bounded(8)
    assert torch.allclose(gradient(agent), whole, atol=1e-6)


def test_micro_batches_hold_whole_groups_and_every_row_once(bounded: Any) -> None:
    bounded(40)
    agent = make_agent(preferences=[*RAGGED, LIST], episodes_per_update=54)
    rollout = agent.collect()
    rows = torch.arange(len(rollout))
    batches = list(agent.learner._micro_batches(rollout, rows))
    assert sorted(torch.cat(batches).tolist()) == rows.tolist()
    assert len(batches) > 3
    for batch in batches:
        for group in rollout.group[batch].unique():
            own = (rollout.group == group).nonzero().flatten()
            assert set(own.tolist()) <= set(batch.tolist())


def test_minibatches_hold_whole_groups() -> None:
    agent = make_agent(minibatches=4)
    rollout = agent.collect()
    parts = list(agent.learner._minibatches(rollout, np.random.default_rng(0)))
    assert [len(part) for part in parts] == [4, 4, 4, 4]
    assert sorted(torch.cat(parts).tolist()) == list(range(16))
    for part in parts:
        assert torch.equal(rollout.group[part][::2], rollout.group[part][1::2])


def test_the_order_of_groups_and_padding_do_not_matter() -> None:
    agent = make_agent()
    rollout = agent.collect()
    whole = gradient(agent, rollout)
    groups = group_rows(rollout)
    shuffled = torch.cat([groups[i] for i in (3, 1, 7, 0, 2, 6, 5, 4)])
    assert torch.allclose(gradient(agent, rollout.take(shuffled)), whole, atol=1e-6)
    assert torch.allclose(gradient(agent, widened(rollout, 5)), whole, atol=1e-6)


def test_the_order_within_a_pair_does_not_matter() -> None:
    swapped = [
        ResponseGroup.pair(g.prompt, g.responses[1], g.responses[0], float(g.preference[1, 0]))
        for g in RAGGED
    ]
    one, other = gradient(make_agent()), gradient(make_agent(preferences=swapped))
    assert torch.allclose(one, other, atol=1e-6)


def test_what_follows_the_end_does_not_matter() -> None:
    """Tokens after the EOS, where nothing was chosen."""
    agent = make_agent()
    rollout = agent.collect()
    whole = gradient(agent, rollout)
    is_text = torch.arange(rollout.tokens.shape[1]) < rollout.lengths[:, None]
    noise = torch.randint(2, 32, rollout.tokens.shape, generator=torch.Generator().manual_seed(0))
    other = rollout.replace(tokens=torch.where(is_text, rollout.tokens, noise))
    assert torch.equal(gradient(agent, other), whole)


def test_sharing_the_prompt_changes_nothing() -> None:
    """The two sides of a pair read their prompt in one packed pass."""
    agent = make_agent(task=tiny_gpt2_task())
    assert agent.policy.lm.shares_prompts
    shared = gradient(agent)
    agent.policy.lm.shares_prompts = False
    assert torch.allclose(gradient(agent), shared, atol=1e-6)


def widened(rollout: Rollout, columns: int) -> Rollout:
    """Return a rollout with more padding on the right."""
    changes: dict[str, Any] = {"reward_terms": {}}
    for name in ("tokens", "is_action", "logprobs", "ref_logprobs", "rewards", "decision"):
        changes[name] = _wider(getattr(rollout, name), columns, -1 if name == "decision" else 0)
    changes["reward_terms"] = {k: _wider(v, columns, 0) for k, v in rollout.reward_terms.items()}
    return rollout.replace(**changes)


def _wider(values: Tensor, columns: int, fill: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, columns), value=fill)
