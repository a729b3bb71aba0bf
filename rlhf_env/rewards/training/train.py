"""Train a reward from human feedback in one call."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rlhf_env.engine.placement import resolve_device
from rlhf_env.rewards.ensemble import Ensemble
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.feedback.prompt_and_response import Prompt
from rlhf_env.rewards.training.choice import choose_objective
from rlhf_env.rewards.training.elements import Element, encode_records
from rlhf_env.rewards.training.first_model import first_model, load_trunk, window
from rlhf_env.rewards.training.fit import History, fit
from rlhf_env.rewards.training.objective import Objective
from rlhf_env.rewards.training.settings import LossSettings, RewardSettings
from rlhf_env.rewards.training.swapped import reference_agreement, swap_note
from rlhf_env.rewards.training.trained import TrainedReward, save_reward

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class RewardTraining:
    """A trained reward, with everything needed to evaluate it."""

    reward: TrainedReward | Ensemble
    """What was trained: one model, or the mean of several."""
    members: tuple[TrainedReward, ...]
    """The models."""
    histories: tuple[History, ...]
    """How each member's fit went."""
    train: PreferenceData
    """The records fitted to."""
    held_out: PreferenceData
    """The records that nothing was fitted to; early stopping has seen them."""
    notes: tuple[str, ...]
    """Everything odd that was counted, one sentence each."""

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """Return the mean score of the members for finished responses given as texts."""
        scores = torch.stack([member.score_texts(prompts, responses) for member in self.members])
        return scores.mean(dim=0).tolist()

    def save(self, folder: str | Path) -> None:
        """Write the reward; `load_reward` reads it."""
        save_reward(self.reward, folder)

    def figures(self) -> dict[str, Any]:
        """Return what was measured, as plain values."""
        return {
            "kind": self.train.kind,
            "train_records": len(self.train),
            "held_out_records": len(self.held_out),
            "members": [
                {
                    "steps": len(history.train_losses),
                    "best_step": history.best.step,
                    "held_out_loss": history.best.loss,
                    "held_out_accuracy": history.best.accuracy,
                }
                for history in self.histories
            ],
            "notes": list(self.notes),
        }


def train(
    model: str | Path | PreTrainedModel,
    data: Any,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    held_out: Any = None,
    settings: RewardSettings | None = None,
    losses: LossSettings | None = None,
    reference: Any = None,
) -> RewardTraining:
    """Train a reward model, or an ensemble of them, on human feedback.

    Args:
        model: a folder or hub id of a decoder-only language model, whose trunk gets a new head; or
            the model itself, which is not changed.
        data: as `read_preferences` takes it.
        tokenizer: of a model that is given itself.
        held_out: data whose loss decides when to stop; a tenth of the prompts when None.
        settings: how to fit.
        losses: what the scores are to explain.
        reference: a reward, or function of texts, known to be sensible; pairs that it mostly
            disagrees with draw a warning that the columns may be swapped.

    Raises:
        ValueError: if data, model or settings cannot be used; the data are read first.
    """
    settings, losses = settings or RewardSettings(), losses or LossSettings()
    resolve_device(settings.device)  # Refuses one that is not there.
    fitted, unseen = _both_sides(data, held_out)
    objective = choose_objective(fitted, losses)
    trunk, tokenizer = load_trunk(model, tokenizer)
    longest = window(trunk, settings)
    fitted, elements = _encoded(fitted, objective, tokenizer, longest)
    unseen, held_elements = _encoded(unseen, objective, tokenizer, longest)
    notes = [*fitted.notes, *(note for note in unseen.notes if note not in fitted.notes)]
    if reference is not None and fitted.pairs:
        agreement = reference_agreement(reference, elements, tokenizer)
        notes += _warned(swap_note(agreement, "the reference reward"))
    members, histories = [], []
    for generator in _generators(settings):
        scorer = first_model(trunk, objective, settings, generator)
        histories.append(fit(scorer, objective, elements, held_elements, settings, generator))
        per_token = fitted.kind == "spans"
        members.append(TrainedReward(scorer, tokenizer, max_tokens=longest, per_token=per_token))
    if fitted.pairs:
        # Of the last weights: the best are the earliest where the two sides contradict each other.
        agreement = histories[0].evaluations[-1].agreement
        notes += _warned(swap_note(agreement, "on held-out data, what was learned"))
    return RewardTraining(
        reward=members[0] if len(members) == 1 else Ensemble(members),
        members=tuple(members),
        histories=tuple(histories),
        train=fitted,
        held_out=unseen,
        notes=tuple(notes),
    )


def _both_sides(data: Any, held_out: Any) -> tuple[PreferenceData, PreferenceData]:
    """Return what is fitted to and what is held out, of one kind and without a common prompt."""
    fitted = read_preferences(data)
    if held_out is None:
        return fitted.split()
    unseen = read_preferences(held_out, kind=fitted.kind, option="held_out")
    if unseen.kind != fitted.kind:
        raise ValueError(f"held_out must be {fitted.kind} as data are, got {unseen.kind}")
    return fitted, unseen.without_prompts_of(fitted)


def _encoded(
    data: PreferenceData, objective: Objective, tokenizer: PreTrainedTokenizerBase, longest: int
) -> tuple[PreferenceData, list[Element[Any]]]:
    """Return the records that are short enough, and the same as token ids."""
    encoded = encode_records(data.records, tokenizer, objective.target)
    pairs = list(zip(data.records, encoded, strict=True))
    fitting = [(record, element) for record, element in pairs if element.longest <= longest]
    if not fitting:
        raise ValueError(
            f"max_tokens must leave some of the data, got {longest} where the shortest of "
            f"{len(data)} records has {min(element.longest for element in encoded)}; raise it"
        )
    notes = data.notes
    if cut := len(pairs) - len(fitting):
        note = f"{cut} of {len(pairs)} records left out for more than {longest} tokens"
        notes = (*notes, *_warned(note))
    records, elements = zip(*fitting, strict=True)
    return dataclasses.replace(data, records=records, notes=notes), list(elements)


def _generators(settings: RewardSettings) -> list[torch.Generator]:
    """Return a generator for each member; the first is that of a single model."""
    seeds = [
        np.random.SeedSequence([settings.seed, member]).generate_state(1, np.uint64)
        for member in range(settings.members)
    ]
    return [torch.Generator().manual_seed(int(seed[0] >> 1)) for seed in seeds]


def _warned(note: str | None) -> tuple[str, ...]:
    """Issue a note, if there is one, as a warning too, and return what is to be kept of it."""
    if note is None:
        return ()
    warnings.warn(note, stacklevel=3)
    return (note,)
