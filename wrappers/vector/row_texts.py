"""What a row of a vector environment has written, even if it has been reset since."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP


def written(mdp: TokenMDP, row: int, info: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the prompt and the response that a row has just added a token to.

    A row that was reset at once no longer holds them; its last observation does.
    """
    if "final_info" not in info:
        return mdp.tokens[row, : mdp.prompt_lengths[row]], mdp.response(row)
    last = info["final_obs"]
    if not isinstance(last, dict) or "input_ids" not in last:
        raise ValueError(
            "this wrapper reads the ids of a response from its last observation under "
            'SAME_STEP, got one without "input_ids"; put wrappers that change observations outside'
        )
    end = int(last["attention_mask"].sum())
    start = end - int(info["final_info"]["response_length"])
    ids = torch.as_tensor(last["input_ids"])
    return ids[:start], ids[start:end]
