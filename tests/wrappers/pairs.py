"""One of each wrapper, and every pair of them in both orders."""

from __future__ import annotations

import dataclasses
import itertools
import os

import torch
from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.wrappers.stacks import Stack, moved_reference, newest_id

REWARDS: dict[str, Stack] = {
    "TerminalReward": lambda w, env: w.TerminalReward(env),
    "EveryK": lambda w, env: w.EveryK(env, k=2),
    "PrefixDifference": lambda w, env: w.PrefixDifference(env),
    "PrefixReward": lambda w, env: w.PrefixReward(env),
    "ImplicitReward": lambda w, env: w.ImplicitReward(env, moved_reference(env), beta=0.5),
    "PotentialShaping": lambda w, env: w.PotentialShaping(env, gamma=1.0),
    "ProcessReward": lambda w, env: w.ProcessReward(env),
    "RawProcessReward": lambda w, env: w.RawProcessReward(env),
    "ProcessPotential": lambda w, env: w.ProcessPotential(env, gamma=1.0),
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

_SETS_THE_SCORE = [
    *("EveryK", "PrefixDifference", "PrefixReward", "ImplicitReward"),
    *("ProcessReward", "RawProcessReward"),
]
_SHAPES = ["PotentialShaping", "ProcessPotential"]
_GRANULAR = list(GRANULARITIES)
_OUTERMOST = ["NumericInfo"]
# Outer wrapper -> the inner ones around which it makes no sense.
REFUSED = {
    "TerminalReward": [*_SETS_THE_SCORE, *_OUTERMOST],
    "EveryK": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "PrefixDifference": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "PrefixReward": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "ImplicitReward": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "PotentialShaping": [*_SHAPES, *_OUTERMOST],
    "ProcessReward": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "RawProcessReward": [*_SETS_THE_SCORE, *_GRANULAR, *_OUTERMOST],
    "ProcessPotential": [*_SHAPES, *_OUTERMOST],
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


def toy15_in_lines() -> Task:
    """Toy15 with lines that end with the token 2, which are worth the ones so far."""

    def ones(prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
        return torch.tensor([float((ids == 1).sum()) for ids in histories])

    return dataclasses.replace(load_task("toy15"), end_of_turn_id=2, step_scores=ones)


def pair(outer: str, inner: str) -> Stack:
    """The stack of two wrappers."""
    return lambda w, env: ONE_OF_EACH[outer](w, ONE_OF_EACH[inner](w, env))
