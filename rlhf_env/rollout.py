"""The record of what happened: finished episodes, and the protocol of wrappers that transform them.

This module holds no model, no sampling and no learning.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """B finished episodes, padded on the right to L tokens; or R times B, with a first axis more.

    Index ``i`` of every [B, L] field belongs to the action that chose ``tokens[:, i]``. Where
    ``is_action`` is False (prompt and padding) the other fields hold 0 (``decision``: -1).
    A row is a prompt, then a response; for prompt ``(7, 8)`` and response ``(5, eos)``::

        tokens    7 8 5 eos pad        is_action  F F T T F        decision  -1 -1 0 1 -1
    """

    tokens: Tensor
    """[B, L] int64, prompt then response."""
    is_action: Tensor
    """[B, L] bool, True where the agent chose the token."""
    logprobs: Tensor
    """[B, L] log pi(a|s) of the policy that acted, in nats."""
    ref_logprobs: Tensor
    """[B, L] log pi_ref(a|s) of the reference, in nats."""
    rewards: Tensor
    """[B, L] the reward of each step; the sum of ``reward_terms``."""
    reward_terms: Mapping[str, Tensor]
    """Name -> [B, L]; at least "score" and "kl"."""
    score: Tensor
    """[B] the reward model's score of the whole response."""
    terminated: Tensor
    """[B] bool, False where the episode was truncated (the learner bootstraps)."""
    group: Tensor
    """[B] int64; rows with the same number share one prompt draw."""
    prompt_index: Tensor
    """[B] int64; -1 where the prompt came from outside the task."""
    decision: Tensor
    """[B, L] int64, which decision of its episode a token belongs to; -1 elsewhere."""
    kl_coef: Tensor | None = None
    """[B] beta of the KL term, recorded because a controller may change it meanwhile; None
    before rewards are computed.
    """
    includes_policy_logprob: Tensor | None = None
    """[B] bool, False where the KL term holds the reference's part alone, beta log pi_ref(a|s), and
    the learner has to add -beta log pi(a|s); None before rewards are computed.
    """
    ends_turn: Tensor | None = None
    """[B, L] bool, True where an action ended a turn of a conversation, or a line; None where the
    task has neither."""
    preference: Tensor | None = None
    """[B, K] column k is the probability that this response is better than the k-th of its group,
    whose rows are consecutive: 1/2 for itself, NaN where the two were not compared or the group has
    fewer responses. In a group of one, column 0 is the probability that the response is good. None
    where nothing was compared.
    """

    def __post_init__(self) -> None:
        """Refuse a record whose fields disagree in shape or whose rows hold no action."""
        shape = self.tokens.shape
        per_token = {
            "is_action": self.is_action,
            "logprobs": self.logprobs,
            "ref_logprobs": self.ref_logprobs,
            "rewards": self.rewards,
            "decision": self.decision,
            **{f"reward_terms[{name!r}]": term for name, term in self.reward_terms.items()},
        }
        if self.ends_turn is not None:
            per_token["ends_turn"] = self.ends_turn
        per_episode = {
            "score": self.score,
            "terminated": self.terminated,
            "group": self.group,
            "prompt_index": self.prompt_index,
        }
        for name, field in per_token.items():
            if field.shape != shape:
                raise ValueError(f"{name} must be [B, L] = {list(shape)}, got {list(field.shape)}")
        for name in ("kl_coef", "includes_policy_logprob"):
            if (field := getattr(self, name)) is not None:
                per_episode[name] = field
        for name, field in per_episode.items():
            if field.shape != shape[:-1]:
                raise ValueError(
                    f"{name} must be [B] = {list(shape[:-1])}, got {list(field.shape)}"
                )
        if self.preference is not None:
            _check_preference(self.preference, shape[0])
        if not self.is_action.any(dim=-1).all():
            raise ValueError("every episode must hold at least one action, got a row with none")

    def __len__(self) -> int:
        """Return the number of episodes B."""
        return self.tokens.shape[0]

    @property
    def prompt_lengths(self) -> Tensor:
        """[B] tokens before the first action."""
        return self.is_action.int().argmax(dim=1)

    @property
    def lengths(self) -> Tensor:
        """[B] tokens up to and including the last action."""
        width = self.tokens.shape[1]
        return width - self.is_action.flip(1).int().argmax(dim=1)

    @property
    def response_lengths(self) -> Tensor:
        """[B] actions of each episode, the EOS token included."""
        return self.is_action.sum(dim=1)

    @property
    def last_action(self) -> Tensor:
        """[B, L] bool, True at the last action of each episode."""
        positions = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return positions == (self.lengths - 1)[:, None]

    @property
    def log_ratio(self) -> Tensor:
        """[B, L] log pi(a|s) - log pi_ref(a|s) in nats, the KL's estimator k1; 0 elsewhere."""
        return torch.where(self.is_action, self.logprobs - self.ref_logprobs, 0.0)

    def prompts(self) -> list[Tensor]:
        """Return the prompt ids of every row, unpadded."""
        return [row[:n] for row, n in zip(self.tokens, self.prompt_lengths.tolist(), strict=True)]

    def responses(self) -> list[Tensor]:
        """Return the response ids of every row, unpadded, EOS included.

        In a conversation these are all ids from the first action to the last.
        """
        return self._from_first_to_last_action(self.tokens)

    def responses_are_actions(self) -> list[Tensor]:
        """Return for every token of `responses` whether the agent chose it, bool."""
        return self._from_first_to_last_action(self.is_action)

    def _from_first_to_last_action(self, field: Tensor) -> list[Tensor]:
        bounds = zip(self.prompt_lengths.tolist(), self.lengths.tolist(), strict=True)
        return [row[a:b] for row, (a, b) in zip(field, bounds, strict=True)]

    def replace(self, **changes: object) -> Rollout:
        """Return a copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def take(self, rows: Tensor) -> Rollout:
        """Return some of the episodes, in the order of ``rows`` [b]."""
        taken: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Mapping):
                taken[field.name] = {name: part[rows] for name, part in value.items()}
            else:
                taken[field.name] = value if value is None else value[rows]
        return Rollout(**taken)

    def with_term(self, name: str, term: Tensor) -> Rollout:
        """Return a copy in which one reward term is added or exchanged, rewards following.

        Args:
            name: the term's name in ``reward_terms``.
            term: [B, L] what it pays at each action; ignored where ``is_action`` is False.
        """
        terms = dict(self.reward_terms)
        terms[name] = torch.where(self.is_action, term.to(self.rewards.dtype), 0.0)
        total = torch.stack(list(terms.values())).sum(dim=0)
        return self.replace(reward_terms=terms, rewards=total)


def _check_preference(preference: Tensor, count: int) -> None:
    if preference.dim() != 2 or preference.shape[0] != count or preference.shape[1] == 0:
        raise ValueError(
            f"preference must be [B, K] with B = {count}, got {list(preference.shape)}"
        )
    bad = preference[(preference < 0) | (preference > 1)]
    if len(bad):
        raise ValueError(
            "preference must hold probabilities in [0, 1], or NaN where two responses were not "
            f"compared, got {float(bad[0]):g}"
        )


def join(rollouts: Sequence[Rollout], pad_id: int) -> Rollout:
    """Return the episodes of several rollouts as one, the groups numbered anew.

    Args:
        rollouts: at least one, all with the same reward terms.
        pad_id: fills up the rows of narrower rollouts.
    """

    def stack(parts: Sequence[Tensor], fill: float) -> Tensor:
        if parts[0].dim() == 2:
            # Preferences have a column for each response, everything else one for each token.
            columns = max(part.shape[1] for part in parts)
            parts = [pad(part, (0, columns - part.shape[1]), value=fill) for part in parts]
        return torch.cat(list(parts))

    fills = {"tokens": pad_id, "decision": -1, "preference": math.nan}
    groups, first_group = [], 0
    for rollout in rollouts:
        numbers = rollout.group.unique(return_inverse=True)[1]
        groups.append(numbers + first_group)
        first_group += int(numbers.max()) + 1
    joined: dict[str, Any] = {}
    for field in dataclasses.fields(Rollout):
        parts = [getattr(rollout, field.name) for rollout in rollouts]
        if field.name == "reward_terms":
            joined[field.name] = {k: stack([part[k] for part in parts], 0.0) for k in parts[0]}
        elif any(part is None for part in parts):
            joined[field.name] = None
        else:
            joined[field.name] = stack(parts, fills.get(field.name, 0))
    return Rollout(**{**joined, "group": torch.cat(groups)})


@runtime_checkable
class RolloutTransform(Protocol):
    """A wrapper that can also transform finished episodes, with the same numbers as stepping."""

    def rollout(self, rollout: Rollout) -> Rollout:
        """Return the transformed episodes."""
        ...
