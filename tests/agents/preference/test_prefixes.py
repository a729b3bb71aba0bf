"""What of a text belongs to the comparison: the responses, and not what both share."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from agents import ResponseGroup
from tests.agents.preference.preference_runs import gradient, make_agent
from tests.toys import EOS

# A shared first token of the responses, as such and as the end of the prompt.
IN_RESPONSES = [ResponseGroup.pair([2, 3], [5, 6, 7, EOS], [5, 4, EOS])]
IN_PROMPT = [ResponseGroup.pair([2, 3, 5], [6, 7, EOS], [4, EOS])]


@pytest.mark.parametrize(
    ("settings", "is_same"),
    [
        ({}, True),
        ({"loss": "ipo", "beta": 0.1}, True),
        ({"loss": "tdpo1"}, True),
        ({"loss": "ipo_mean", "beta": 0.1}, False),
        ({"loss": "simpo", "beta": 2.0}, False),
        ({"loss": "orpo", "beta": 0.1}, False),
        ({"loss": "sppo", "beta": 0.5}, False),
        ({"loss": "fdpo", "f_divergence": "forward_kl"}, False),
    ],
)
def test_a_shared_prefix_may_move_into_the_prompt(settings: dict[str, Any], is_same: bool) -> None:
    found = []
    for pairs in (IN_RESPONSES, IN_PROMPT):
        agent = make_agent(preferences=pairs, episodes_per_update=2, **settings)
        # Away from the reference, where all losses of a kind have one direction.
        with torch.no_grad():
            for parameter in agent.learner.parameters:
                parameter.add_(0.05 * torch.ones_like(parameter).cumsum(-1).sin())
        found.append(gradient(agent))
    scale = float(found[0].norm())
    assert torch.allclose(found[0] / scale, found[1] / scale, atol=1e-6) is is_same


@pytest.mark.parametrize("loss", ["dpo", "ipo_mean", "orpo", "tdpo2"])
def test_numbers_at_the_prompt_do_not_enter(loss: str) -> None:
    beta = {} if loss in ("dpo", "tdpo2") else {"beta": 0.1}
    agent = make_agent(loss=loss, **beta)
    rollout, rule = agent.collect(), agent.learner.algorithm
    new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    noise = torch.randn(rollout.tokens.shape, generator=torch.Generator().manual_seed(0))

    def disturbed(values: torch.Tensor) -> torch.Tensor:
        return torch.where(rollout.is_action, values, noise)

    other = dataclasses.replace(
        new,
        logprobs=disturbed(new.logprobs),
        reference_kl=None if new.reference_kl is None else disturbed(new.reference_kl),
    )
    shifted = rollout.replace(ref_logprobs=disturbed(rollout.ref_logprobs))
    targets = rule.targets(rollout, new, agent.base.mdp.reference)
    plain = rule.loss(rollout, new, new, targets)[0]
    assert torch.equal(rule.loss(shifted, other, new, targets)[0], plain)
