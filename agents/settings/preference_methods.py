"""The settings of the methods that papers name: those of `PreferenceConfig` with other defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agents.settings.actor_critic import CRITICS
from agents.settings.preference import PreferenceConfig
from rlhf_env.checks import check_choice, check_number

PLAYERS = ("policy", "reference")


@dataclass(frozen=True, kw_only=True)
class IPOConfig(PreferenceConfig):
    """`PreferenceConfig` with the square of "ipo" on sums, or "ipo_mean" (arXiv:2310.12036)."""

    loss: str = "ipo"
    beta: float | None = 0.1


@dataclass(frozen=True, kw_only=True)
class SimPOConfig(PreferenceConfig):
    """`PreferenceConfig` without reference, on mean log-probabilities (arXiv:2405.14734)."""

    loss: str = "simpo"
    beta: float | None = 2.0
    simpo_gamma: float | None = 0.5


@dataclass(frozen=True, kw_only=True)
class ORPOConfig(PreferenceConfig):
    """`PreferenceConfig` with odds beside the likelihood (arXiv:2403.07691)."""

    loss: str = "orpo"
    beta: float | None = 0.1
    sft_coef: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class CPOConfig(PreferenceConfig):
    """`PreferenceConfig` without reference, beside the likelihood (arXiv:2401.08417)."""

    loss: str = "cpo"
    beta: float | None = 0.1
    sft_coef: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class RDPOConfig(PreferenceConfig):
    """`PreferenceConfig` in which every token has a price (arXiv:2403.19159)."""

    loss: str = "rdpo"
    length_coef: float | None = 0.05


@dataclass(frozen=True, kw_only=True)
class TDPOConfig(PreferenceConfig):
    """`PreferenceConfig` with the KL of every state, "tdpo1" or "tdpo2" (arXiv:2404.11999)."""

    loss: str = "tdpo1"


@dataclass(frozen=True, kw_only=True)
class LiPOConfig(PreferenceConfig):
    """`PreferenceConfig` for lists, weighted by what a swap changes in DCG (arXiv:2402.01878)."""

    loss: str = "lipo"
    group_size: int = 4


@dataclass(frozen=True, kw_only=True)
class KTOConfig(PreferenceConfig):
    """`PreferenceConfig` for single responses that are good or bad (arXiv:2402.01306)."""

    loss: str = "kto"
    group_size: int = 1

    @property
    def unsupported(self) -> frozenset[str]:
        """A discount too: responses that meet another prompt have no decisions."""
        return super().unsupported | {"gamma"}

    def __post_init__(self) -> None:
        """Refuse an update of one prompt, and a discount."""
        super().__post_init__()
        if self.episodes_per_update == self.group_size:
            raise ValueError(
                "episodes_per_update must hold at least two groups, since the baseline pairs each "
                f"prompt with the response to another, got {self.episodes_per_update} with "
                f"group_size = {self.group_size}; raise it"
            )
        if self.gamma < 1:
            raise ValueError(
                f"gamma must be 1 for the loss 'kto', got {self.gamma:g}: responses that meet "
                "another prompt have no decisions; leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class BCOConfig(PreferenceConfig):
    """`PreferenceConfig` for a classifier of good and bad responses (arXiv:2404.04656)."""

    loss: str = "bco_single"
    group_size: int = 1

    shift_decay: float = 0.9
    """What an update leaves of the running mean that the classifier is shifted by, in [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_number("shift_decay", self.shift_decay, minimum=0.0, maximum=1.0)


@dataclass(frozen=True, kw_only=True)
class DROConfig(PreferenceConfig):
    """`PreferenceConfig` for single responses with a score (DRO-V, arXiv:2405.19107)."""

    loss: str = "dro"
    group_size: int = 1

    critic: str = "separate"
    """V of the prompt: "separate", a copy of the model, or "shared", a head on the policy's trunk,
    which it then moves too."""

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        check_choice("critic", self.critic, CRITICS)


@dataclass(frozen=True, kw_only=True)
class SelfPlayConfig(PreferenceConfig):
    """`PreferenceConfig` with a say in who writes the responses that are compared."""

    draws_from: str = "policy"
    """Who writes them: the "policy", or the loss's "reference", which is the last iterate where
    ``reference_every`` moves it."""

    opponent_mixture: float | None = None
    """Lets an opponent write the second of two responses: the geometric mixture of policy and
    reference with this weight of the reference, in [0, 1]. None: there is no opponent."""

    def __post_init__(self) -> None:
        """Refuse values outside their range, and an opponent of other than one response."""
        super().__post_init__()
        check_choice("draws_from", self.draws_from, PLAYERS)
        if self.opponent_mixture is None:
            return
        check_number("opponent_mixture", self.opponent_mixture, minimum=0.0, maximum=1.0)
        if self.group_size != 2 or self.draws_from != "policy":
            raise ValueError(
                "opponent_mixture needs group_size=2 and draws_from='policy', got "
                f"{self.group_size} and {self.draws_from!r}; set these, or opponent_mixture=None"
            )


@dataclass(frozen=True, kw_only=True)
class SPPOConfig(SelfPlayConfig):
    """`SelfPlayConfig` that regresses log-ratios on win rates (arXiv:2405.00675)."""

    loss: str = "sppo_win_rate"
    beta: float | None = 1e-3
    group_size: int = 4
    draws_from: str = "reference"
    reference_every: int | None = 100


@dataclass(frozen=True, kw_only=True)
class DNOConfig(SelfPlayConfig):
    """`SelfPlayConfig` whose labels compare win rates (arXiv:2404.03715)."""

    takes_preferences: ClassVar[bool] = False

    group_size: int = 4
    draws_from: str = "reference"
    reference_every: int | None = 100


@dataclass(frozen=True, kw_only=True)
class NashMDConfig(SelfPlayConfig):
    """`SelfPlayConfig` against a mixture of policy and reference (arXiv:2312.00886)."""

    takes_preferences: ClassVar[bool] = False

    loss: str = "nash_md"
    group_size: int = 2
    opponent_mixture: float | None = 0.5

    def __post_init__(self) -> None:
        """Refuse to play without an opponent."""
        super().__post_init__()
        if self.opponent_mixture is None:
            raise ValueError(
                "opponent_mixture must be a number for Nash-MD, got None; 0 plays against itself"
            )


@dataclass(frozen=True, kw_only=True)
class XPOConfig(SelfPlayConfig):
    """`SelfPlayConfig` against the reference, with a bonus (arXiv:2405.21046)."""

    takes_preferences: ClassVar[bool] = False

    loss: str = "xpo"
    opponent_mixture: float | None = 1.0
    xpo_alpha: float | None = 1e-5
