"""Every wrapper and every pair of them that makes sense, for single and vector environments."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlhf_env.task import Task

Stack = Callable[[Any, Any], Any]


def after_token_two(prefix_ids: Tensor, task: Task) -> bool:
    return int(prefix_ids[-1]) == 2


def longer_is_better(prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
    """A potential that is 0.5 per token, the prompt's included."""
    return [
        0.5 * (len(prompt) + torch.arange(len(response) + 1))
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def newest_id(prompt: Tensor, response: Tensor) -> float:
    return 0.1 * float(response[-1])


def all_ids(prompt: Tensor, response: Tensor) -> Tensor:
    return 0.1 * response


def moved_reference(env: Any) -> Any:
    """The reference with another output for each token."""
    return _moved(env.unwrapped.mdp.task.reference)


@functools.lru_cache(maxsize=8)
def _moved(reference: Any) -> Any:
    policy = copy.deepcopy(reference)
    with torch.no_grad():
        weight = policy.get_output_embeddings().weight
        weight.add_(0.2 * torch.sin(torch.arange(weight.numel()).reshape(weight.shape).float()))
    return policy


# name -> f(w, env); w is the package `wrappers` or `wrappers.vector`.
DENSITIES: dict[str, Stack] = {
    "terminal": lambda w, env: w.TerminalReward(env),
    "every_1": lambda w, env: w.EveryK(env, k=1),
    "every_2": lambda w, env: w.EveryK(env, k=2),
    "every_9": lambda w, env: w.EveryK(env, k=9),
    "difference": lambda w, env: w.PrefixDifference(env),
    "prefix": lambda w, env: w.PrefixReward(env),
    "implicit": lambda w, env: w.ImplicitReward(env, moved_reference(env), 0.5),
    "implicit_alone": lambda w, env: w.ImplicitReward(env, moved_reference(env), 0.5, False),
    "shaping": lambda w, env: w.PotentialShaping(env, gamma=0.9),
    "own_potential": lambda w, env: w.PotentialShaping(env, 1.0, potential=longer_is_better),
}
PAIRS: dict[str, Stack] = {
    "shaping(every_2)": lambda w, env: w.PotentialShaping(w.EveryK(env, k=2), gamma=0.9),
    "every_2(shaping)": lambda w, env: w.EveryK(w.PotentialShaping(env, gamma=0.9), k=2),
    "shaping(difference)": lambda w, env: w.PotentialShaping(w.PrefixDifference(env), gamma=1.0),
    "difference(shaping)": lambda w, env: w.PrefixDifference(w.PotentialShaping(env, gamma=1.0)),
    "shaping(prefix)": lambda w, env: w.PotentialShaping(w.PrefixReward(env), gamma=0.5),
    "prefix(shaping)": lambda w, env: w.PrefixReward(w.PotentialShaping(env, gamma=0.5)),
    "shaping(terminal)": lambda w, env: w.PotentialShaping(w.TerminalReward(env), gamma=0.5),
    "terminal(shaping)": lambda w, env: w.TerminalReward(w.PotentialShaping(env, gamma=0.5)),
    "every_2(terminal)": lambda w, env: w.EveryK(w.TerminalReward(env), k=2),
    "difference(terminal)": lambda w, env: w.PrefixDifference(w.TerminalReward(env)),
    "prefix(terminal)": lambda w, env: w.PrefixReward(w.TerminalReward(env)),
}
TERMS: dict[str, Stack] = {
    "length": lambda w, env: w.LengthPenalty(env, coef=0.25, free_tokens=2),
    "overlong": lambda w, env: w.OverlongPenalty(env, cache_tokens=2),
    "repetition": lambda w, env: w.RepetitionPenalty(env, coef=0.5, n=1),
    "token": lambda w, env: w.TokenReward(env, newest_id),
    "tokens": lambda w, env: w.TokenReward(env, all_ids, name="ids"),
    "normalized": lambda w, env: w.NormalizeScore(env, mean=0.5, sd=2.0),
    "length(repetition)": lambda w, env: w.LengthPenalty(w.RepetitionPenalty(env, 0.5, n=2), 0.25),
    "token(token)": lambda w, env: w.TokenReward(w.TokenReward(env, newest_id), all_ids, "ids"),
    "length(every_2)": lambda w, env: w.LengthPenalty(w.EveryK(env, k=2), coef=0.25),
    "every_2(length)": lambda w, env: w.EveryK(w.LengthPenalty(env, coef=0.25), k=2),
    "normalized(length)": lambda w, env: w.NormalizeScore(w.LengthPenalty(env, 0.25), 0.5, 2.0),
    "every_2(normalized)": lambda w, env: w.EveryK(w.NormalizeScore(env, 0.5, 2.0), k=2),
    "prefix(normalized)": lambda w, env: w.PrefixReward(w.NormalizeScore(env, 0.5, 2.0)),
    "shaping(normalized)": lambda w, env: w.PotentialShaping(w.NormalizeScore(env, 0.5, 2.0), 0.9),
}
VIEWS: dict[str, Stack] = {
    "top_3": lambda w, env: w.TopKActions(env, k=3),
    "top_2_eos": lambda w, env: w.TopKActions(env, k=2, always_eos=True),
    "top_3(every_2)": lambda w, env: w.TopKActions(w.EveryK(env, k=2), k=3),
    "every_2(top_3)": lambda w, env: w.EveryK(w.TopKActions(env, k=3), k=2),
    "macro_2(top_3)": lambda w, env: w.MacroAction(w.TopKActions(env, k=3), n=2),
    "text": lambda w, env: w.DecodedText(env),
    "text(macro_2)": lambda w, env: w.DecodedText(w.MacroAction(env, n=2)),
    "every_2(text)": lambda w, env: w.EveryK(w.DecodedText(env), k=2),
    "recorded": lambda w, env: w.RecordEpisodes(env, os.devnull),
    "recorded(every_2)": lambda w, env: w.RecordEpisodes(w.EveryK(env, k=2), os.devnull),
    "macro_2(recorded)": lambda w, env: w.MacroAction(w.RecordEpisodes(env, os.devnull), n=2),
    "hidden": lambda w, env: w.HiddenState(env),
    "masked": lambda w, env: w.ActionMasks(env, top_k=2),
    "numeric": lambda w, env: w.NumericInfo(env),
    "numeric(top_3(length))": lambda w, env: w.NumericInfo(
        w.TopKActions(w.LengthPenalty(env, coef=0.25), k=3)
    ),
    "numeric(macro_2)": lambda w, env: w.NumericInfo(w.MacroAction(env, n=2)),
    "hidden(top_3(length))": lambda w, env: w.HiddenState(
        w.TopKActions(w.LengthPenalty(env, coef=0.25), k=3)
    ),
    "macro_2(hidden)": lambda w, env: w.MacroAction(w.HiddenState(env), n=2),
}
MACROS: dict[str, Stack] = {
    "macro_1": lambda w, env: w.MacroAction(env, n=1),
    "macro_2": lambda w, env: w.MacroAction(env, n=2),
    "boundary": lambda w, env: w.MacroAction(env, boundary=after_token_two),
    "macro_2(every_2)": lambda w, env: w.MacroAction(w.EveryK(env, k=2), n=2),
    "macro_2(shaping)": lambda w, env: w.MacroAction(w.PotentialShaping(env, gamma=1.0), n=2),
    "boundary(prefix)": lambda w, env: w.MacroAction(w.PrefixReward(env), boundary=after_token_two),
    "macro_2(terminal)": lambda w, env: w.MacroAction(w.TerminalReward(env), n=2),
    "punctuation": lambda w, env: w.MacroAction(env, boundary=w.punctuation),
    "space_led": lambda w, env: w.MacroAction(env, boundary=w.space_led),
    "entropy": lambda w, env: w.MacroAction(env, boundary=w.high_reference_entropy(0.9)),
    "shaping(macro_2)": lambda w, env: w.PotentialShaping(w.MacroAction(env, n=2), gamma=0.9),
    "shaping(entropy)": lambda w, env: w.PotentialShaping(
        w.MacroAction(env, boundary=w.high_reference_entropy(0.9)), gamma=0.9
    ),
    "shaping(macro_2(every_2))": lambda w, env: w.PotentialShaping(
        w.MacroAction(w.EveryK(env, k=2), n=2), gamma=0.9
    ),
    "terminal(macro_2)": lambda w, env: w.TerminalReward(w.MacroAction(env, n=2)),
}
BANDITS: dict[str, Stack] = {
    "bandit": lambda w, env: w.SequenceBandit(env),
    "bandit(every_2)": lambda w, env: w.SequenceBandit(w.EveryK(env, k=2)),
    "bandit(difference)": lambda w, env: w.SequenceBandit(w.PrefixDifference(env)),
    "bandit(prefix)": lambda w, env: w.SequenceBandit(w.PrefixReward(env)),
    "bandit(shaping)": lambda w, env: w.SequenceBandit(w.PotentialShaping(env, gamma=1.0)),
    "shaping(bandit)": lambda w, env: w.PotentialShaping(w.SequenceBandit(env), gamma=0.9),
    "bandit(length)": lambda w, env: w.SequenceBandit(w.LengthPenalty(env, coef=0.25)),
    "normalized(bandit)": lambda w, env: w.NormalizeScore(w.SequenceBandit(env), 0.5, 2.0),
    "hidden(bandit)": lambda w, env: w.HiddenState(w.SequenceBandit(env)),
    "bandit(top_3)": lambda w, env: w.SequenceBandit(w.TopKActions(env, k=3)),
    "bandit(terminal)": lambda w, env: w.SequenceBandit(w.TerminalReward(env)),
}
STACKS = DENSITIES | PAIRS | TERMS | VIEWS | MACROS | BANDITS
