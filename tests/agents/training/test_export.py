"""From an agent to folders that transformers and peft read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents import GRPO, PPO
from tests.agents.episodes import make_envs
from tests.agents.training.test_lora import TASKS, trained

IDS = torch.arange(12).reshape(2, 6)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("name", TASKS)
def test_a_trained_policy_is_an_ordinary_model_folder(name: str, tmp_path: Path) -> None:
    agent = PPO(make_envs(TASKS[name](), 8), learning_rate=0.01, episodes_per_update=8)
    agent.learn(8, progress=False)
    agent.export(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(again), logits(agent.policy.model), atol=1e-5, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.get_vocab() == agent.base.task.tokenizer.get_vocab()


@pytest.mark.parametrize("name", TASKS)
def test_an_adapter_is_merged_into_the_model(name: str, tmp_path: Path) -> None:
    agent = trained(name)
    agent.export(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(again), logits(agent.policy.model), atol=1e-5, rtol=0)


# Peft asks transformers by a name that it will drop.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("name", TASKS)
def test_peft_reads_the_adapter_alone(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    agent = trained(name)
    agent.export(tmp_path / "adapter", adapter=True)
    base = TASKS[name]().reference
    expected, before = logits(agent.policy.model), logits(base)
    assert (expected - before).abs().max() > 1e-3
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), expected, atol=1e-5, rtol=0)


def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = GRPO(make_envs(TASKS["llama"](), 8), episodes_per_update=8)
    with pytest.raises(ValueError, match="adapter=True needs an agent with an adapter"):
        agent.export(tmp_path / "a", adapter=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    with pytest.raises(ValueError, match="folder must be new or empty"):
        agent.export(tmp_path / "taken")
    for nowhere in (tmp_path / "taken" / "mine.txt" / "a", Path("/proc/nowhere/a")):
        with pytest.raises(ValueError, match="folder must be one that can be made, got"):
            agent.export(nowhere)
    monkeypatch.setattr(agent.policy.model.config, "model_type", "unheard_of")
    with pytest.raises(ValueError, match="of a kind that transformers knows"):
        agent.export(tmp_path / "b")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
