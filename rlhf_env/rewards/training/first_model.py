"""A reward model before its training: a language model's trunk and a new head."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from rlhf_env.engine.placement import resolve_device
from rlhf_env.engine.pretrained import load_language_model
from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.training.objective import Objective
from rlhf_env.rewards.training.settings import RewardSettings
from rlhf_env.rewards.training.single_objectives import RatingObjective

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Of a model that states no window: rotary positions have no end of their own.
_NO_WINDOW = 2**31


def load_trunk(
    model: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a decoder without language-model head, and the tokenizer of its texts.

    Args:
        model: a folder, a hub id, or a model, which is returned without its head.
        tokenizer: of a model that is given itself.

    Raises:
        ValueError: if there is no such model, or a tokenizer is missing or given twice.
    """
    from_place = isinstance(model, str | Path)
    if from_place == (tokenizer is not None):
        got = "one beside a folder" if from_place else "none"
        raise ValueError(
            f"tokenizer must be given with a model itself, and with that only, got {got}"
        )
    if isinstance(model, str | Path):
        loaded, own = load_language_model(model)
        return cast("PreTrainedModel", cast("PreTrainedModel", loaded).base_model), own
    assert tokenizer is not None
    return cast("PreTrainedModel", model.base_model), tokenizer


def window(trunk: PreTrainedModel, settings: RewardSettings) -> int:
    """Return the most tokens that a prompt and its response may have together.

    Raises:
        ValueError: if the settings ask for more than the model can read.
    """
    most = getattr(trunk.config, "max_position_embeddings", None) or _NO_WINDOW
    asked = settings.max_tokens or most
    if asked > most:
        raise ValueError(f"max_tokens must be at most the model's window of {most}, got {asked}")
    return asked


def first_model(
    trunk: PreTrainedModel,
    objective: Objective,
    settings: RewardSettings,
    generator: torch.Generator,
) -> ScalarRewardModel:
    """Return a copy of a trunk with a head drawn from N(0, 1/(H + 1)) (arXiv:2009.01325).

    Ratings are forecast on their own scale, around their mean.

    Args:
        trunk: is not changed.
        objective: what the scores will be fitted to.
        settings: names the device.
        generator: draws the head.
    """
    # The head that a constructor draws is not kept; the global generator stays untouched.
    with torch.random.fork_rng(devices=[]):
        model = ScalarRewardModel(copy.deepcopy(trunk))
    spread = 1 / math.sqrt(trunk.config.hidden_size + 1)
    with torch.no_grad():
        model.head.weight.normal_(0.0, spread, generator=generator)
        if isinstance(objective, RatingObjective):
            model.mean.fill_(-objective.mean / objective.spread)
            model.sd.fill_(1 / objective.spread)
    model.requires_grad_(True)
    return model.float().to(resolve_device(settings.device))
