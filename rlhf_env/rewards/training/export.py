"""Export of a trained reward for other software: an ordinary sequence classifier."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlhf_env.rewards.training.trained import TrainedReward, write_new_folder

# What decoders call the layer before their head.
_LAST_NORMS = ("ln_f", "final_layer_norm", "norm")


def export_classifier(reward: TrainedReward, folder: str | Path) -> float:
    """Write a reward as a folder that ``AutoModelForSequenceClassification`` reads.

    Its one logit at the last token is the score of prompt and response in one text: for
    transformers' pipeline "text-classification" with ``function_to_apply="none"``. A constant
    that scores were shifted by goes into the bias of the trunk's last normalization; where that
    has none, logits are larger by it.

    Args:
        reward: a single model that scores whole responses.
        folder: new or empty.

    Returns:
        By how much logits are larger than scores: 0 unless the shift has no place.

    Raises:
        ValueError: if its score is a sum over tokens, its kind has no classifier in transformers,
            or the folder is taken.
    """
    from transformers import AutoModelForSequenceClassification

    if reward.per_token:
        raise ValueError(
            "a reward to be exported must be read at the last token, got one that adds up the "
            "scores of all tokens; use it from Python"
        )
    model, tokenizer = reward.model, reward.tokenizer
    config: Any = copy.deepcopy(model.trunk.config)
    config.num_labels, config.id2label, config.label2id = 1, {0: "score"}, {"score": 0}
    # The classifier reads the last token that is no padding: EOS must not be.
    is_apart = tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    config.pad_token_id = tokenizer.pad_token_id if is_apart else None
    with torch.random.fork_rng(devices=[]):
        try:
            made: Any = AutoModelForSequenceClassification.from_config(config)
        except ValueError as error:
            raise ValueError(
                f"transformers has no sequence classifier of {type(model.trunk).__name__}; "
                "use the reward from Python"
            ) from error
    made.to(next(model.parameters()).dtype)
    made.base_model.load_state_dict(model.trunk.state_dict())
    shift = float((model.mean.double() + model.mean_remainder) / model.sd)
    with torch.no_grad():
        made.score.weight.copy_(model.head.weight / model.sd)
        if shift and _takes_shift(made.base_model, made.score.weight[0], shift):
            shift = 0.0

    def write(target: Path) -> None:
        made.save_pretrained(target)
        tokenizer.save_pretrained(target)
        (target / "README.md").write_text(_card(reward, shift, is_apart), encoding="utf-8")

    write_new_folder(Path(folder), write)
    return shift


def _takes_shift(trunk: nn.Module, head: torch.Tensor, shift: float) -> bool:
    """Lower every score by ``shift`` through the last normalization's bias, if it has one."""
    for name in _LAST_NORMS:
        norm = getattr(trunk, name, None)
        if isinstance(norm, nn.LayerNorm) and norm.bias is not None and head.any():
            norm.bias.sub_(shift * head / head.square().sum())
            return True
    return False


def _card(reward: TrainedReward, shift: float, is_apart: bool) -> str:
    lines = [
        "---",
        'library_name: "transformers"',
        'pipeline_tag: "text-classification"',
        "---",
        "",
        "# A reward model",
        "",
        "Its one logit is the score of prompt and response in one text: use",
        '`pipeline("text-classification", function_to_apply="none")`.',
        "",
        f"- Longest text: {reward.max_tokens} tokens.",
        "- License: to be filled in; that of the model it began from applies to it too.",
    ]
    if shift:
        lines.append(f"- Logits are larger than the scores that it was trained to by {shift:.8g}.")
    if not is_apart:
        lines.append("- It has no padding token apart from EOS: score one text at a time.")
    return "\n".join([*lines, ""])
