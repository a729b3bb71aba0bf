"""What is known of the losses of `agents.preference.losses` without torch: sets of their names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REFERENCE_FREE = frozenset({"slic", "simpo", "cpo", "orpo", "rrhf", "pro"})
"""Losses in which the reference does not occur."""

LENGTH_NORMALIZED = frozenset({"dpo_norm", "ipo_mean", "simpo", "orpo", "rrhf", "pro"})
"""Losses of mean log-probabilities of tokens, in which a discount has no meaning."""

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
