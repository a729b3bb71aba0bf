"""The settings that all agents share, checked on construction."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from agents.rollouts.kl_reward import KL_ESTIMATORS, KL_PLACEMENTS
from rlhf_env.checks import (
    check_choice,
    check_count,
    check_number,
    check_positive,
    did_you_mean,
)

Config = TypeVar("Config", bound="AgentConfig")

_LARGEST_SEED = 2**63 - 1
# At `did_you_mean`'s default of 0.6 "value_coef" would be taken for a misspelt "kl_coef".
_SIMILAR = 0.75


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of every agent that trains a language model.

    What only some learning rules can honour, such as a discount, is not here: an agent whose rule
    does not know it refuses it.

    Attributes:
        learning_rate: of Adam; 0 changes nothing.
        episodes_per_update: episodes of each rollout.
        group_size: consecutive episodes of a rollout that share a prompt draw.
        epochs: passes over a rollout.
        minibatches: optimiser steps per pass.
        kl_coef: beta; None takes the environment's.
        kl_placement: "reward", or "loss", where the penalty's gradient is that of the estimator.
        kl_estimator: "k1", "k2" or "k3", of a decision's log-ratio. Only k1 in the reward, and k2
            in the loss of whole responses, converge to the optimum of the RLHF objective. k2 and
            k3 in the loss of tokens converge elsewhere; k1 in the loss regularises nothing; k2
            and k3 in the reward penalise another divergence (arXiv:2512.21852).
        kl_importance_ratio: multiplies the KL in the loss by the ratio of the probabilities of
            the policy being trained and the one that acted. Per token k3 then has the gradient of
            the KL of every single step (arXiv:2512.02556), off-policy too.
        kl_target: steers beta so that the KL comes near it, in nats; None leaves beta as it is.
        kl_target_unit: of ``kl_target`` and of the KL that is compared with it: nats per
            "sequence" or per "token".
        kl_horizon: episodes over which a full error of the KL changes beta by 20 %.
        entropy_coef: weight of an entropy bonus in the loss.
        ptx_coef: weight of the loss on texts given as ``pretraining``, which keeps the policy a
            language model (PPO-ptx, arXiv:2203.02155).
        temperature: divides the logits of policy and reference, in sampling and in learning.
        max_grad_norm: the gradient is scaled down to this Euclidean norm.
        adam_epsilon: of Adam.
        precision: "fp32", or "bf16" for the policy's forward and backward passes over finished
            episodes; the weights, and the softmax over the vocabulary, stay as they are.
        gradient_checkpointing: keeps of each layer only what goes in, and runs it again for the
            gradient: less memory, more time.
        lora_rank: trains low-rank adapters over frozen weights that are the reference's own;
            None trains all weights.
        lora_alpha: the adapter's output is scaled by lora_alpha / lora_rank.
        seed: of all the agent's randomness.
    """

    learning_rate: float = 1e-3
    episodes_per_update: int = 64
    group_size: int = 1
    epochs: int = 1
    minibatches: int = 1
    kl_coef: float | None = None
    kl_placement: str = "reward"
    kl_estimator: str = "k1"
    kl_importance_ratio: bool = False
    kl_target: float | None = None
    kl_target_unit: str = "sequence"
    kl_horizon: int = 10_000
    entropy_coef: float = 0.0
    ptx_coef: float = 0.0
    temperature: float = 1.0
    max_grad_norm: float = 1.0
    adam_epsilon: float = 1e-5
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    lora_rank: int | None = None
    lora_alpha: int = 16
    seed: int = 0

    @property
    def is_single_step(self) -> bool:
        """Whether an update is one optimiser step, so that the policy is the one that acted."""
        return self.epochs * self.minibatches == 1

    def __post_init__(self) -> None:
        """Refuse values outside their range, and counts that do not divide."""
        for name in ("learning_rate", "entropy_coef", "ptx_coef", "adam_epsilon"):
            check_number(name, getattr(self, name), minimum=0.0)
        for name in ("episodes_per_update", "group_size", "epochs", "minibatches", "kl_horizon"):
            check_count(name, getattr(self, name))
        check_count("seed", self.seed, minimum=0)
        if self.seed > _LARGEST_SEED:
            raise ValueError(
                f"seed must be at most 2**63 - 1, got {self.seed}; choose a smaller one"
            )
        if self.kl_coef is not None:
            check_number("kl_coef", self.kl_coef, minimum=0.0)
        check_choice("precision", self.precision, ("fp32", "bf16"))
        if self.lora_rank is not None:
            check_count("lora_rank", self.lora_rank)
        check_count("lora_alpha", self.lora_alpha)
        check_choice("kl_placement", self.kl_placement, KL_PLACEMENTS)
        check_choice("kl_estimator", self.kl_estimator, tuple(KL_ESTIMATORS))
        check_choice("kl_target_unit", self.kl_target_unit, ("sequence", "token"))
        if self.kl_target is not None:
            check_positive("kl_target", self.kl_target)
        for name in ("temperature", "max_grad_norm"):
            check_positive(name, getattr(self, name))
        for name in ("minibatches", "group_size"):
            if self.episodes_per_update % getattr(self, name):
                raise ValueError(
                    f"{name} must divide episodes_per_update = {self.episodes_per_update}, "
                    f"got {getattr(self, name)}; choose one of {divisors(self.episodes_per_update)}"
                )


def make_config(kind: type[Config], agent: str, settings: dict[str, Any]) -> Config:
    """Return the checked settings of an agent; a seed of None is drawn here.

    Raises:
        ValueError: if there is no such setting, or a value cannot be used.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name in settings:
        if name not in known:
            hint = did_you_mean(name, known, similarity=_SIMILAR) or f"; there are {known}"
            raise ValueError(f"{agent} has no setting {name!r}{hint}")
    # Grids are often made by NumPy, whose numbers JSON does not know.
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}
    if "seed" in plain and plain["seed"] is None:
        plain["seed"] = secrets.randbelow(2**32)
    return kind(**plain)


def divisors(number: int) -> list[int]:
    """Return the divisors of a positive integer, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]
