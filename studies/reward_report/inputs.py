"""The data and the reward that a report is about."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

from rlhf_env.rewards.ensemble import Ensemble
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.feedback.prompt_and_response import prompt_text
from rlhf_env.rewards.feedback.records import Record
from rlhf_env.rewards.training.elements import place_of, prompt_ids
from rlhf_env.rewards.training.fresh_model import make_fresh_model
from rlhf_env.rewards.training.train import train
from rlhf_env.rewards.training.trained import TrainedReward, load_reward
from rlhf_env.text.prompts import read_prompts
from rlhf_env.text.responses import response_ids
from studies.reward_report.settings import Settings


def read(settings: Settings) -> tuple[PreferenceData, PreferenceData]:
    """Return the data to train on and those to judge by, without a common prompt.

    Raises:
        ValueError: if a file or row cannot be used.
    """
    fields = settings.fields
    data = read_preferences(settings.data, kind=settings.kind, fields=fields, option="--data")
    test = read_preferences(settings.test, kind=data.kind, fields=fields, option="--test")
    return data, test.without_prompts_of(data)


def reward_of(
    settings: Settings, data: PreferenceData
) -> tuple[TrainedReward | Ensemble, dict[str, Any]]:
    """Return the reward to judge, trained now unless it is given, and how its training went.

    Raises:
        ValueError: if data, model or settings cannot be used.
    """
    if settings.reward is not None:
        return load_reward(settings.reward), {}
    fit, stop = data.split()
    model, tokenizer = settings.model, None
    if model is None:
        texts = [text for r in fit.records for text in (prompt_text(r.prompt), *r.responses)]
        model, tokenizer = make_fresh_model(settings.fresh, texts, settings.fit.seed)
    result = train(
        model,
        fit,
        tokenizer=tokenizer,
        held_out=stop,
        settings=settings.fit,
        losses=settings.losses,
    )
    return result.reward, result.figures()


def first_member(reward: TrainedReward | Ensemble) -> TrainedReward:
    """Return the first of an ensemble's models, which share tokenizer and window, or the model."""
    member = reward.members[0] if isinstance(reward, Ensemble) else reward
    assert isinstance(member, TrainedReward), "trained rewards have trained members"
    return member


def fitting(test: PreferenceData, reward: TrainedReward) -> PreferenceData:
    """Return the records whose responses a reward model can read, the rest counted in the notes.

    Raises:
        ValueError: if there are none.
    """
    kept = tuple(record for record in test.records if _longest(record, reward) <= reward.max_tokens)
    if len(kept) == len(test):
        return test
    note = (
        f"{len(test) - len(kept)} of {len(test)} records left out for more than "
        f"{reward.max_tokens} tokens"
    )
    return dataclasses.replace(test, records=kept, notes=(*test.notes, note))


def subsets(path: Path, column: str, kind: str) -> dict[str, PreferenceData]:
    """Return the comparisons of a file by the values of a column, and by their first parts.

    Args:
        path: a JSONL or Parquet file (.gz too).
        column: its values may have parts, as in ``Adversarial/Manual``.
        kind: of the data trained on, whose scores must order responses.

    Raises:
        ValueError: if the file cannot be read or lacks the column, or the data are marks.
    """
    if kind == "spans":
        raise ValueError("--also must be left out for spans, which judge tokens, not responses")
    data = read_preferences(path, kind="comparisons", option="--also")
    values = [str(value) for value in read_prompts(path, "--also", column)]
    if len(values) != len(data):
        raise ValueError(
            f"--also must hold rows that can all be used, got {len(data)} of {len(values)}; "
            "remove the others"
        )
    found: dict[str, list[Record]] = defaultdict(list)
    for value, record in zip(values, data.records, strict=True):
        for name in dict.fromkeys((value.partition("/")[0], value)):
            found[name].append(record)
    return {
        name: PreferenceData(records=tuple(records), kind=data.kind)
        for name, records in sorted(found.items())
    }


def _longest(record: Record, reward: TrainedReward) -> int:
    """Return the tokens of a record's prompt with its longest response."""
    responses = [
        response_ids(text, "response", reward.tokenizer, place_of(record))
        for text in record.responses
    ]
    return len(prompt_ids(record.prompt, "prompt", reward.tokenizer)) + max(map(len, responses))
