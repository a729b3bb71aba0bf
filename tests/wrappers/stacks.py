"""Every wrapper and every pair of them that makes sense, for single and vector environments."""

from __future__ import annotations

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


# name -> f(w, env); w is the package `wrappers` or `wrappers.vector`.
DENSITIES: dict[str, Stack] = {
    "terminal": lambda w, env: w.TerminalReward(env),
    "every_1": lambda w, env: w.EveryK(env, k=1),
    "every_2": lambda w, env: w.EveryK(env, k=2),
    "every_9": lambda w, env: w.EveryK(env, k=9),
    "difference": lambda w, env: w.PrefixDifference(env),
    "prefix": lambda w, env: w.PrefixReward(env),
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
MACROS: dict[str, Stack] = {
    "macro_1": lambda w, env: w.MacroAction(env, n=1),
    "macro_2": lambda w, env: w.MacroAction(env, n=2),
    "boundary": lambda w, env: w.MacroAction(env, boundary=after_token_two),
    "macro_2(every_2)": lambda w, env: w.MacroAction(w.EveryK(env, k=2), n=2),
    "macro_2(shaping)": lambda w, env: w.MacroAction(w.PotentialShaping(env, gamma=1.0), n=2),
    "boundary(prefix)": lambda w, env: w.MacroAction(w.PrefixReward(env), boundary=after_token_two),
    "macro_2(terminal)": lambda w, env: w.MacroAction(w.TerminalReward(env), n=2),
    "terminal(macro_2)": lambda w, env: w.TerminalReward(w.MacroAction(env, n=2)),
}
BANDITS: dict[str, Stack] = {
    "bandit": lambda w, env: w.SequenceBandit(env),
    "bandit(every_2)": lambda w, env: w.SequenceBandit(w.EveryK(env, k=2)),
    "bandit(difference)": lambda w, env: w.SequenceBandit(w.PrefixDifference(env)),
    "bandit(prefix)": lambda w, env: w.SequenceBandit(w.PrefixReward(env)),
    "bandit(shaping)": lambda w, env: w.SequenceBandit(w.PotentialShaping(env, gamma=1.0)),
    "bandit(terminal)": lambda w, env: w.SequenceBandit(w.TerminalReward(env)),
}
STACKS = DENSITIES | PAIRS | MACROS | BANDITS
