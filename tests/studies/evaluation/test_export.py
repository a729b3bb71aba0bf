"""`scripts/export.py`: from a run to folders that transformers and peft read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from rlhf_env.rewards import Ensemble, ScalarRewardModel, TrainedReward, save_reward
from studies.cli.commands.export import main as export
from studies.cli.commands.train import main as train
from tests.studies.saved_agents import MODEL, QUICK, save_untrained, write_model
from tests.toys import tiny_llama, tiny_tokenizer

IDS = torch.arange(2, 14).reshape(2, 6)
OWN = [*MODEL, "--reward", "my_reward.py:longest", *QUICK, "--agent", "grpo", "--out", "run"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    return tmp_path


def test_a_run_becomes_a_model_folder_and_its_reward_is_not_run(files: Path) -> None:
    assert train([*OWN, "--learning-rate", "0.01"]) == 0
    (files / "my_reward.py").write_text("raise SystemExit('the reward was run')")
    (files / "prompts.txt").unlink()
    assert export(["run", "--out", "exported"]) == 0
    model = AutoModelForCausalLM.from_pretrained("exported")
    newest = max((files / "run/checkpoints").glob("update-*"))
    kept = load_file(newest / "policy.safetensors")
    name = next(name for name in kept if name.endswith("lm_head.weight"))
    assert torch.equal(model.lm_head.weight, kept[name])
    assert not torch.equal(
        model.lm_head.weight, AutoModelForCausalLM.from_pretrained("model").lm_head.weight
    )
    assert len(AutoTokenizer.from_pretrained("exported")) == 32


# Peft asks transformers by a name that it will drop.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapter_that_the_command_trained(files: Path) -> None:
    peft = pytest.importorskip("peft")
    assert train([*OWN, "--lora-rank", "4", "--learning-rate", "0.01"]) == 0
    newest = max((files / "run/checkpoints").glob("update-*"))
    assert export([str(newest), "--out", "merged"]) == 0
    assert export([str(newest), "--adapter", "--out", "adapter"]) == 0
    base = AutoModelForCausalLM.from_pretrained("model").eval()
    with torch.no_grad():
        before = base(IDS).logits
        merged = AutoModelForCausalLM.from_pretrained("merged").eval()(IDS).logits
        adapted = peft.PeftModel.from_pretrained(base, "adapter").eval()(IDS).logits
    assert (merged - before).abs().max() > 1e-3
    torch.testing.assert_close(adapted, merged, atol=1e-4, rtol=0)


def test_a_reward_model_becomes_a_sequence_classifier(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scorer = ScalarRewardModel(tiny_llama().base_model)
    reward = TrainedReward(scorer, tiny_tokenizer(), max_tokens=16)
    reward.save("reward")
    assert export(["reward", "--out", "classifier"]) == 0
    assert "reward model in classifier" in capsys.readouterr().out
    model = AutoModelForSequenceClassification.from_pretrained("classifier")
    assert model.config.num_labels == 1
    save_reward(Ensemble([reward, reward]), "both")
    assert export(["both", "--out", "other"]) == 2
    assert "name one of its members" in capsys.readouterr().err


def test_what_cannot_be_exported(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_untrained(files / "toy")
    Path("taken").mkdir()
    Path("taken/file").touch()
    cases = [
        (["toy"], "--task or --model must say what to ask"),
        (["toy", "--task", "toy15", "--model", "model"], "exclude each other"),
        (["toy", "--model", "model"], "holds another model's weights"),
        (["model"], "without manifest.json"),
    ]
    for words, message in cases:
        assert export([*words, "--out", "exported"]) == 2
        assert message in capsys.readouterr().err
    assert not Path("exported").exists()
    assert train([*OWN]) == 0
    assert export(["run", "--out", "taken"]) == 2
    assert "which is taken; name another" in capsys.readouterr().err
