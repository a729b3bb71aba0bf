"""What is known of the losses of `agents.preference.losses` without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

REFERENCE_FREE = frozenset({"slic", "simpo", "cpo", "orpo", "rrhf", "pro"})
"""Losses in which the reference does not occur."""

LENGTH_NORMALIZED = frozenset({"dpo_norm", "ipo_mean", "simpo", "orpo", "rrhf", "pro"})
"""Losses of mean log-probabilities of tokens, in which a discount has no meaning."""


@dataclass(frozen=True, kw_only=True)
class LossTraits:
    """What is known of a loss before torch is imported."""

    kind: str = "pair"
    """What it is of: a "pair", a "list" of responses to one prompt, or a "single" response."""
    options: tuple[str, ...] = ()
    """The settings that it takes besides beta."""
    has_beta: bool = True
    """Whether it takes beta."""
    beta_is_kl_coef: bool = True
    """Whether its beta weighs the KL from the reference, so that the environment's will do."""


_PLAIN = LossTraits()
_UNSCALED = LossTraits(beta_is_kl_coef=False)

LOSSES: Mapping[str, LossTraits] = MappingProxyType(
    {
        "dpo": LossTraits(options=("sft_coef",)),
        "cdpo": LossTraits(options=("label_smoothing",)),
        "robust": LossTraits(options=("label_smoothing",)),
        "dpo_norm": _PLAIN,
        "rdpo": LossTraits(options=("length_coef",)),
        "dpop": LossTraits(options=("dpop_lambda",)),
        "ipo": _UNSCALED,
        "ipo_mean": LossTraits(beta_is_kl_coef=False),
        "hinge": _PLAIN,
        "exo": LossTraits(options=("exo_epsilon",)),
        "nca": _PLAIN,
        "apo_zero": _PLAIN,
        "apo_down": _PLAIN,
        "discopop": LossTraits(options=("discopop_tau",)),
        "fdpo": LossTraits(options=("f_divergence", "f_alpha")),
        "tdpo1": _PLAIN,
        "tdpo2": LossTraits(options=("tdpo_alpha",)),
        "rpo": LossTraits(options=("eta", "rpo_distance")),
        "sppo": _UNSCALED,
        "bco": _PLAIN,
        "xpo": LossTraits(options=("xpo_alpha",)),
        "slic": LossTraits(options=("slic_margin", "sft_coef"), beta_is_kl_coef=False),
        "simpo": LossTraits(options=("simpo_gamma",), beta_is_kl_coef=False),
        "cpo": LossTraits(options=("sft_coef",), beta_is_kl_coef=False),
        "orpo": LossTraits(options=("sft_coef",), beta_is_kl_coef=False),
        "plackett_luce": LossTraits(kind="list"),
        "lipo": LossTraits(kind="list"),
        "rrhf": LossTraits(kind="list", options=("sft_coef",), has_beta=False),
        "pro": LossTraits(kind="list", options=("sft_coef",), has_beta=False),
        "kto": LossTraits(kind="single", options=("desirable_weight", "undesirable_weight")),
        "bco_single": LossTraits(kind="single"),
        "dro": LossTraits(kind="single"),
        "sppo_win_rate": LossTraits(kind="single", beta_is_kl_coef=False),
        "nash_md": LossTraits(kind="single"),
    }
)
"""The losses of `agents.preference.losses` that a `PreferenceAgent` takes, by name."""

TRL_LOSS_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "sigmoid": "dpo",
        "robust": "robust",
        "hinge": "hinge",
        "ipo": "ipo_mean",
        "exo_pair": "exo",
        "nca_pair": "nca",
        "bco_pair": "bco",
        "sppo_hard": "sppo",
        "apo_zero": "apo_zero",
        "apo_down": "apo_down",
        "discopop": "discopop",
        "sigmoid_norm": "dpo_norm",
        "simpo": "simpo",
        "kto": "kto",
        "apo_zero_unpaired": "kto",
    }
)
"""TRL's ``loss_type`` (DPO, CPO and KTO trainers, version 1.16) and the name that it has here.

TRL's online DPO calls the sums "ipo"; that is ``ipo`` here too.
"""
