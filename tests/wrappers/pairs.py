"""One of each wrapper, and every pair of them in both orders."""

from __future__ import annotations

import itertools
import os

from tests.wrappers.stacks import Stack, newest_id

REWARDS: dict[str, Stack] = {
    "TerminalReward": lambda w, env: w.TerminalReward(env),
    "EveryK": lambda w, env: w.EveryK(env, k=2),
    "PrefixDifference": lambda w, env: w.PrefixDifference(env),
    "PrefixReward": lambda w, env: w.PrefixReward(env),
    "PotentialShaping": lambda w, env: w.PotentialShaping(env, gamma=1.0),
    "LengthPenalty": lambda w, env: w.LengthPenalty(env, coef=0.3, free_tokens=1),
    "OverlongPenalty": lambda w, env: w.OverlongPenalty(env, cache_tokens=2, coef=0.7),
    "RepetitionPenalty": lambda w, env: w.RepetitionPenalty(env, coef=0.4, n=1),
    "TokenReward": lambda w, env: w.TokenReward(env, newest_id),
    "NormalizeScore": lambda w, env: w.NormalizeScore(env, 0.3, 0.7),
}
GRANULARITIES: dict[str, Stack] = {
    "MacroAction": lambda w, env: w.MacroAction(env, n=2),
    "SequenceBandit": lambda w, env: w.SequenceBandit(env),
}
VIEWS: dict[str, Stack] = {
    "TopKActions": lambda w, env: w.TopKActions(env, k=2),
    "HiddenState": lambda w, env: w.HiddenState(env),
    "DecodedText": lambda w, env: w.DecodedText(env),
    "RecordEpisodes": lambda w, env: w.RecordEpisodes(env, os.devnull),
}
ONE_OF_EACH = REWARDS | GRANULARITIES | VIEWS

_PAYS_THE_SCORE = ["EveryK", "PrefixDifference", "PrefixReward"]
_GRANULAR = list(GRANULARITIES)
# Outer wrapper -> the inner ones around which it makes no sense.
REFUSED = {
    "TerminalReward": _PAYS_THE_SCORE,
    "EveryK": [*_PAYS_THE_SCORE, *_GRANULAR],
    "PrefixDifference": [*_PAYS_THE_SCORE, *_GRANULAR],
    "PrefixReward": [*_PAYS_THE_SCORE, *_GRANULAR],
    "PotentialShaping": ["PotentialShaping"],
    "LengthPenalty": ["LengthPenalty", *_GRANULAR],
    "OverlongPenalty": ["OverlongPenalty", *_GRANULAR],
    "RepetitionPenalty": ["RepetitionPenalty", *_GRANULAR],
    "TokenReward": ["TokenReward", *_GRANULAR],
    "NormalizeScore": [*_PAYS_THE_SCORE, "NormalizeScore"],
    "MacroAction": _GRANULAR,
    "SequenceBandit": _GRANULAR,
    "TopKActions": [*_GRANULAR, "TopKActions"],
    "HiddenState": [],
    "DecodedText": [],
    "RecordEpisodes": _GRANULAR,
}
SENSIBLE = [
    (outer, inner)
    for outer, inner in itertools.product(ONE_OF_EACH, repeat=2)
    if inner not in REFUSED[outer]
]


def pair(outer: str, inner: str) -> Stack:
    """The stack of two wrappers."""
    return lambda w, env: ONE_OF_EACH[outer](w, ONE_OF_EACH[inner](w, env))
