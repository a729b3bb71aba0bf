"""All 15 responses of "toy15" as literal tables, and what a table says of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Actions are padded with −1. Beside each: the states in which its tokens were chosen, its score.
RESPONSES: dict[tuple[int, int, int], tuple[tuple[int, int, int], float]] = {
    (0, -1, -1): ((0, 0, 0), 0.25),
    (1, 0, -1): ((0, 1, 0), 1.25),
    (2, 0, -1): ((0, 2, 0), -0.25),
    (1, 1, 0): ((0, 1, 3), 2.25),
    (1, 2, 0): ((0, 1, 4), 0.75),
    (2, 1, 0): ((0, 2, 5), 0.75),
    (2, 2, 0): ((0, 2, 6), -0.75),
    (1, 1, 1): ((0, 1, 3), 3.0),
    (1, 1, 2): ((0, 1, 3), 1.5),
    (1, 2, 1): ((0, 1, 4), 1.5),
    (1, 2, 2): ((0, 1, 4), 0.0),
    (2, 1, 1): ((0, 2, 5), 1.5),
    (2, 1, 2): ((0, 2, 5), 0.0),
    (2, 2, 1): ((0, 2, 6), 0.0),
    (2, 2, 2): ((0, 2, 6), -1.5),
}
ACTIONS = torch.tensor(list(RESPONSES))
STATES = torch.tensor([states for states, _ in RESPONSES.values()])
SCORES = torch.tensor([score for _, score in RESPONSES.values()], dtype=torch.float64)


def action_logprobs(model: nn.Module) -> Tensor:
    """[15, 3] float64 log-probability of every action, 0 where there is none.

    The table is read directly, so no forward pass is trusted here.
    """
    table = next(iter(model.parameters())).double().log_softmax(dim=0)
    chosen = table[ACTIONS.clamp(min=0), STATES]
    return torch.where(ACTIONS >= 0, chosen, 0.0)
