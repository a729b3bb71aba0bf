"""The measures of whole distributions that a policy adds to its outputs where it is asked."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch

from agents import PPO
from agents.policy import Policy, detached
from agents.state_measures import StateMeasures
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout
from tests.agents.episodes import every_toy15_episode, make_envs
from tests.toys import theta_policy, tiny_gpt2, tiny_llama_task

# KL(reference to theta) in the states (), (1), (2), (1,1), (1,2), (2,1), (2,2).
KL = [0.005353, 0.011354, 0.010017, 0.004066, 0.012754, 0.011845, 0.002397]


def measured(policy: Policy, reference: torch.nn.Module) -> Policy:
    lm = LanguageModel(reference, policy.lm.vocab_size)
    policy.measures = StateMeasures(reference=lm, log_collision=True, log_normalizer=True)
    return policy


def ragged() -> tuple[Policy, Rollout]:
    agent = PPO(make_envs(tiny_llama_task()), episodes_per_update=8)
    policy = measured(Policy(copy.deepcopy(agent.policy.model), 32), tiny_gpt2())
    return policy, agent.collect()


def test_nothing_unless_asked(toy15: Any) -> None:
    agent = PPO(make_envs(toy15), episodes_per_update=4)
    rollout = agent.collect()
    said = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    assert said.reference_kl is said.log_collision is said.log_normalizer is None
    assert detached(said).reference_kl is None
    assert agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).log_collision is None


def test_every_state_of_every_response(toy15: Any) -> None:
    """The sum over a response is that over its states; what is no action holds 0."""
    agent = PPO(make_envs(toy15), policy=theta_policy(toy15))
    rollout = every_toy15_episode(agent)
    policy = measured(agent.policy, toy15.reference)
    said = policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    assert said.reference_kl is not None
    assert said.reference_kl.requires_grad
    assert (said.reference_kl[~rollout.is_action] == 0).all()
    sums = {
        tuple(response.tolist()): kl
        for response, kl in zip(
            rollout.responses(), said.reference_kl.sum(dim=1).tolist(), strict=True
        )
    }
    assert sums[(0,)] == pytest.approx(KL[0], abs=1e-6)
    assert sums[(2, 0)] == pytest.approx(KL[0] + KL[2], abs=1e-6)
    assert sums[(1, 2, 1)] == pytest.approx(KL[0] + KL[1] + KL[4], abs=1e-6)
    assert said.log_collision is not None
    assert not said.log_collision.requires_grad


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_log_normalizers_are_those_of_the_logits(lora_rank: int | None) -> None:
    """At the temperature that the policy samples at; the gradient is the softmax's."""
    task = tiny_llama_task()
    agent = PPO(make_envs(task), episodes_per_update=8, temperature=0.5, lora_rank=lora_rank)
    rollout, policy = agent.collect(), agent.policy
    policy.measures = StateMeasures(log_normalizer=True)
    said = policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    weights = [p for p in policy.model.parameters() if p.requires_grad]

    def slope(normalizers: torch.Tensor) -> tuple[torch.Tensor, ...]:
        chosen = normalizers[rollout.is_action].sin().sum()
        return torch.autograd.grad(chosen, weights, materialize_grads=True)

    logits = policy.model(input_ids=rollout.tokens).logits / 0.5
    expected = torch.where(rollout.is_action, logits.logsumexp(dim=-1).roll(1, dims=1), 0.0)
    assert said.log_normalizer is not None
    torch.testing.assert_close(said.log_normalizer, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(slope(said.log_normalizer), slope(expected), atol=1e-4, rtol=1e-4)


def test_micro_batches_and_padding_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, rollout = ragged()
    whole = detached(policy.evaluate_tokens(rollout.tokens, rollout.is_action))
    wider = torch.nn.functional.pad(rollout.tokens, (0, 3), value=7)
    padded = policy.evaluate_tokens(wider, torch.nn.functional.pad(rollout.is_action, (0, 3)))
    apart = policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    for row in range(len(rollout)):
        one = policy.evaluate_tokens(
            rollout.tokens[row : row + 1], rollout.is_action[row : row + 1]
        )
        for name in policy.measures.names:
            expected = getattr(whole, name)
            torch.testing.assert_close(getattr(one, name)[0], expected[row], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                getattr(padded, name)[:, :-3], expected, atol=1e-5, rtol=1e-4
            )
            torch.testing.assert_close(getattr(apart, name), expected, atol=1e-5, rtol=1e-4)


def test_other_outputs_are_the_same_bits() -> None:
    policy, rollout = ragged()
    asked = policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    policy.measures = StateMeasures()
    plain = policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    assert torch.equal(asked.logprobs, plain.logprobs)
    assert torch.equal(asked.entropy, plain.entropy)


def test_the_reference_stays_in_full_precision() -> None:
    """In bf16 the policy's matrices are multiplied in 16 bits, the reference's are not."""
    policy, rollout = ragged()
    policy.precision = "bf16"
    assert policy.measures.reference is not None
    found: dict[str, torch.dtype] = {}

    def note(name: str, head: torch.nn.Module, given: Any, logits: torch.Tensor) -> None:
        found[name] = logits.dtype

    for name, lm in (("policy", policy.lm), ("reference", policy.measures.reference)):
        head = lm.model.get_submodule("lm_head")
        head.register_forward_hook(partial(note, name))
    said = policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    assert found == {"policy": torch.bfloat16, "reference": torch.float32}
    assert said.reference_kl is not None
    assert said.reference_kl.dtype == torch.float32
