"""Adapters (trap D11, and traps A and G again): two policies that share their weights."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import GRPO, PPO, TRPO, Agent
from agents.training.lora import adapted, merged
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.rlhf_env.mdp.test_evaluate import as_rollout
from tests.toys import tiny_gpt2, tiny_gpt2_task, tiny_llama_task
from tests.traps.test_models import successor_model


def agent_of(kind: type[Agent], task: Task, **settings: Any) -> Agent:
    return kind(make_envs(task, 8), lora_rank=4, episodes_per_update=16, **settings)


def learned_adapter(agent: Agent) -> None:
    """Fill the adapter's second factors, which begin as zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in agent.policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.5, generator=generator)


def test_the_reference_is_the_policy_without_its_adapter() -> None:
    """Trap D11: the reference is certain of 5, 6 and 7 after 4 (0 nats); the policy no longer."""
    task = Task(**{**vars(tiny_llama_task()), "reference": successor_model(), "prompts": [[4]]})
    agent = agent_of(PPO, task)
    episode = as_rollout(task, [(0, [5, 6, 7], [0.0] * 3)], [3])
    at = episode.is_action
    fresh = agent.policy.evaluate_episodes(episode.tokens, at).logprobs
    assert fresh[at].tolist() == pytest.approx([0.0] * 3, abs=1e-4)
    learned_adapter(agent)
    moved = agent.policy.evaluate_episodes(episode.tokens, at).logprobs
    assert moved[at].min() < -0.5
    paid = agent.base.evaluate(episode).ref_logprobs
    assert paid[at].tolist() == pytest.approx([0.0] * 3, abs=1e-4)
    env = gym.make("RLHF-v0", task=task)
    env.reset(seed=0)
    stepped = [env.step(token)[4]["ref_logprob"] for token in (5, 6, 7)]
    assert stepped == pytest.approx([0.0] * 3, abs=1e-4)


def test_nothing_that_is_shared_is_trained() -> None:
    """Trap A15: by identity and by memory, and no gradient is left on the reference."""
    agent = agent_of(PPO, tiny_gpt2_task(), learning_rate=0.05)
    reference = list(agent.base.mdp.reference.model.parameters())
    before = [p.detach().clone() for p in reference]
    trained = [p for group in agent.learner.optimizer.param_groups for p in group["params"]]
    assert not {id(p) for p in trained} & {id(p) for p in reference}
    assert not {p.data_ptr() for p in trained} & {p.data_ptr() for p in reference}
    agent.learn(32, progress=False)
    assert all(p.grad is None for p in reference)
    assert all(torch.equal(p, q) for p, q in zip(reference, before, strict=True))


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_without_learning_rate_nothing_moves(kind: type[Agent]) -> None:
    """Traps K1 and A4: with a filled adapter over a model that has dropout."""
    agent = agent_of(kind, tiny_gpt2_task(dropout=0.1), learning_rate=0.0, epochs=2, minibatches=4)
    learned_adapter(agent)
    metrics = agent.update(agent.collect())
    assert metrics["ratio_max"] == pytest.approx(1.0, abs=2e-6)
    assert metrics["clip_fraction"] == 0.0


def test_what_is_sampled_after_a_step_is_what_is_scored() -> None:
    """Traps A9 and A12: no cache keeps the adapter of the update before."""
    agent = agent_of(GRPO, tiny_llama_task(), learning_rate=0.05)
    agent.learn(32, progress=False)
    rollout = agent.collect()
    scored = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    assert (scored - rollout.logprobs).abs().max() < 1e-4
    assert (rollout.logprobs - rollout.ref_logprobs).abs().max() > 0.01


def test_a_trust_region_moves_the_adapter_alone() -> None:
    """Traps G3 and G4: its copy of the old policy is no copy of the shared weights."""
    agent = agent_of(TRPO, tiny_llama_task(), max_kl=0.01, cg_iterations=3)
    reference = [p.detach().clone() for p in agent.base.mdp.reference.model.parameters()]
    metrics = agent.learn(16, progress=False)[0]
    assert 0.001 < metrics["kl_to_old"] <= 0.01
    now = agent.base.mdp.reference.model.parameters()
    assert all(torch.equal(p, q) for p, q in zip(now, reference, strict=True))


def test_tied_embeddings_stay_tied() -> None:
    """Trap A17: under an adapter and merged, and with storage of their own once merged."""
    model = tiny_gpt2()
    policy: Any = adapted(model, rank=4, alpha=8, seed=0)
    plain: Any = merged(policy)
    for tied in (policy, plain):
        assert tied.lm_head.weight is tied.transformer.wte.weight
    assert policy.lm_head.weight.data_ptr() == model.lm_head.weight.data_ptr()
    assert plain.lm_head.weight.data_ptr() != model.lm_head.weight.data_ptr()
    with torch.no_grad():
        plain.transformer.wte.weight[3, 0] = 17.0
    assert plain.lm_head.weight[3, 0] == 17.0
    assert model.lm_head.weight[3, 0] != 17.0
