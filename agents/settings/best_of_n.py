"""The settings of best of n."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from agents.settings.agent import AgentConfig
from rlhf_env.checks import check_count

# What choosing has a use for, and what a grid over several agents gives to each of them.
_USED = ("episodes_per_update", "kl_coef", "temperature", "seed")
_GIVEN_TO_ALL = ("learning_rate",)


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(AgentConfig):
    """Settings of `BestOfN`.

    Of `AgentConfig`, ``episodes_per_update`` (answers, each chosen from n responses),
    ``kl_coef``, ``temperature`` and ``seed`` mean what they mean elsewhere, ``learning_rate``
    means nothing, and all others are refused.
    """

    n: int = 16
    """Responses to choose from; 1 is the policy itself."""

    @property
    def can_bootstrap(self) -> bool:
        """False: a truncated response has no score to choose by."""
        return False

    def __post_init__(self) -> None:
        """Refuse values outside their range, and settings of learning."""
        super().__post_init__()
        check_count("n", self.n)
        for field in dataclasses.fields(AgentConfig):
            value = getattr(self, field.name)
            if field.name not in (*_USED, *_GIVEN_TO_ALL) and value != field.default:
                raise ValueError(
                    f"BestOfN trains nothing and has no use for {field.name}, got {value!r}; "
                    "leave it out"
                )
