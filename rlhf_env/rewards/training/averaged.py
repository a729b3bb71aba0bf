"""Weight-averaged reward models: one model in place of an ensemble (WARM, arXiv:2401.12187)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from rlhf_env.rewards.bradley_terry import ScalarRewardModel


def averaged_weights(members: Sequence[ScalarRewardModel]) -> ScalarRewardModel:
    """Return a reward model whose weights are the mean of those of some models.

    It scores at the cost of one. That the mean of weights scores well needs members that are
    linearly connected: fitted from one and the same pretrained trunk, as `train(members=...)` does,
    not from weights of their own. Unlike an `Ensemble`, which averages scores, it forgets what
    only single members memorized of noisy labels. The shift and scale of `normalize` are averaged
    too; call it again on the result.

    Args:
        members: at least one, all of one shape; none is changed.

    Raises:
        ValueError: if there is none, or weights have other names or shapes.
    """
    if not members:
        raise ValueError("members must hold at least one reward model, got none; add some")
    tables = [member.state_dict() for member in members]
    shapes = [{name: tuple(value.shape) for name, value in table.items()} for table in tables]
    for number, shape in enumerate(shapes[1:], start=1):
        if shape != shapes[0]:
            names = dict.fromkeys([*shapes[0], *shape])
            odd = next(name for name in names if shape.get(name) != shapes[0].get(name))
            raise ValueError(
                "members must have weights of the same names and shapes, got "
                f"{shapes[0].get(odd)} and {shape.get(odd)} for {odd} of members 0 and {number}; "
                "fit them from one trunk"
            )
    result = copy.deepcopy(members[0])
    mean = {name: _mean([table[name] for table in tables]) for name in tables[0]}
    result.load_state_dict(mean)
    return result


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean in the values' own type, summed in float64."""
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)
