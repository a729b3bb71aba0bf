"""The learning rules of single responses: each is good or bad, has a score, or a rate of wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from agents.algorithms.group_advantages import check_terminated
from agents.policy import Policy, PolicyOutput
from agents.preference.algorithm import PreferenceAlgorithm, PreferenceTargets, Responses
from agents.preference.losses import SINGLE_LOSSES, kto_baseline
from agents.settings.preference_methods import BCOConfig
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.rollout import Rollout

# By the names of `agents.settings.preference_losses`.
_FUNCTIONS = {
    **SINGLE_LOSSES,
    "bco_single": SINGLE_LOSSES["bco"],
    "sppo_win_rate": SINGLE_LOSSES["sppo"],
}
Baseline = Callable[[Rollout], Tensor]
"""Returns KTO's z of a rollout, a scalar."""


@dataclass(frozen=True, kw_only=True)
class SingleTargets(PreferenceTargets):
    """What a loss needs of a rollout besides its record."""

    good: Tensor
    """[B] probability that the response is good: a thumb, or the share of its group it beats."""
    good_share: Tensor
    """[B] weight of a good response in a mean over rows that is one over good responses."""
    bad_share: Tensor
    """[B] likewise of bad ones."""
    shift: Tensor
    """[B] KTO's z, BCO's shift; 0 in other losses."""


@dataclass(frozen=True)
class SingleAlgorithm(PreferenceAlgorithm):
    """A loss of `agents.preference.losses` on each response by itself.

    KTO's z is one number for the whole rollout, and so is BCO's shift, a running mean that is part
    of checkpoints; neither depends on how rows are split, and no gradient passes through them.
    """

    baseline: Baseline | None = None
    """Estimates KTO's z."""

    running: dict[str, float] = field(default_factory=dict)
    """BCO's shift, once an update was seen."""

    def state(self) -> dict[str, float]:
        """Return the running mean; see `StatefulAlgorithm`."""
        return dict(self.running)

    def load_state(self, state: dict[str, float]) -> None:
        """Restore what `state` returned."""
        self.running.clear()
        self.running.update(state)

    def targets(
        self, rollout: Rollout, old: PolicyOutput, reference: LanguageModel
    ) -> SingleTargets:
        """Return labels and shift, and move the running mean; see `Algorithm.targets`.

        Raises:
            ValueError: if a response has no label that the loss needs, or was truncated.
        """
        targets = self.labels(rollout)
        if self.config.loss == "kto":
            assert self.baseline is not None
            return _shifted(targets, self.baseline(rollout))
        if self.config.loss == "bco_single":
            return _shifted(targets, self._moved_shift(rollout, old, targets))
        return targets

    def labels(self, rollout: Rollout) -> SingleTargets:
        """Return the targets with a shift of what is known already."""
        check_terminated(rollout, "preference optimization")
        good = rollout.score.new_zeros(len(rollout))
        if self.config.loss != "dro":
            good = good_shares(rollout)
        nothing = torch.zeros_like(good)
        weight = torch.ones_like(good)
        if self.config.loss == "nash_md":
            weight = 2.0 * _is_first(rollout)
        return SingleTargets(
            weight=weight,
            nll_length=nothing,
            good=good,
            good_share=good / good.mean().clamp(min=1e-6),
            bad_share=(1 - good) / (1 - good).mean().clamp(min=1e-6),
            shift=nothing + self.running.get("shift", 0.0),
        )

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: PreferenceTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each row; see `Algorithm.loss`."""
        assert isinstance(targets, SingleTargets)
        responses = self.responses(rollout, new, targets)
        losses = targets.weight * self._losses(rollout, responses, new, targets)
        if self.config.loss == "dro":
            values = prompt_values(rollout, new).detach()
            return losses, {"preference_loss": losses, "value": values}
        rewards, logprobs = responses.rewards.detach(), responses.logprobs.detach()
        shift = targets.shift * (responses.beta if self.config.loss == "kto" else 1.0)
        is_ahead = ((rewards - shift).sign() + 1) / 2
        return losses, {
            "preference_loss": losses,
            "accuracy": targets.good * is_ahead + (1 - targets.good) * (1 - is_ahead),
            "good_reward": targets.good_share * rewards,
            "bad_reward": targets.bad_share * rewards,
            "good_logprob": targets.good_share * logprobs,
            **({"shift": targets.shift} if self.config.loss in ("kto", "bco_single") else {}),
        }

    def _losses(
        self, rollout: Rollout, responses: Responses, new: PolicyOutput, targets: SingleTargets
    ) -> Tensor:
        ratios, options = responses.logprobs - responses.ref_logprobs, dict(self.config.options)
        labels = targets.good
        if self.config.loss == "kto":
            options["kl"] = targets.shift
        if self.config.loss == "bco_single":
            options["bco_shift"] = targets.shift
        if self.config.loss == "dro":
            labels, options["values"] = rollout.score, prompt_values(rollout, new)
        return _FUNCTIONS[self.config.loss](ratios, labels, beta=responses.beta, **options)

    def _moved_shift(self, rollout: Rollout, old: PolicyOutput, targets: SingleTargets) -> Tensor:
        """Return the running mean of (E_good[β ρ] + E_bad[β ρ])/2 with this rollout in it."""
        assert isinstance(self.config, BCOConfig)
        rewards = self.responses(rollout, old, targets).rewards.detach()
        here = float(((targets.good_share + targets.bad_share) * rewards).mean() / 2)
        decay = self.config.shift_decay if self.running else 0.0
        self.running["shift"] = decay * self.running.get("shift", 0.0) + (1 - decay) * here
        return torch.tensor(self.running["shift"])


def good_shares(rollout: Rollout) -> Tensor:
    """Return how good each response is, [B] in [0, 1].

    Of a response alone, the probability that it is good. In a group, its mean probability of being
    better than one of the others: itself, which is a tie, is left out, so that the others' mean is
    an unbiased estimate of the rate of wins against whoever wrote them.

    Raises:
        ValueError: if there are no preferences, or a response was compared with none.
    """
    if rollout.preference is None:
        raise ValueError("the rollout must hold preferences, got preference=None; label it first")
    _, group, sizes = rollout.group.unique_consecutive(return_inverse=True, return_counts=True)
    rows = torch.arange(len(group), device=group.device)
    place = rows - (sizes.cumsum(0) - sizes)[group]
    others = rollout.preference.clone()
    is_in_company = sizes[group] > 1
    others[rows[is_in_company], place[is_in_company]] = torch.nan
    shares = others.nanmean(dim=1)
    if shares.isnan().any():
        raise ValueError(
            f"every response must be good or bad, or compared with another, got "
            f"{int(shares.isnan().sum())} of {len(shares)} that are not; ratings are learned from "
            "by DRO"
        )
    return shares


def prompt_values(rollout: Rollout, output: PolicyOutput) -> Tensor:
    """Return the critic's V of each prompt, [B]: that of the state of the first action."""
    return output.values.gather(1, rollout.prompt_lengths[:, None]).squeeze(1)


def mismatched_baseline(
    policy_logprobs: Callable[[Tensor, Tensor], Tensor],
    reference: LanguageModel,
    rollout: Rollout,
    temperature: float,
) -> Tensor:
    """Return KTO's z of a rollout: log-ratios of each prompt with the next group's response.

    Args:
        policy_logprobs: of tokens [B, L] and is_action [B, L], [B, L].
        reference: π_ref.
        rollout: at least two groups.
        temperature: divides the logits of the reference.
    """
    tokens, is_action = mismatched_texts(rollout)
    with torch.no_grad():
        ours = policy_logprobs(tokens, is_action)
    theirs = score_rollout(reference, tokens, is_action, temperature)
    return kto_baseline((ours - theirs).sum(dim=1))


def mismatched_texts(rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Return prompts with responses of the next group, as tokens and is_action, [B, L'] each.

    Rotated by groups, so that no response meets the prompt that it was written for while there are
    two prompts in a row.
    """
    _, group, sizes = rollout.group.unique_consecutive(return_inverse=True, return_counts=True)
    starts = sizes.cumsum(0) - sizes
    rows = torch.arange(len(group), device=group.device)
    following = (group + 1) % len(sizes)
    partner = starts[following] + (rows - starts[group]) % sizes[following]
    prompts, responses = rollout.prompts(), rollout.responses()
    texts = [torch.cat([prompts[i], responses[j]]) for i, j in enumerate(partner.tolist())]
    width = max(map(len, texts))
    tokens = torch.stack([torch.nn.functional.pad(ids, (0, width - len(ids))) for ids in texts])
    columns = torch.arange(width, device=tokens.device)
    first = rollout.prompt_lengths[:, None]
    last = first + rollout.response_lengths[partner][:, None]
    return tokens, (columns >= first) & (columns < last)


def _is_first(rollout: Rollout) -> Tensor:
    """[B] 1 in the first row of each group, else 0."""
    before = torch.cat([rollout.group.new_full((1,), -1), rollout.group[:-1]])
    return (rollout.group != before).float()


def _shifted(targets: SingleTargets, shift: Tensor) -> SingleTargets:
    return replace(targets, shift=shift.to(targets.good).expand(len(targets.good)))


@torch.no_grad()
def single_figures(
    algorithm: SingleAlgorithm, rollout: Rollout, policy: Policy
) -> dict[str, float]:
    """Return what `SingleAlgorithm.loss` says of responses that were not learned from, as means.

    Returns:
        ``loss`` and ``responses``; and ``accuracy`` (of being good where β ρ is above the shift;
        equal ones count half), ``good_reward``, ``bad_reward`` and ``good_logprob``, or of "dro"
        the mean ``value``.
    """
    new = policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets = algorithm.labels(rollout)
    if algorithm.config.loss == "kto" and algorithm.baseline is not None:
        targets = _shifted(targets, algorithm.baseline(rollout))
    _, figures = algorithm.loss(rollout, new, new, targets)
    found = {name: float(values.mean()) for name, values in figures.items()}
    return {"loss": found.pop("preference_loss"), **found, "responses": float(len(rollout))}
