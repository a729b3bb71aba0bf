"""OpenRLHF: the losses of `openrlhf.models`, and its GAE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.conformance.absent import stand_ins
from rlhf_env.testing import TrainerLoss

# What its modules import for training on several GPUs.
ELSEWHERE = (
    "deepspeed",
    "flash_attn",
    "flash_attn.bert_padding",
    "flash_attn.utils",
    "flash_attn.utils.distributed",
    "flash_attn.ops.triton.cross_entropy",
    "transformers.integrations.deepspeed",
    "openrlhf.trainer.ray.launcher",
    "openrlhf.models.actor",
    "openrlhf.models.model",
    "vllm",
    "sympy.parsing",
    "pylatexenc",
)
WORDS = {"logprobs": "log_probs", "old_logprobs": "old_log_probs", "mask": "action_mask"}


def losses() -> dict[str, TrainerLoss]:
    """Return OpenRLHF's functions by name."""
    with stand_ins(*ELSEWHERE):
        from openrlhf.models import loss as of_loss
        from openrlhf.models import utils

    def value(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
        return of_loss.ValueLoss(clip_eps=0.2)(values, old_values, returns, mask)

    def kl(estimator: str, **described: Any) -> TrainerLoss:
        def function(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
            return utils.compute_approx_kl(logprobs, ref_logprobs, kl_estimator=estimator)

        return TrainerLoss(function=function, kind="kl", form=estimator, **described)

    def policy(token_level: bool, **described: Any) -> TrainerLoss:
        def loss(total_tokens: Any = None, total_rows: Any = None, **tensors: Tensor) -> Any:
            module = of_loss.PolicyLoss(token_level_loss=token_level)
            return module(**tensors, batch_num_tokens=total_tokens, global_batch_size=total_rows)

        return TrainerLoss(function=loss, names=WORDS, mask_dtype=torch.float64, **described)

    def pair(**settings: Any) -> Any:
        return lambda chosen, rejected, ref_chosen, ref_rejected: of_loss.DPOLoss(
            beta=0.1, **settings
        )(chosen, rejected, ref_chosen, ref_rejected)

    return {
        "`PolicyLoss`, token level": policy(True, form="token_mean"),
        "the same, told the batch's totals": policy(True, form="token_mean", totals=True),
        "`PolicyLoss`, sample level": policy(False, form="episode_mean"),
        "`ValueLoss`": TrainerLoss(function=value, kind="value_loss", mask_dtype=torch.float64),
        "`DPOLoss`": TrainerLoss(function=pair(), kind="pair_loss", form="dpo"),
        "`DPOLoss(ipo=True)`": TrainerLoss(function=pair(ipo=True), kind="pair_loss", form="ipo"),
        "`compute_approx_kl` k1": kl("k1"),
        "`compute_approx_kl` k2 in the loss": kl("k2", role="loss"),
        "`compute_approx_kl` k3 in the loss": kl("k3", role="loss"),
        "`log_probs_from_logits`": TrainerLoss(
            function=lambda logits, tokens: utils.log_probs_from_logits(logits, tokens),
            kind="token_logprobs",
        ),
    }
