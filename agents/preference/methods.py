"""The methods that papers name, each a `PreferenceAgent` with other defaults."""

from __future__ import annotations

from agents.preference.agent import PreferenceAgent
from agents.settings.preference_methods import (
    CPOConfig,
    IPOConfig,
    LiPOConfig,
    ORPOConfig,
    RDPOConfig,
    SimPOConfig,
    TDPOConfig,
)


class DPO(PreferenceAgent):
    """Direct preference optimization: the policy is its own reward model (arXiv:2305.18290)."""


class IPO(PreferenceAgent):
    """Identity preference optimization: a square in place of the logistic loss."""

    config_class = IPOConfig


class SimPO(PreferenceAgent):
    """Simple preference optimization: mean log-probabilities, a margin, no reference."""

    config_class = SimPOConfig


class ORPO(PreferenceAgent):
    """Odds ratio preference optimization: SFT and comparison in one loss, no reference."""

    config_class = ORPOConfig


class CPO(PreferenceAgent):
    """Contrastive preference optimization: DPO without reference, beside the likelihood."""

    config_class = CPOConfig


class RDPO(PreferenceAgent):
    """DPO in which a token has a price."""

    config_class = RDPOConfig


class TDPO(PreferenceAgent):
    """Token-level DPO: the KL of every state enters the margin."""

    config_class = TDPOConfig


class LiPO(PreferenceAgent):
    """Listwise preference optimization: pairs weigh what their swap changes in DCG."""

    config_class = LiPOConfig
