"""The settings of preference optimization, checked on construction; torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from agents.settings.agent import AgentConfig
from agents.settings.kl import KLControl
from agents.settings.preference_losses import (
    LENGTH_NORMALIZED,
    LOSSES,
    TRL_LOSS_TYPES,
    LossTraits,
)
from rlhf_env.checks import check_choice, check_count, check_number, check_positive, did_you_mean

LABEL_RULES = ("soft", "sampled", "hard", "judge")
SFT_NORMALIZATIONS = ("response", "batch")


# Settings of the KL as a reward, which these methods do not have.
_REWARD_KL = ("placement", "estimator", "importance_ratio", "target", "target_unit", "horizon")
_OPTIONS = tuple(dict.fromkeys(name for traits in LOSSES.values() for name in traits.options))


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(AgentConfig):
    """Settings of agents that learn from comparisons, besides those of `AgentConfig`.

    Options that are None take the loss's own default; one that the loss does not have is refused.
    """

    takes_preferences: ClassVar[bool] = True
    """Whether the agent learns from fixed comparisons too, not from its own responses only."""

    loss: str = "dpo"
    """One of `LOSSES`."""

    beta: float | None = None
    """The loss's beta (tau in IPO and DRO, lambda in ORPO, 1/eta in SPPO). None takes the
    coefficient of the KL, ``kl_coef`` or the environment's, so that the agent maximizes what PPO
    does; losses whose beta is no such coefficient need a number."""

    gamma: float = 1.0
    """Discount of a decision's log-ratio in a response's sum (arXiv:2310.13639)."""

    group_size: int = 2
    """Responses to each drawn prompt, at least 2, where there are no fixed data."""

    label_rule: str = "soft"
    """How drawn responses are compared; not used with fixed data. An agent's ``labels``."""

    label_smoothing: float | None = None
    """e in [0, 0.5): the share of labels taken to be flipped ("cdpo", "robust")."""

    sft_coef: float | None = None
    """Weight of the better responses' negative log-likelihood."""

    sft_normalization: str = "response"
    """What that likelihood is divided by: each "response"'s tokens, or the mean number of tokens in
    the "batch", which makes it the mean over the batch's tokens, as in TRL."""

    length_coef: float | None = None
    """What a token costs in "rdpo", alpha (arXiv:2403.19159)."""

    simpo_gamma: float | None = None
    """The margin of "simpo" itself, not its ratio to beta (arXiv:2405.14734)."""

    f_divergence: str | None = None
    """Of "fdpo": "reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"
    (arXiv:2309.16240)."""

    f_alpha: float | None = None
    """Of the alpha divergence; 1 is the reverse, 0 the forward KL."""

    dpop_lambda: float | None = None
    """Weight of the better response's lost likelihood in "dpop" (arXiv:2402.13228)."""

    exo_epsilon: float | None = None
    """Probability of the worse response in the labels of "exo" (arXiv:2402.00856)."""

    discopop_tau: float | None = None
    """Temperature of the blend in "discopop" (arXiv:2406.08414)."""

    tdpo_alpha: float | None = None
    """Weight of the difference of KLs in "tdpo2" (arXiv:2404.11999)."""

    eta: float | None = None
    """Scale of the scores in "rpo" (arXiv:2406.11704)."""

    rpo_distance: str | None = None
    """Of "rpo": "kl" or "squared"."""

    slic_margin: float | None = None
    """delta of "slic" (arXiv:2305.10425)."""

    desirable_weight: float | None = None
    """Weight of good responses in "kto" (arXiv:2402.01306)."""

    undesirable_weight: float | None = None
    """Weight of bad responses in "kto". Weights times numbers should differ by 4/3 at most."""

    xpo_alpha: float | None = None
    """Weight of the bonus of "xpo" (arXiv:2405.21046)."""

    use_weighting: bool = False
    """Weigh each pair by how likely the policy is to say both sides (WPO, arXiv:2406.11827)."""

    reference_every: int | None = None
    """Updates between two moves of the loss's reference to the policy, an iteration of self-play.
    None never moves it; the KL that is reported, and paid, stays that to the task's reference."""

    held_out_every: int = 10
    """Updates between two evaluations on held-out comparisons, where there are some."""

    @property
    def traits(self) -> LossTraits:
        """What is known of the loss."""
        return LOSSES[self.loss]

    @property
    def options(self) -> dict[str, Any]:
        """The loss's options that have a value."""
        values = {name: getattr(self, name) for name in self.traits.options}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def normalizes_by_batch(self) -> bool:
        """Whether the likelihood is divided by the tokens of the batch."""
        return self.sft_normalization == "batch"

    @property
    def unsupported(self) -> frozenset[str]:
        """Settings of `AgentConfig`, and a discount, that must stay at their defaults."""
        of_sums = set() if self.loss not in LENGTH_NORMALIZED else {"gamma"}
        return frozenset({f"kl_{name}" for name in _REWARD_KL} | of_sums)

    @property
    def can_bootstrap(self) -> bool:
        """False: whole responses are compared."""
        return False

    def __post_init__(self) -> None:
        """Refuse values outside their range, and settings that the loss does not have."""
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ValueError(
                f"loss must be one of {list(LOSSES)}, got {self.loss!r}"
                f"{did_you_mean(self.loss, LOSSES)}"
            )
        check_number("gamma", self.gamma, minimum=0.0, maximum=1.0)
        check_count("group_size", self.group_size, minimum=1 if self.traits.kind == "single" else 2)
        check_count("held_out_every", self.held_out_every)
        check_choice("labels", self.label_rule, LABEL_RULES)
        check_choice("sft_normalization", self.sft_normalization, SFT_NORMALIZATIONS)
        if self.reference_every is not None:
            check_count("reference_every", self.reference_every)
        if self.use_weighting and self.traits.kind != "pair":
            raise ValueError(
                f"use_weighting is of pairs, got it with the loss {self.loss!r}; leave it out"
            )
        self._check_beta()
        self._check_options()
        self._check_kl()
        if self.gamma < 1 and self.loss in LENGTH_NORMALIZED:
            raise ValueError(
                f"gamma must be 1 for the loss {self.loss!r}, which is of mean log-probabilities "
                f"of tokens, got {self.gamma:g}; leave it out, or choose a loss of sums"
            )

    def _check_beta(self) -> None:
        if self.beta is not None:
            check_positive("beta", self.beta)
            if not self.traits.has_beta:
                raise ValueError(
                    f"the loss {self.loss!r} has no beta, got {self.beta:g}; leave it out"
                )
        elif self.traits.has_beta and not self.traits.beta_is_kl_coef:
            raise ValueError(
                f"beta must be a number for the loss {self.loss!r}, whose beta is no coefficient "
                "of the KL, got None; set it, or use the agent of that name, which has a default"
            )

    def _check_options(self) -> None:
        for name in _OPTIONS:
            value = getattr(self, name)
            if value is None:
                continue
            if name not in self.traits.options:
                having = [loss for loss, traits in LOSSES.items() if name in traits.options]
                raise ValueError(
                    f"the loss {self.loss!r} has no {name}, got {value!r}; leave it out, or choose "
                    f"one of {having}"
                )
            if name not in ("f_divergence", "rpo_distance", "f_alpha", "length_coef"):
                check_number(name, value, minimum=0.0)
        if self.normalizes_by_batch and self.loss not in ("dpo", "cpo", "orpo"):
            raise ValueError(
                f"the loss {self.loss!r} has no likelihood that is divided by tokens, got "
                "sft_normalization='batch'; leave it out"
            )
        if self.label_smoothing is not None and self.label_smoothing >= 0.5:
            raise ValueError(
                f"label_smoothing must be below 0.5, got {self.label_smoothing:g}: with more, the "
                "labels say the opposite; exchange the responses, or lower it"
            )
        if self.f_divergence is not None:
            known = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
            check_choice("f_divergence", self.f_divergence, known)
        if self.rpo_distance is not None:
            check_choice("rpo_distance", self.rpo_distance, ("kl", "squared"))

    def _check_kl(self) -> None:
        """Refuse settings of a KL that is paid as a reward."""
        own, usual = self.kl, KLControl()
        for name in _REWARD_KL:
            if getattr(own, name) != getattr(usual, name):
                raise ValueError(
                    f"kl_{name} is of a KL in the reward, and a loss of comparisons has it in "
                    f"beta, got {getattr(own, name)!r}; leave it out, or choose an agent that "
                    "learns from rewards"
                )


def own_names(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return an agent's arguments with ``loss_type``, TRL's name of a loss, as ``loss``.

    Raises:
        ValueError: if TRL has no such loss, or both are given.
    """
    if "loss_type" not in arguments:
        return dict(arguments)
    named = arguments["loss_type"]
    if "loss" in arguments or not isinstance(named, str) or named not in TRL_LOSS_TYPES:
        raise ValueError(
            f"loss_type must be one of {list(TRL_LOSS_TYPES)}, without loss, got {named!r}; name "
            "the loss by loss= instead"
        )
    rest = {name: value for name, value in arguments.items() if name != "loss_type"}
    return rest | {"loss": TRL_LOSS_TYPES[named]}
