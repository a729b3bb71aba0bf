"""Helpful, harmless, honest: what can be measured of each on held-out comparisons.

The three words are Askell et al.'s (arXiv:2112.00861), and the comparisons with a subset for the
first two Bai et al.'s (arXiv:2204.05862). Whether what a model says is true is not measured here:
that would take texts whose truth is known. What is measured in its place is calibration, whether a
model that is 70 % sure of the next word is right seven times in ten (arXiv:2207.05221).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, cat

from agents import Agent
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.feedback.records import Comparison
from rlhf_env.rewards.metrics.calibration import calibration
from rlhf_env.statistics import Estimate, wilson
from rlhf_env.text.prompts import encode_prompt, read_prompts
from rlhf_env.text.responses import response_ids
from studies.evaluation.likelihood import Likelihood, likelihood

AXES = ("helpful", "harmless")
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Comparisons as token ids."""

    chosen: list[Tensor]
    """P texts: prompt and the response that people chose."""
    rejected: list[Tensor]
    """P texts with the other response."""
    starts: list[int]
    """P lengths of the prompts."""
    skipped: int
    """Comparisons left out for being longer than the model's window."""


def hhh(agent: Agent, path: Path, column: str) -> dict[str, dict[str, Estimate | str | int]]:
    """Return the table of an agent and of its reference, by row.

    "helpful" and "harmless" are the shares of comparisons whose chosen response has the higher mean
    log-probability per token, so that length does not count; ties are half. "calibration" is
    the expected calibration error of the next token, on the chosen responses.

    Args:
        agent: whose task has the tokenizer.
        path: comparisons with a column whose values begin with "helpful" or "harmless".
        column: its name.

    Raises:
        ValueError: if the file cannot be used, or lacks one of the two.
    """
    groups = _groups(path, column)
    models = {"reference": agent.base.mdp.reference, "agent": agent.policy.lm}
    table: dict[str, dict[str, Estimate | str | int]] = {}
    chosen: dict[str, list[Likelihood]] = defaultdict(list)
    for axis, records in groups.items():
        pairs = _encoded(records, agent)
        table[axis] = {"pairs": len(pairs.chosen), "left out": pairs.skipped}
        for name, model in models.items():
            ours, wins = _wins(model, pairs, agent.policy.temperature)
            table[axis][name] = wilson(wins, len(pairs.chosen))
            chosen[name].append(ours)
    table["calibration"] = {name: _error(found) for name, found in chosen.items()}
    table["truthful"] = dict.fromkeys(models, NOT_MEASURED)
    return table


def _groups(path: Path, column: str) -> dict[str, list[Comparison]]:
    data = read_preferences(path, kind="comparisons", option="--hhh")
    values = [str(value) for value in read_prompts(path, "--hhh", column)]
    records = [record for record in data.records if isinstance(record, Comparison)]
    if len(values) != len(records):
        raise ValueError(
            f"--hhh must hold rows that can all be used, got {len(records)} of {len(values)}; "
            "remove the others"
        )
    found: dict[str, list[Comparison]] = {axis: [] for axis in AXES}
    for value, record in zip(values, records, strict=True):
        for axis in AXES:
            if value.startswith(axis):
                found[axis].append(record)
    for axis, those in found.items():
        if not those:
            raise ValueError(
                f"--hhh must have rows whose {column!r} begins with {axis!r}, got "
                f"{sorted(set(values))[:5]}; name the column by --hhh-by"
            )
    return found


def _encoded(records: list[Comparison], agent: Agent) -> Pairs:
    tokenizer = agent.base.task.tokenizer
    window = getattr(agent.policy.model.config, "max_position_embeddings", None)
    chosen, rejected, starts = [], [], []
    for record in records:
        prompt = encode_prompt(record.prompt, "a prompt of --hhh", tokenizer)
        sides = [
            cat([prompt, response_ids(text, "a response of --hhh", tokenizer, record.prompt)])
            for text in (record.chosen, record.rejected)
        ]
        if window is None or max(map(len, sides)) <= window:
            chosen.append(sides[0])
            rejected.append(sides[1])
            starts.append(len(prompt))
    if not chosen:
        raise ValueError(
            f"--hhh must hold comparisons that fit the model's window of {window} tokens, got none"
        )
    skipped = len(records) - len(chosen)
    return Pairs(chosen=chosen, rejected=rejected, starts=starts, skipped=skipped)


def _wins(model: LanguageModel, pairs: Pairs, temperature: float) -> tuple[Likelihood, float]:
    """Return what a model says of the chosen sides, and how often it likes them better."""
    ours, theirs = (
        likelihood(model, texts, pairs.starts, temperature)
        for texts in (pairs.chosen, pairs.rejected)
    )
    difference = ours.logprobs / ours.counts - theirs.logprobs / theirs.counts
    return ours, float((difference > 0).sum() + (difference == 0).sum() / 2)


def _error(found: list[Likelihood]) -> Estimate:
    confidence = np.concatenate([each.confidence for each in found])
    is_right = np.concatenate([each.is_right for each in found])
    error = calibration(confidence, is_right).expected_error
    # Tokens of one text are not independent, and an error of bins has no simple interval.
    return Estimate(value=error, low=None, high=None, count=len(confidence))
