"""verl: `verl.trainer.ppo.core_algos` and the helpers beside it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rlhf_env.testing import TrainerLoss

WORDS = {"logprobs": "log_prob", "old_logprobs": "old_log_prob", "mask": "response_mask"}


def losses() -> dict[str, TrainerLoss]:
    """Return verl's functions by name."""
    from verl.trainer.ppo import core_algos
    from verl.utils.torch_functional import logprobs_from_logits, masked_whiten

    def gae(
        rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
    ) -> Tensor:
        """Advantages are whitened in the function, so they are read off the returns."""
        _, returns = core_algos.compute_gae_advantage_return(
            rewards, values, mask, torch.tensor(gamma), torch.tensor(gae_lambda)
        )
        return returns - values

    def kl(estimator: str, **described: Any) -> TrainerLoss:
        def function(logprob: Tensor, ref_logprob: Tensor) -> Tensor:
            return core_algos.kl_penalty(logprob, ref_logprob, estimator)

        words = {"logprobs": "logprob", "ref_logprobs": "ref_logprob"}
        return TrainerLoss(function=function, kind="kl", names=words, **described)

    def value(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor) -> Any:
        return core_algos.compute_value_loss(values, returns, old_values, mask, 0.2)

    return {
        "`compute_policy_loss_vanilla`, token-mean": _policy("token-mean", form="token_mean"),
        "the same, told the batch's totals": _policy("token-mean", form="token_mean", totals=True),
        "seq-mean-token-mean": _policy("seq-mean-token-mean", form="episode_mean"),
        "seq-mean-token-sum-norm": _policy("seq-mean-token-sum-norm", form="constant"),
        "`compute_gae_advantage_return`": TrainerLoss(
            function=gae, kind="gae", names={"bootstrap": None}, mask_dtype=torch.float64
        ),
        "`compute_grpo_outcome_advantage`": _groups(
            core_algos.compute_grpo_outcome_advantage, "sample_std"
        ),
        "`compute_rloo_outcome_advantage`": _groups(
            core_algos.compute_rloo_outcome_advantage, "leave_one_out"
        ),
        "`masked_whiten`": TrainerLoss(
            function=masked_whiten, kind="whiten", mask_dtype=torch.float64
        ),
        "`compute_value_loss`": TrainerLoss(
            function=value, kind="value_loss", mask_dtype=torch.float64
        ),
        "`kl_penalty` k1": kl("k1", form="k1"),
        "`kl_penalty` k3 in the loss": kl("k3", form="k3", role="loss"),
        "`kl_penalty` k3+ in the loss": kl("k3+", form="k3", role="loss"),
        "`logprobs_from_logits`": TrainerLoss(
            function=lambda logits, tokens: logprobs_from_logits(logits, tokens),
            kind="token_logprobs",
        ),
    }


def _policy(mode: str, **described: Any) -> TrainerLoss:
    from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla

    def loss(total_tokens: Any = None, total_rows: Any = None, **tensors: Tensor) -> Any:
        config = SimpleNamespace(
            clip_ratio=0.2,
            clip_ratio_low=0.2,
            clip_ratio_high=0.2,
            get=lambda name, otherwise: otherwise,
            global_batch_info={
                "batch_num_tokens": total_tokens,
                "global_batch_size": total_rows,
            },
        )
        return compute_policy_loss_vanilla(loss_agg_mode=mode, config=config, **tensors)

    return TrainerLoss(function=loss, names=WORDS, mask_dtype=torch.float64, **described)


def _groups(function: Any, form: str) -> TrainerLoss:
    def advantages(scores: Tensor, group: Tensor) -> Tensor:
        mask = torch.ones(len(scores), 1)
        return function(scores[:, None], mask, group.numpy())[0][:, 0]

    return TrainerLoss(function=advantages, kind="group_advantages", form=form)
