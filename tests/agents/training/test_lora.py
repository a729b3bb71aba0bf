"""Adapters: the policy is the reference's own weights with something on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from agents import GRPO, PPO, Agent
from agents.training.lora import adapted, merged
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.rollout import Rollout
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2, tiny_gpt2_task, tiny_llama, tiny_llama_task

SETTINGS: dict[str, Any] = {"lora_rank": 4, "learning_rate": 0.05, "episodes_per_update": 8}
TASKS = {"llama": tiny_llama_task, "gpt2": tiny_gpt2_task}


def trained(name: str = "llama", updates: int = 2, kind: type[Agent] = GRPO) -> Agent:
    agent = kind(make_envs(TASKS[name](), 8), **SETTINGS)
    agent.learn(8 * updates, progress=False)
    return agent


def reference_logprobs(agent: Agent, rollout: Rollout) -> torch.Tensor:
    return score_rollout(agent.base.mdp.reference, rollout.tokens, rollout.is_action)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_only_the_adapter_is_trained(name: str, kind: type[Agent]) -> None:
    """Trap D11: the reference is scored without the adapter, whatever it has learnt."""
    agent = kind(make_envs(TASKS[name](), 8), **SETTINGS)
    rollout = agent.collect()
    before = reference_logprobs(agent, rollout)
    weights = [p.clone() for p in agent.base.mdp.reference.model.parameters()]
    assert torch.allclose(rollout.logprobs, rollout.ref_logprobs, atol=1e-5)
    agent.learn(16, progress=False)
    assert torch.equal(reference_logprobs(agent, rollout), before)
    after = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    assert (after - before).abs().max() > 1e-3
    for old, new in zip(weights, agent.base.mdp.reference.model.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("model", [tiny_llama(), tiny_gpt2()], ids=["llama", "gpt2"])
def test_the_weights_are_shared_and_the_model_is_left_alone(model: Any) -> None:
    flags = [p.requires_grad for p in model.parameters()]
    policy = adapted(model, rank=4, alpha=8, seed=0)
    shared = {p.data_ptr() for p in model.parameters()}
    own = {name: p for name, p in policy.named_parameters() if p.data_ptr() not in shared}
    assert own
    assert all("lora_" in name for name in own)
    assert all(p.requires_grad == ("lora_" in name) for name, p in policy.named_parameters())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not any("lora" in name for name, _ in model.named_modules())


def test_the_adapter_comes_from_its_seed_and_no_global_one() -> None:
    model = tiny_llama()
    found = [dict(adapted(model, 4, 8, seed).named_parameters()) for seed in (0, 0, 1)]
    name = next(name for name in found[0] if "lora_A" in name)
    assert torch.equal(found[0][name], found[1][name])
    assert not torch.equal(found[0][name], found[2][name])


def test_merging_gives_an_ordinary_model_of_the_same_logits() -> None:
    agent = trained()
    plain = merged(agent.policy.model)
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        expected = agent.policy.model(ids).logits
        assert torch.allclose(plain(ids).logits, expected, atol=1e-5)
    reference = agent.base.mdp.reference.model
    assert plain.state_dict().keys() == reference.state_dict().keys()


def test_a_checkpoint_holds_the_adapter_alone(tmp_path: Path) -> None:
    agent = trained(kind=PPO)
    agent.save(tmp_path / "saved")
    whole = sum(p.numel() for p in agent.policy.parameters()) * 4
    assert (tmp_path / "saved" / "policy.safetensors").stat().st_size < whole / 2
    envs = make_envs(TASKS["llama"](), 8)
    again = PPO.load(tmp_path / "saved", envs)
    rollout = agent.collect()
    assert torch.equal(again.collect().tokens, rollout.tokens)
    assert torch.equal(again.collect().logprobs, rollout.logprobs)


def test_a_checkpoint_of_another_base_is_refused(tmp_path: Path) -> None:
    agent = trained(kind=PPO)
    agent.save(tmp_path / "saved")
    task = tiny_llama_task()
    with torch.no_grad():
        next(task.reference.parameters()).add_(1.0)
    with pytest.raises(ValueError, match="holds an adapter for other weights"):
        PPO.load(tmp_path / "saved", make_envs(task, 8))


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="lora_rank needs a model with linear layers"):
        GRPO(make_envs(load_task("toy15"), 8), lora_rank=2)
