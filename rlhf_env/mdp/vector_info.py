"""Gymnasium's vector info: a key's array over rows, and a mask of the rows that have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.mdp.transition import StepResult

Out = Callable[[Tensor], Any]


def reset_info(mdp: TokenMDP, rows: Tensor, out: Out) -> dict[str, Any]:
    """Return the info of rows whose episode has just begun."""
    return _entry("prompt_index", mdp.prompt_index.double(), rows, out)


def step_info(mdp: TokenMDP, result: StepResult, rows: Tensor, out: Out) -> dict[str, Any]:
    """Return the info of some of the rows that took a step.

    Args:
        mdp: the MDP right after the step.
        result: what the step did.
        rows: [N] bool, the rows to include.
        out: converts a tensor to the environment's array type.
    """
    info = {}
    if rows.any():
        terms = _entry("score", result.score_term.double(), rows, out)
        terms |= _entry("kl", result.kl_penalty.double(), rows, out)
        info |= _entry("ref_logprob", result.ref_logprobs.double(), rows, out)
        info |= {"reward_terms": terms, "_reward_terms": out(rows)}
        if result.turn is not None:
            info |= _entry("turn", result.turn.double(), rows, out)
    ended = rows & result.ended
    if ended.any():
        reasons = np.full(len(rows), None, dtype=object)
        for row in ended.nonzero().flatten().tolist():
            reasons[row] = result.finish_reason[row]
        info |= _entry("score", result.score.double(), ended, out)
        info |= {"finish_reason": reasons, "_finish_reason": out(ended)}
        info |= _entry("response_length", mdp.response_lengths.double(), ended, out)
        info |= _entry("prompt_index", mdp.prompt_index.double(), ended, out)
    return info


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Join the infos of two disjoint sets of rows; entries are zero outside their mask."""
    joined = dict(first)
    for key, value in second.items():
        if key not in joined:
            joined[key] = value
        elif key.startswith("_"):
            joined[key] = joined[key] | value
        else:
            joined[key] = joined[key] + value
    return joined


def _entry(key: str, values: Tensor, rows: Tensor, out: Out) -> dict[str, Any]:
    return {key: out(values * rows), f"_{key}": out(rows)}
