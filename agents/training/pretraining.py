"""The pretraining term of PPO-ptx (arXiv:2203.02155): keep modeling ordinary text well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agents.policy import Policy
from agents.processes.shares import own_rows
from rlhf_env.engine.language_model import length_batches
from rlhf_env.engine.placement import sent
from rlhf_env.task import Task


def pretraining_texts(
    texts: Sequence[str] | Sequence[Tensor], task: Task, ptx_coef: float
) -> list[Tensor]:
    """Return the token ids of texts, each [n] with n >= 2, truncated to the context window.

    Args:
        texts: texts, or their token ids.
        task: gives the tokenizer and the context window.
        ptx_coef: the weight of their loss.

    Raises:
        ValueError: if a weight is given without texts or texts without a weight, or a text has
            fewer than two tokens.
    """
    if bool(texts) != (ptx_coef > 0):
        raise ValueError(
            f"ptx_coef weighs the loss on pretraining texts, got ptx_coef = {ptx_coef} and "
            f"{len(texts)} texts; give both or neither"
        )
    window = getattr(task.reference.config, "max_position_embeddings", None)
    found = []
    for number, text in enumerate(texts):
        ids = task.tokenizer(text).input_ids if isinstance(text, str) else text
        if len(ids) < 2:
            raise ValueError(
                f"pretraining texts must hold at least 2 tokens, got {len(ids)} in text {number}; "
                "remove it"
            )
        found.append(torch.as_tensor(ids, dtype=torch.int64)[:window])
    return found


def pretraining_loss(policy: Policy, texts: Sequence[Tensor], weight: float) -> Tensor:
    """Add the gradient of ``weight`` times the mean negative log-likelihood per token.

    Args:
        policy: the gradient is added to those of its weights.
        texts: token ids.
        weight: of the loss.

    Returns:
        The unweighted loss in nats per token, a scalar without gradient. Of several processes each
        adds, and returns, what its own texts contribute.
    """
    device = policy.lm.device
    tokens = sent(pad_sequence([text.cpu() for text in texts], batch_first=True), device)
    lengths = sent(torch.tensor([len(text) for text in texts]), device)
    columns = torch.arange(tokens.shape[1], device=device)
    is_predicted = (columns >= 1) & (columns < lengths[:, None])
    total, count = torch.zeros((), device=device), is_predicted.sum()
    own = own_rows(len(texts)).to(device)
    for part, _ in length_batches(is_predicted[own]):
        rows = own[part]
        found = policy.evaluate_tokens(tokens[rows], is_predicted[rows])
        loss = -found.logprobs.sum() / count
        (weight * loss).backward()
        total = total + loss.detach()
    return total
