"""One of each wrapper, and every pair of them in both orders."""

from __future__ import annotations

import itertools
import os

from tests.wrappers.stacks import Stack, moved_reference, newest_id

REWARDS: dict[str, Stack] = {
    "TerminalReward": lambda w, env: w.TerminalReward(env),
    "EveryK": lambda w, env: w.EveryK(env, k=2),
    "PrefixDifference": lambda w, env: w.PrefixDifference(env),
    "PrefixReward": lambda w, env: w.PrefixReward(env),
    "ImplicitReward": lambda w, env: w.ImplicitReward(env, moved_reference(env), beta=0.5),
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
    "ActionMasks": lambda w, env: w.ActionMasks(env, top_k=2),
    "NumericInfo": lambda w, env: w.NumericInfo(env),
}
ONE_OF_EACH = REWARDS | GRANULARITIES | VIEWS

_SETS_THE_SCORE = ["EveryK", "PrefixDifference", "PrefixReward", "ImplicitReward"]
_GRANULAR = list(GRANULARITIES)
_OUTERMOST = ["NumericInfo"]
# Outer wrapper -> the inner ones around which it makes no sense.
REFUSED = {
    "TerminalReward": [*_SETS_THE_SCORE, *_OUTERMOST],
    "EveryK": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "PrefixDifference": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "PrefixReward": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "ImplicitReward": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "PotentialShaping": ["PotentialShaping", *_OUTERMOST],
    "LengthPenalty": ["LengthPenalty", *_GRANULAR, *_OUTERMOST],
    "OverlongPenalty": ["OverlongPenalty", *_GRANULAR, *_OUTERMOST],
    "RepetitionPenalty": ["RepetitionPenalty", *_GRANULAR, *_OUTERMOST],
    "TokenReward": ["TokenReward", *_GRANULAR, *_OUTERMOST],
    "NormalizeScore": [*_SETS_THE_SCORE, "NormalizeScore", *_OUTERMOST],
    "MacroAction": [*_GRANULAR, *_OUTERMOST],
    "SequenceBandit": [*_GRANULAR, *_OUTERMOST],
    "TopKActions": [*_GRANULAR, "TopKActions", *_OUTERMOST],
    "HiddenState": [*_OUTERMOST],
    "DecodedText": [*_OUTERMOST],
    "RecordEpisodes": [*_GRANULAR, *_OUTERMOST],
    "ActionMasks": [*_GRANULAR, "TopKActions", *_OUTERMOST],
    "NumericInfo": [*_OUTERMOST],
}
SENSIBLE = [
    (outer, inner)
    for outer, inner in itertools.product(ONE_OF_EACH, repeat=2)
    if inner not in REFUSED[outer]
]


def pair(outer: str, inner: str) -> Stack:
    """The stack of two wrappers."""
    return lambda w, env: ONE_OF_EACH[outer](w, ONE_OF_EACH[inner](w, env))
