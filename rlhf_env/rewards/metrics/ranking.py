"""Whether scores put several responses to one prompt in the order in which people did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from rlhf_env.rewards.feedback.records import PairRecord
from rlhf_env.rewards.metrics.estimates import resampled, share
from rlhf_env.statistics import Estimate, Floats

_LEAST = 3


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """Orders of whole prompts, over those with three different responses or more.

    People's order is by the number of other responses that a response was preferred to, ties
    counting half. Prompts whose responses are all equally good to people are left out.
    """

    ordered_prompts: int
    """Prompts that these figures are over."""
    kendall_tau: Estimate
    """Mean of Kendall's tau-b over prompts: 1 for the same order, 0 for none."""
    top_one: Estimate
    """How often the response with the highest score is one of people's best."""
    top_one_by_chance: float
    """The same of a response drawn at random."""


def orderings(
    records: Sequence[PairRecord], scores: Sequence[Mapping[str, float]]
) -> Ordering | None:
    """Return the figures, or None if no record has an order of three responses.

    Args:
        records: rankings or compared responses; pairs are passed over.
        scores: of each record's different responses.
    """
    rows = []
    for record, own in zip(records, scores, strict=True):
        wins = preferred_counts(record)
        if len(own) >= _LEAST and np.ptp(list(wins.values())) > 0:
            rows.append((np.array([wins[text] for text in own]), np.array(list(own.values()))))
    if not rows:
        return None
    taus = np.array([_tau(wins, values) for wins, values in rows])
    top = np.array([(wins[values == values.max()] == wins.max()).mean() for wins, values in rows])
    prompts = [str(number) for number in range(len(rows))]
    best = share(top, prompts)
    assert best is not None
    return Ordering(
        ordered_prompts=len(rows),
        kendall_tau=resampled(lambda drawn: float(taus[drawn].mean()), prompts),
        top_one=best,
        top_one_by_chance=float(np.mean([(wins == wins.max()).mean() for wins, _ in rows])),
    )


def preferred_counts(record: PairRecord) -> dict[str, float]:
    """Return for each different response how many others it was preferred to, ties as halves."""
    counts = dict.fromkeys(record.responses, 0.0)
    for pair in record.pairs:
        if pair.is_identical:
            continue
        won = (np.sign(pair.votes.chosen - pair.votes.rejected) + 1) / 2
        counts[pair.chosen] += won
        counts[pair.rejected] += 1 - won
    return counts


def _tau(wins: Floats, scores: Floats) -> float:
    # Equal scores order nothing; the library would answer NaN.
    return float(kendalltau(wins, scores)[0]) if np.ptp(scores) else 0.0  # type: ignore[arg-type]
