"""The learning rule of compared responses: the loss of a group, on every row of the group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agents.algorithms.group_advantages import check_terminated
from agents.policy import PolicyOutput
from agents.preference.comparisons import Ranking, Sides
from agents.preference.losses import LIST_LOSSES, PAIR_LOSSES, expected_loss, xpo
from agents.settings.preference import PreferenceConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.rollout import Rollout

# Its sides are those of who wrote them, so it brings its own expectation over labels.
_XPO: Callable[..., Tensor] = xpo


@dataclass(frozen=True, kw_only=True)
class PreferenceTargets:
    """What a loss needs of a rollout besides its record."""

    weight: Tensor
    """[B] of each row's loss, so that their mean over rows is the mean over compared groups."""
    nll_length: Tensor
    """[B] mean tokens of the better responses of the rollout."""


@dataclass(frozen=True, kw_only=True)
class Responses:
    """What the losses of b responses are made of; every tensor is [b]."""

    logprobs: Tensor
    """log pi, summed over the tokens, discounted."""
    ref_logprobs: Tensor
    """log pi_ref likewise."""
    lengths: Tensor
    """Tokens."""
    kl: Tensor | None
    """KL(pi_ref || pi) summed over the states, where the loss needs it."""
    score: Tensor
    """0 where there is none."""
    confidence: Tensor | None
    """exp of the mean over tokens of log pi(a|s) - log sum_v pi(v|s)^2, without gradient, where
    pairs are weighed by it (WPO, arXiv:2406.11827)."""
    beta: Tensor
    """Of the loss."""
    nll_length: Tensor
    """See `PreferenceTargets`."""

    @property
    def rewards(self) -> Tensor:
        """The implicit reward beta (log pi - log pi_ref) (arXiv:2305.18290, section 4)."""
        return self.beta * (self.logprobs - self.ref_logprobs)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """P compared pairs of rows of a rollout; every tensor is [P]."""

    first: Tensor
    """The row of the first response."""
    second: Tensor
    """The row of the second."""
    group: Tensor
    """The number of their group, from 0 in the order of rows."""
    p: Tensor
    """Probability that the first is better."""

    @classmethod
    def of(cls, rollout: Rollout) -> Pairs:
        """Return the pairs that a rollout's preferences compare, each once."""
        preference = _preference(rollout)
        _, group, sizes = rollout.group.unique_consecutive(return_inverse=True, return_counts=True)
        rows = torch.arange(len(group), device=group.device)
        place = rows - (sizes.cumsum(0) - sizes)[group]
        columns = torch.arange(preference.shape[1], device=group.device)
        first, column = ((columns > place[:, None]) & ~preference.isnan()).nonzero().unbind(dim=1)
        second = first - place[first] + column
        return cls(first=first, second=second, group=group[first], p=preference[first, column])

    def group_means(self, values: Tensor, count: int) -> Tensor:
        """Return the mean of values [P] over the pairs of each of ``count`` groups; 0 of none."""
        zeros = values.new_zeros(count)
        sums = zeros.index_add(0, self.group, values)
        return sums / zeros.index_add(0, self.group, torch.ones_like(values)).clamp(min=1.0)


@dataclass(frozen=True)
class PreferenceAlgorithm:
    """A loss of `agents.preference.losses` on groups of compared responses.

    Micro-batches must hold whole groups: `agents.training.group_learner`.
    """

    config: PreferenceConfig
    """The settings."""

    reads_old: bool = False

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> PreferenceTargets:
        """Return the weights of rows; see `Algorithm.targets`.

        Raises:
            ValueError: if there are no preferences, no group was compared, or an episode was
                truncated.
        """
        check_terminated(rollout, "preference optimization")
        pairs = Pairs.of(rollout)
        if not len(pairs.p):
            raise ValueError("preference must compare two responses of some group, got none")
        sizes = rollout.group.unique_consecutive(return_counts=True)[1]
        compared = torch.zeros_like(sizes, dtype=torch.bool).index_fill(0, pairs.group, True)
        per_group = compared * len(rollout) / (compared.sum() * sizes)
        lengths = rollout.response_lengths.float()
        better = pairs.p * lengths[pairs.first] + (1 - pairs.p) * lengths[pairs.second]
        mean = pairs.group_means(better, len(sizes))[compared].mean()
        return PreferenceTargets(
            weight=per_group.float().repeat_interleave(sizes), nll_length=mean.expand(len(rollout))
        )

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: PreferenceTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each row's group; see `Algorithm.loss`."""
        responses, pairs = self.responses(rollout, new, targets), Pairs.of(rollout)
        sizes = rollout.group.unique_consecutive(return_counts=True)[1]
        if self.config.traits.kind == "list":
            losses = self._list_losses(responses, rollout, sizes.tolist())
        else:
            losses = pairs.group_means(self._pair_losses(responses, pairs), len(sizes))
        figures = {"preference_loss": losses}
        for name, values in pair_figures(responses, pairs).items():
            figures[name] = pairs.group_means(values, len(sizes))
        spread = {
            name: values.repeat_interleave(sizes) * targets.weight
            for name, values in figures.items()
        }
        return spread["preference_loss"], spread

    def responses(
        self, rollout: Rollout, new: PolicyOutput, targets: PreferenceTargets
    ) -> Responses:
        """Return the sums that losses are made of."""
        gamma = self.config.gamma
        discount = gamma ** rollout.decision.clamp(min=0) if gamma < 1 else rollout.is_action

        def total(values: Tensor) -> Tensor:
            return torch.where(rollout.is_action, values * discount, 0.0).sum(dim=1)

        assert rollout.kl_coef is not None
        own, confidence = self.config.beta, None
        if new.log_collision is not None:
            sure = (new.logprobs.detach() - new.log_collision).sum(dim=1)
            confidence = (sure / rollout.response_lengths).exp()
        return Responses(
            logprobs=total(new.logprobs),
            ref_logprobs=total(rollout.ref_logprobs),
            lengths=rollout.response_lengths.float(),
            kl=None if new.reference_kl is None else total(new.reference_kl),
            score=rollout.score,
            confidence=confidence,
            beta=rollout.kl_coef if own is None else torch.full_like(rollout.kl_coef, own),
            nll_length=targets.nll_length,
        )

    def _pair_losses(self, responses: Responses, pairs: Pairs) -> Tensor:
        first, second, options = pairs.first, pairs.second, self._options(responses)
        sides = Sides(
            first=responses.logprobs[first],
            second=responses.logprobs[second],
            ref_first=responses.ref_logprobs[first],
            ref_second=responses.ref_logprobs[second],
            first_length=responses.lengths[first],
            second_length=responses.lengths[second],
            margin=responses.score[first] - responses.score[second],
            first_kl=None if responses.kl is None else responses.kl[first],
            second_kl=None if responses.kl is None else responses.kl[second],
        )
        own = {n: v[first] if isinstance(v, Tensor) else v for n, v in options.items()}
        name = self.config.loss
        under_label = _XPO if name == "xpo" else partial(expected_loss, PAIR_LOSSES[name])
        losses = under_label(sides, pairs.p, **own)
        if responses.confidence is None:
            return losses
        return losses * responses.confidence[first] * responses.confidence[second]

    def _list_losses(self, responses: Responses, rollout: Rollout, sizes: list[int]) -> Tensor:
        loss, options = LIST_LOSSES[self.config.loss], self._options(responses)
        labels, losses, start = list_labels(rollout), [], 0
        for size in sizes:
            rows = slice(start, start + size)
            ranking = Ranking(
                logprobs=responses.logprobs[rows],
                ref_logprobs=responses.ref_logprobs[rows],
                lengths=responses.lengths[rows],
                labels=labels[rows],
            )
            own = {n: v[start] if isinstance(v, Tensor) else v for n, v in options.items()}
            losses.append(loss(ranking, **own))
            start += size
        return torch.stack(losses)

    def _options(self, responses: Responses) -> Mapping[str, Any]:
        """Return the loss's arguments; tensors hold one number per row."""
        options: dict[str, Any] = dict(self.config.options)
        if self.config.traits.has_beta:
            options["beta"] = responses.beta
        if self.config.normalizes_by_batch:
            options["nll_length"] = responses.nll_length
        return options


def pair_figures(responses: Responses, pairs: Pairs) -> dict[str, Tensor]:
    """Return what is logged of each pair, [P], in expectation over its label.

    ``accuracy`` (of the implicit reward; equal ones count half), ``margin``, ``chosen_reward``,
    ``rejected_reward`` and ``chosen_logprob``. Rewards are of sums whatever the loss is of.
    """
    first, second, p = pairs.first, pairs.second, pairs.p
    rewards, logprobs = responses.rewards.detach(), responses.logprobs.detach()
    ahead = rewards[first] - rewards[second]
    is_first = (ahead.sign() + 1) / 2
    return {
        "accuracy": p * is_first + (1 - p) * (1 - is_first),
        "margin": (2 * p - 1) * ahead,
        "chosen_reward": p * rewards[first] + (1 - p) * rewards[second],
        "rejected_reward": (1 - p) * rewards[first] + p * rewards[second],
        "chosen_logprob": p * logprobs[first] + (1 - p) * logprobs[second],
    }


def list_labels(rollout: Rollout) -> Tensor:
    """Return what responses are ranked by, [B]: their scores, or how many others they beat.

    Wins count where all responses of a group have the same score.
    """
    _, group = rollout.group.unique_consecutive(return_inverse=True)
    count = int(group[-1]) + 1
    empty = rollout.score.new_zeros(count)
    low = empty.scatter_reduce(0, group, rollout.score, "amin", include_self=False)
    high = empty.scatter_reduce(0, group, rollout.score, "amax", include_self=False)
    wins = _preference(rollout).nansum(dim=1) - 0.5
    return torch.where((high > low)[group], rollout.score, wins)


def _preference(rollout: Rollout) -> Tensor:
    if rollout.preference is None:
        raise ValueError("the rollout must hold preferences, got preference=None; label it first")
    return rollout.preference
