"""The formulas of policy-gradient learning, as pure functions of tensors.

Rows are episodes, columns are decisions (tokens, macro actions or whole responses): [B, D], padded
on the right. ``mask`` is True where a decision was taken; values elsewhere never matter, not even
NaN. With a first axis more, [R, B, D], they are of R runs, and statistics are those of each run.
Nothing here depends on a model, a configuration or a file. Every function raises a ValueError that
names the shapes if they do not match.
"""

from agents.math.clipping import (
    clipped_surrogate,
    clipped_value_loss,
    is_clipped,
    squared_value_loss,
)
from agents.math.groups import (
    group_centered,
    group_deviation,
    group_relative,
    leave_one_out,
)
from agents.math.kl_control import adaptive_kl_coef
from agents.math.masked import (
    center,
    explained_variance,
    masked_mean,
    scale_to_unit_variance,
    spread,
    whiten,
)
from agents.math.returns import (
    discount_weights,
    discounted_returns,
    gae,
    length_adaptive_lambda,
)

__all__ = [
    "adaptive_kl_coef",
    "center",
    "clipped_surrogate",
    "clipped_value_loss",
    "discount_weights",
    "discounted_returns",
    "explained_variance",
    "gae",
    "group_centered",
    "group_deviation",
    "group_relative",
    "is_clipped",
    "leave_one_out",
    "length_adaptive_lambda",
    "masked_mean",
    "scale_to_unit_variance",
    "spread",
    "squared_value_loss",
    "whiten",
]
