"""Tasks from model folders: what loads, and one sentence about what does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from rlhf_env.engine.pretrained import load_tokenizer
from rlhf_env.task import Task
from tests.toys import tiny_gpt2, tiny_llama, tiny_tokenizer

# Nothing listens there, as where a network is down.
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny llama"
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def count_words(prompts: list[str], responses: list[str]) -> list[float]:
    return [float(len(text.split())) for text in responses]


def load(model: str | Path, prompts: object = ("w2", "w3 w4")) -> Task:
    return Task.from_pretrained(model, reward=count_words, prompts=prompts, max_prompt_tokens=2)


def test_a_folder(saved: Path) -> None:
    for path in (saved, str(saved), f"{saved}/"):
        task = load(path)
        assert task.name == "tiny llama"
        assert [ids.tolist() for ids in task.prompts] == [[2], [3, 4]]
        assert [ids.tolist() for ids in task.eval_prompts] == [[2], [3, 4]]
        assert task.eos_id == 1
        assert task.vocab_size == 32
        assert not task.reference.training
    ids = torch.tensor([[2, 3, 4]])
    torch.testing.assert_close(
        task.reference(input_ids=ids).logits, tiny_llama()(input_ids=ids).logits
    )
    assert task.reward(list(task.prompts), [torch.tensor([5, 6, 1])] * 2).tolist() == [2.0, 2.0]


def test_files_of_prompts(saved: Path, tmp_path: Path) -> None:
    train, held_out = tmp_path / "train.txt", tmp_path / "eval.txt"
    train.write_text("w2\nw3 w4 w5\nw6\n")
    held_out.write_text("w7\n")
    with pytest.warns(UserWarning, match="dropped 1 of 3 prompts longer than 2 tokens"):
        task = Task.from_pretrained(
            saved, reward=count_words, prompts=train, eval_prompts=held_out, max_prompt_tokens=2
        )
    assert [ids.tolist() for ids in task.prompts] == [[2], [6]]
    assert [ids.tolist() for ids in task.eval_prompts] == [[7]]


def test_weights_of_another_type(saved: Path) -> None:
    task = Task.from_pretrained(saved, reward=count_words, prompts=["w2"], dtype=torch.bfloat16)
    assert next(task.reference.parameters()).dtype == torch.bfloat16


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder with a config.json .* which is not a folder"):
        load(tmp_path / "missing")
    with pytest.raises(ValueError, match="which holds none"):
        load(tmp_path)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that no machine has stands in for a network that is down."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, NOBODY)
    start = time.monotonic()
    with pytest.raises(ValueError, match="cannot load the language model") as caught:
        load("some-org/some-model")
    assert str(caught.value) == (
        "cannot load the language model 'some-org/some-model': no local folder of that name, the "
        "Hub cannot be reached, and the cache does not hold it"
    )
    assert time.monotonic() - start < 5


def test_names_that_are_none() -> None:
    with pytest.raises(ValueError, match="no local folder and no Hub model of that name"):
        load("no such name")


def test_truncated_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    for size in (0, 5, 4000):
        weights.write_bytes(weights.read_bytes()[:size])
        with pytest.raises(ValueError, match=r"cannot load the language model .*model'"):
            load(folder)


def test_missing_and_extra_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "value_head.weight": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.warns(UserWarning, match=r"does not use: value_head.weight \(1 in all\)"):
        load(folder)
    del weights["lm_head.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack lm_head.weight \(1 in all\)"):
        load(folder)


def test_weights_of_the_wrong_shape(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), "model.norm.weight": torch.zeros(7)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"cannot load .*"):
        load(folder)


def test_pickled_weights_are_never_opened(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ValueError, match=r"no safetensors weights, .*save_pretrained"):
        load(folder)


def test_remote_code_is_never_run(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    config = config.replace('"llama"', '"wild"').replace(
        "{", '{"auto_map": {"AutoConfig": "wild.W", "AutoModelForCausalLM": "wild.M"},', 1
    )
    (folder / "config.json").write_text(config)
    (folder / "wild.py").write_text("raise SystemExit('code was run')")
    start = time.monotonic()
    with pytest.raises(ValueError, match="cannot load"):
        load(folder)
    assert time.monotonic() - start < 5


def test_other_kinds_of_models(folder: Path) -> None:
    bert = BertConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
    )
    t5 = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    for model in (BertForMaskedLM(bert), T5ForConditionalGeneration(t5)):
        model.save_pretrained(folder)
        with pytest.raises(ValueError, match="not a decoder-only language model"):
            load(folder)


def test_a_tokenizer_that_knows_more_than_the_model(folder: Path) -> None:
    tiny_gpt2(vocab_size=20).save_pretrained(folder)
    with pytest.raises(ValueError, match="20 logits, but the tokenizer has 32 tokens"):
        load(folder)


def test_prompts_are_read_before_the_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompts must be a list of texts or an existing file"):
        load(tmp_path / "missing model", prompts=str(tmp_path / "missing.txt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_coef": -1.0}, "kl_coef must be a finite number >= 0, got -1.0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1, got 0"),
        ({"max_prompt_tokens": 1.5}, "max_prompt_tokens must be an integer >= 1, got 1.5"),
        ({"prompts": []}, "prompts must hold at least one prompt, got none"),
        ({"reward": 3}, "reward must be a function or an object with __call__, got int"),
        ({"gold": "best"}, "reward must be a function or an object with __call__, got str"),
    ],
)
def test_all_else_is_checked_before_the_model(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"reward": count_words, "prompts": ["w2"], **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        Task.from_pretrained(tmp_path / "missing model", **fields)


def test_the_context_window_is_checked_before_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="max_new_tokens") as caught:
        Task.from_pretrained(folder, reward=count_words, prompts=["w2"], max_new_tokens=100_000)
    assert str(caught.value) == (
        "max_prompt_tokens + max_new_tokens must be at most the model's context window of "
        "128, got 100064 in all; lower one of them"
    )


def test_a_tokenizer_alone(saved: Path) -> None:
    assert len(load_tokenizer(saved)) == 32


def test_a_model_is_loaded_from_the_cache_where_the_hub_is_out_of_reach(
    saved: Path, tmp_path: Path
) -> None:
    """In a process of its own, since the hub's addresses and cache are read at import."""
    repository = tmp_path / "hub/models--org--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("a1b2")
    shutil.copytree(saved, repository / "snapshots/a1b2")
    code = (
        "from rlhf_env.engine.pretrained import load_language_model, load_tokenizer\n"
        "model, tokenizer = load_language_model('org/model')\n"
        "print(len(load_tokenizer('org/model')), len(tokenizer), model.config.vocab_size)"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": NOBODY}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "32 32 32\n", done.stderr
    assert "Retrying" not in done.stderr


def test_a_tokenizer_is_refused_for_what_is_wrong_with_its_model(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"at most the model's context window of 128, got 129"):
        load_tokenizer(folder, max_tokens=129)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"cannot load the language model .*model'"):
        load_tokenizer(folder)
    weights.unlink()
    with pytest.raises(ValueError, match="no safetensors weights"):
        load_tokenizer(folder)
    with pytest.raises(ValueError, match="no local folder and no Hub model of that name"):
        load_tokenizer("no such name")


@pytest.mark.parametrize("read", [load, load_tokenizer])
def test_more_layers_than_the_weights_hold(folder: Path, read: Any) -> None:
    config = folder / "config.json"
    fields = json.loads(config.read_text())
    (layers,) = {"n_layer", "num_hidden_layers"} & fields.keys()
    config.write_text(json.dumps({**fields, layers: 10**9}))
    with pytest.raises(ValueError, match=r"asks for 1000000000 layers, but its weights hold \d+"):
        read(folder)
