"""A trained reward as an ordinary sequence classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.export import export_classifier
from rlhf_env.rewards.training.trained import TrainedReward
from tests.toys import tiny_gpt2, tiny_llama, tiny_tokenizer

TEXTS = ["w2 w3 w4 w9", "w5 w3", "w7 w8 w9 w10 w11 w2"]


def reward(model: Any, *, is_shifted: bool, per_token: bool = False) -> TrainedReward:
    scorer = ScalarRewardModel(model.base_model)
    with torch.no_grad():
        scorer.head.weight.copy_(torch.sin(torch.arange(32.0))[None])
    if is_shifted:
        prompts = [torch.tensor([2])] * 4
        scorer.normalize(prompts, [torch.tensor([token]) for token in (3, 4, 5, 6)])
    return TrainedReward(scorer, tiny_tokenizer(), max_tokens=16, per_token=per_token)


def own_scores(trained: TrainedReward) -> list[float]:
    ids = [torch.tensor(trained.tokenizer(text)["input_ids"]) for text in TEXTS]
    return trained([row[:-1] for row in ids], [row[-1:] for row in ids]).tolist()


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_the_pipeline_gives_the_same_scores(make: Any, is_shifted: bool, tmp_path: Path) -> None:
    trained = reward(make(), is_shifted=is_shifted)
    shift = export_classifier(trained, tmp_path / "out")
    # An RMS normalization has no bias that could take the shift.
    assert (shift != 0) == (is_shifted and make is tiny_llama)
    score = pipeline("text-classification", str(tmp_path / "out"), function_to_apply="none")
    found = [row["score"] - shift for row in score(TEXTS)]
    assert found == pytest.approx(own_scores(trained), abs=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("larger than the scores" in card) == bool(shift)


def test_a_batch_has_the_scores_of_single_texts(tmp_path: Path) -> None:
    trained = reward(tiny_llama(), is_shifted=False)
    export_classifier(trained, tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    rows = trained.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(rows["input_ids"], attention_mask=rows["attention_mask"]).logits[:, 0]
    assert found.tolist() == pytest.approx(own_scores(trained), abs=1e-5)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be read at the last token"):
        export_classifier(reward(tiny_llama(), is_shifted=False, per_token=True), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").touch()
    with pytest.raises(ValueError, match="folder must be new or empty"):
        export_classifier(reward(tiny_llama(), is_shifted=False), tmp_path / "b")
    assert not (tmp_path / "a").exists()
