"""One vector per response: the mean of a reward model's hidden states over its tokens.

The mean separates unfamiliar texts from familiar ones better than the last state, which mostly
shows how a text ended (for language models: Ren et al. 2022, arXiv:2209.15558).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from rlhf_env.rewards.bradley_terry import ScalarRewardModel, padded
from rlhf_env.rewards.classifier import ClassifierReward
from rlhf_env.rewards.training.trained import TrainedReward


@torch.no_grad()
def hidden_states(reward: Any, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    """Return the mean state of each response's tokens, [B, H] float32 on the CPU.

    A classifier spells texts in its own way: there the mean is over prompt and response.

    Args:
        reward: a `TrainedReward` or its `ScalarRewardModel`, for a policy of the same tokenizer;
            or a `ClassifierReward` that knows the policy's tokenizer.
        prompts: B vectors of token ids.
        responses: B vectors of token ids, none empty.

    Raises:
        TypeError: if the reward has no trunk that can be read.
        ValueError: if a text is too long, or the policy's tokenizer is not known.
    """
    pairs = list(zip(prompts, responses, strict=True))
    if isinstance(reward, TrainedReward):
        reward = reward.model
    if isinstance(reward, ScalarRewardModel):
        trunk, batch_size = cast(nn.Module, reward.trunk), reward.batch_size
        texts = [torch.cat(pair) for pair in pairs]
        starts = [len(prompt) for prompt in prompts]
    elif isinstance(reward, ClassifierReward):
        trunk, batch_size = cast(Any, reward.model).base_model, reward.batch_size
        texts = [torch.tensor(reward.text_ids(*pair)) for pair in pairs]
        starts = [0] * len(texts)
    else:
        raise TypeError(
            "reward must be a TrainedReward, ScalarRewardModel or ClassifierReward, whose hidden "
            f"states can be read, got {type(reward).__name__}; give one of an ensemble's members"
        )
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    means = torch.zeros(len(texts), cast(Any, trunk).config.hidden_size)
    for at in range(0, len(texts), batch_size):
        rows = order[at : at + batch_size]
        means[rows] = _means(trunk, [texts[row] for row in rows], [starts[row] for row in rows])
    return means


def _means(trunk: nn.Module, texts: list[Tensor], starts: list[int]) -> Tensor:
    """Return the mean state of each text from its start on, [B, H]."""
    device = next(trunk.parameters()).device
    ids, mask = padded([text.to(device) for text in texts])
    hidden = trunk(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    columns = torch.arange(ids.shape[1], device=device)
    weights = mask * (columns >= torch.tensor(starts, device=device)[:, None])
    return ((hidden * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)).cpu()
