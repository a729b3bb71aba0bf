"""Reading compared responses: from files, records, rows and token ids to groups that fit a task."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from agents.preference.groups import ResponseGroup, group_of_ids, groups_of, without
from agents.rollouts.given import given_rollout
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.text.prompts import encode_prompt
from rlhf_env.text.responses import response_ids


def read_groups(
    source: Any, task: Task, *, alone: bool = False, name: str = "preferences"
) -> list[ResponseGroup]:
    """Return compared responses as token ids, as the task's policy would have written them.

    Groups are left out, and counted in one warning, that are too long for the task, or of whose
    responses no two different ones were compared.

    Args:
        source: all that `rlhf_env.rewards.read_preferences` takes; or a list of
            (prompt, chosen, rejected), each a text or token ids, of `ResponseGroup`, or of rows
            with token ids. Texts get an EOS token, ids are taken as they are.
        task: gives the tokenizer and the limits.
        alone: return each response by itself, as methods for single responses learn from them.
        name: how the caller named the source, for error messages.

    Raises:
        ValueError: if the source cannot be read, a prompt or a response cannot be encoded, or no
            group is left.
    """
    found = _groups(source, alone, name)
    encoded = [_encoded(group, f"{name} {i}", task) for i, group in enumerate(found)]
    fitting = [group for group in encoded if _fits(group, task)]
    kept = fitting if alone else [group for group in fitting if group.is_compared]
    notes = {
        f"longer than {task.max_prompt_tokens} prompt tokens and {task.max_new_tokens} response "
        "tokens": len(encoded) - len(fitting),
        "without two different responses that were compared": len(fitting) - len(kept),
    }
    told = "; ".join(f"{count} of {len(found)} {why}" for why, count in notes.items() if count)
    if not kept:
        raise ValueError(
            f"{name} must hold comparisons that can be used, got none{told and f' ({told})'}; "
            "raise the task's limits, or give responses that were compared with others"
        )
    if told:
        warnings.warn(f"{name} left out: {told}", stacklevel=3)
    return kept if not alone else [one for group in kept for one in group.singles()]


def groups_rollout(mdp: TokenMDP, groups: Sequence[ResponseGroup]) -> Rollout:
    """Return the record of groups that `read_groups` returned, with preferences and scores.

    Args:
        mdp: gives width, padding and device.
        groups: G of them, with at most K responses; scores are 0 where there are none.
    """
    sizes = torch.tensor([len(group) for group in groups])
    width = int(sizes.max())
    preference = torch.cat([pad(g.preference, (0, width - len(g)), value=math.nan) for g in groups])
    scores = [score for g in groups for score in g.scores or (0.0,) * len(g)]
    silent = given_rollout(
        mdp,
        [group.prompt for group in groups for _ in group.responses],
        [response for group in groups for response in group.responses],
        torch.arange(len(groups)).repeat_interleave(sizes),
    )
    return silent.replace(
        preference=preference.to(mdp.device), score=torch.tensor(scores, device=mdp.device)
    )


def _groups(source: Any, alone: bool, name: str) -> list[ResponseGroup]:
    if isinstance(source, Iterable) and not isinstance(source, str | Path | Mapping):
        if not isinstance(source, PreferenceData | Sequence):
            # A data set's rows, or a generator's.
            source = list(source)
        if not isinstance(source, PreferenceData) and source and not _is_text_row(source[0]):
            return [group_of_ids(row, f"{name} {i}") for i, row in enumerate(source)]
    data = read_preferences(source, option=name)
    return groups_of(data.records, alone=alone)


def _is_text_row(row: Any) -> bool:
    """Return whether a row is one that `read_preferences` reads."""
    if not isinstance(row, Mapping):
        return not isinstance(row, tuple | list | ResponseGroup)
    prompt = row.get("prompt")
    if isinstance(prompt, list | tuple):
        return not prompt or isinstance(prompt[0], Mapping)
    return not isinstance(prompt, Tensor | np.ndarray)


def _encoded(group: ResponseGroup, name: str, task: Task) -> ResponseGroup:
    """Return a group with token ids in place of texts; equal responses count as not compared."""
    prompt = encode_prompt(group.prompt, f"the prompt of {name}", task.tokenizer)
    responses = tuple(_response(said, group.prompt, name, task) for said in group.responses)
    equal = torch.zeros(len(group), len(group), dtype=torch.bool)
    for i, j in itertools.permutations(range(len(group)), 2):
        equal[i, j] = torch.equal(responses[i], responses[j])
    return replace(without(group, equal), prompt=prompt, responses=responses)


def _response(said: Any, prompt: Any, name: str, task: Task) -> Tensor:
    name = f"a response of {name}"
    if isinstance(said, str):
        if not said.strip():
            raise ValueError(f"{name} must not be empty, got {said!r:.60}")
        return response_ids(said, name, task.tokenizer, prompt)
    return encode_prompt(said, name, task.tokenizer)


def _fits(group: ResponseGroup, task: Task) -> bool:
    longest = max(map(len, group.responses))
    return len(group.prompt) <= task.max_prompt_tokens and longest <= task.max_new_tokens
