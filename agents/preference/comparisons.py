"""What a loss of preference optimization sees: the sides of pairs, or one ranked list."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sides:
    """P comparisons of a first and a second response to one prompt; every tensor is [P].

    Attributes:
        first: log π of the first response, summed over its tokens.
        second: the same of the second.
        ref_first: log π_ref of the first response; 0 where the loss has no reference.
        ref_second: the same of the second.
        first_length: tokens of the first response.
        second_length: tokens of the second.
        margin: score of the first less that of the second; only `rpo` needs it.
        first_kl: KL(π_ref(·|s) ‖ π(·|s)), summed over the states of the first response; only
            `tdpo1` and `tdpo2` need it.
        second_kl: the same of the second.
    """

    first: Tensor
    second: Tensor
    ref_first: Tensor
    ref_second: Tensor
    first_length: Tensor
    second_length: Tensor
    margin: Tensor | None = None
    first_kl: Tensor | None = None
    second_kl: Tensor | None = None

    @property
    def first_log_ratio(self) -> Tensor:
        """Log π − log π_ref of the first response, [P]."""
        return self.first - self.ref_first

    @property
    def second_log_ratio(self) -> Tensor:
        """Log π − log π_ref of the second response, [P]."""
        return self.second - self.ref_second

    @property
    def difference(self) -> Tensor:
        """h, the first log-ratio less the second, [P]."""
        return self.first_log_ratio - self.second_log_ratio

    def swapped(self) -> Sides:
        """Return the same comparisons with the second response first."""
        return Sides(
            first=self.second,
            second=self.first,
            ref_first=self.ref_second,
            ref_second=self.ref_first,
            first_length=self.second_length,
            second_length=self.first_length,
            margin=None if self.margin is None else -self.margin,
            first_kl=self.second_kl,
            second_kl=self.first_kl,
        )


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """K responses to one prompt, in any order; every tensor is [K].

    Attributes:
        logprobs: log π, summed over each response's tokens.
        ref_logprobs: log π_ref of the same; 0 where the loss has no reference.
        lengths: tokens of each response.
        labels: the higher the better: scores, grades or wins. Equal labels are ties.
    """

    logprobs: Tensor
    ref_logprobs: Tensor
    lengths: Tensor
    labels: Tensor

    @property
    def log_ratios(self) -> Tensor:
        """Log π − log π_ref of each response, [K]."""
        return self.logprobs - self.ref_logprobs

    @property
    def mean_logprobs(self) -> Tensor:
        """Mean log π of a token of each response, [K]."""
        return self.logprobs / self.lengths
