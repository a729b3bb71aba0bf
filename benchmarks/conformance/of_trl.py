"""TRL: the losses of its trainers, called on log-probabilities in place of a model's."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rlhf_env.testing import TrainerLoss


def losses() -> dict[str, TrainerLoss]:
    """Return TRL's functions by name."""
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.trainer.utils import selective_log_softmax

    def cpo(chosen: Tensor, rejected: Tensor) -> Tensor:
        trainer = SimpleNamespace(
            alpha=0.0, beta=0.1, loss_type="sigmoid", label_smoothing=0.0, accelerator=_alone()
        )
        return CPOTrainer.cpo_loss(trainer, chosen, rejected)[0]  # type: ignore[arg-type]

    no_reference = {"ref_chosen": None, "ref_rejected": None}
    return {
        "GRPO `loss_type=grpo`": _group_loss("grpo", form="episode_mean"),
        "GRPO `loss_type=bnpo`": _group_loss("bnpo", form="token_mean"),
        "GRPO `loss_type=dr_grpo`": _group_loss("dr_grpo", form="constant"),
        "GRPO `loss_type=dapo`": _group_loss("dapo", form="token_mean", totals=True),
        "GRPO's KL term": TrainerLoss(function=_kl, kind="kl", form="k3", role="loss"),
        "CPO": TrainerLoss(function=cpo, kind="pair_loss", form="cpo", names=no_reference),
        "`selective_log_softmax`": TrainerLoss(
            function=selective_log_softmax, kind="token_logprobs", names={"tokens": "index"}
        ),
    }


def _group_loss(loss_type: str, **described: Any) -> TrainerLoss:
    def loss(
        logprobs: Tensor,
        old_logprobs: Tensor,
        advantages: Tensor,
        mask: Tensor,
        total_tokens: Tensor | None = None,
        total_rows: int = 0,
    ) -> Tensor:
        count = mask.sum() if total_tokens is None else total_tokens
        return _compute_loss(
            loss_type, logprobs, mask, count, advantages=advantages, old=old_logprobs
        )

    return TrainerLoss(function=loss, mask_dtype=torch.int64, **described)


def _kl(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The KL of each token: each as a response of its own, without advantage, at beta 1."""
    one = torch.ones(1, 1, dtype=torch.int64)
    found = [
        _compute_loss("grpo", new[None, None], one, one.sum(), beta=1.0, ref=ref[None, None])
        for new, ref in zip(logprobs.flatten(), ref_logprobs.flatten(), strict=True)
    ]
    return torch.stack(found)


def _compute_loss(
    loss_type: str,
    logprobs: Tensor,
    mask: Tensor,
    count: Tensor,
    *,
    advantages: Tensor | None = None,
    old: Tensor | None = None,
    ref: Tensor | None = None,
    beta: float = 0.0,
) -> Tensor:
    """Call `GRPOTrainer._compute_loss` of a trainer that has no model."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            logprobs,
            torch.zeros_like(logprobs),
            None,
        ),
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        accelerator=_alone(),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        aux_loss_enabled=False,
        beta=beta,
        current_gradient_accumulation_steps=1,
        epsilon_low=0.2,
        epsilon_high=0.2,
        importance_sampling_level="token",
        loss_type=loss_type,
        max_completion_length=10,
        model=SimpleNamespace(training=True),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
    )
    inputs = {
        "prompt_ids": torch.zeros(len(mask), 1, dtype=torch.int64),
        "prompt_mask": torch.ones(len(mask), 1, dtype=torch.int64),
        "completion_ids": torch.zeros_like(mask),
        "completion_mask": mask,
        "advantages": torch.zeros_like(logprobs) if advantages is None else advantages,
        "old_per_token_logps": logprobs.detach() if old is None else old,
        "ref_per_token_logps": ref,
        "num_items_in_batch": count,
    }
    return GRPOTrainer._compute_loss(trainer, None, inputs)  # type: ignore[arg-type]


def _alone() -> Any:
    """An accelerator of one process."""
    return SimpleNamespace(
        num_processes=1, device="cpu", gather=lambda x: x, reduce=lambda x, reduction: x
    )
