"""The settings that all agents share, checked on construction."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from agents.settings.behavior import Behavior
from agents.settings.discount import FORMER_FORM
from agents.settings.kl import KLControl
from rlhf_env.checks import check_choice, check_count, check_number, check_positive, did_you_mean

Config = TypeVar("Config")

_CHOOSING = {"n", "episodes_per_update", "kl_coef", "temperature", "seed"}

PRECISIONS = ("fp32", "bf16")
_LARGEST_SEED = 2**63 - 1
# For difflib: with less, "value_coef" would be taken for a misspelled "kl_coef".
_SIMILAR = 0.75
# Logits up to 3e32 divided by it are finite in float32; the softmax is an argmax long before.
_LOWEST_TEMPERATURE = 1e-6
# Far above the smallest float32: with 0, a weight whose gradient is 0 would become 0 / 0.
_LOWEST_ADAM_EPSILON = 1e-30


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of every agent that trains a language model.

    Settings that only some learning rules have, such as a discount, are in the classes derived
    from this one; an agent refuses settings that its class does not have.
    """

    learning_rate: float = 1e-3
    """Adam's learning rate; 0 leaves the weights unchanged."""

    episodes_per_update: int = 64
    """Episodes of each rollout."""

    group_size: int = 1
    """Consecutive episodes of a rollout that share a prompt draw."""

    epochs: int = 1
    """Passes over a rollout."""

    minibatches: int = 1
    """Optimizer steps per pass."""

    kl_coef: float | None = None
    """beta; None takes the environment's."""

    kl_placement: str = "reward"
    """"reward", or "loss", where the penalty's gradient is that of the estimator."""

    kl_estimator: str = "k1"
    """"k1", "k2" or "k3", of a decision's log-ratio.

    Only k1 in the reward, and k2 in the loss of whole responses, converge to the optimum of the
    RLHF objective. k2 and k3 in the loss of tokens converge elsewhere; k1 in the loss regularizes
    nothing; k2 and k3 in the reward penalize another divergence (arXiv:2512.21852).
    """

    kl_importance_ratio: bool = False
    """Multiplies the KL in the loss by the ratio of the trained to the acting policy.

    Per token k3 then has the gradient of the KL of every single step (arXiv:2512.02556),
    off-policy too.
    """

    kl_target: float | None = None
    """Target KL in nats, to which beta is adapted; None leaves beta as it is."""

    kl_target_unit: str = "sequence"
    """Unit of ``kl_target`` and of the KL compared with it: nats per "sequence" or "token"."""

    kl_horizon: int = 10_000
    """Episodes over which a full error of the KL changes beta by 20 %."""

    entropy_coef: float = 0.0
    """Weight of an entropy bonus in the loss."""

    ptx_coef: float = 0.0
    """Weight of the loss on texts given as ``pretraining``, which keeps the policy a language
    model (PPO-ptx, arXiv:2203.02155)."""

    temperature: float = 1.0
    """Divides the logits of policy and reference, in sampling and in learning."""

    max_grad_norm: float = 1.0
    """Maximum Euclidean norm of the gradient; a larger one is scaled down to it."""

    adam_epsilon: float = 1e-5
    """Adam's epsilon, at least 1e-30."""

    precision: str = "fp32"
    """"fp32", or "bf16" for the policy's forward and backward passes over finished episodes; the
    weights, and the softmax over the vocabulary, stay as they are."""

    gradient_checkpointing: bool = False
    """Keeps only each layer's input and recomputes the layer for the gradient: less memory, more
    time."""

    cuda_graphs: bool = True
    """On a GPU, records a step of decoding and repeats it, where the model allows that."""

    flex_attention: bool = True
    """On a GPU, lets all texts of a training pass attend by one call a layer, where the model
    allows that."""

    lora_rank: int | None = None
    """Trains low-rank adapters over the reference's own weights, frozen; None trains all."""

    lora_alpha: int = 16
    """The adapter's output is scaled by lora_alpha / lora_rank."""

    seed: int = 0
    """Seed of all the agent's randomness."""

    @property
    def is_single_step(self) -> bool:
        """Whether an update is one optimizer step, so that the policy is the one that acted."""
        return self.epochs * self.minibatches == 1

    @property
    def corrects_sampler(self) -> bool:
        """Whether the policy that learns is told apart from the one that sampled."""
        return False

    @property
    def learns_off_policy(self) -> bool:
        """Whether episodes of other policies teach it: it corrects for them, or need not."""
        return self.corrects_sampler

    @property
    def behavior(self) -> Behavior:
        """How the policy that samples differs from the one that learns: not at all."""
        return Behavior()

    @property
    def can_bootstrap(self) -> bool:
        """Whether episodes may be truncated: a critic predicts the rest of their return."""
        return True

    @property
    def kl(self) -> KLControl:
        """The seven settings ``kl_*`` as one record."""
        return KLControl(
            coef=self.kl_coef,
            placement=self.kl_placement,
            estimator=self.kl_estimator,
            importance_ratio=self.kl_importance_ratio,
            target=self.kl_target,
            target_unit=self.kl_target_unit,
            horizon=self.kl_horizon,
        )

    def __post_init__(self) -> None:
        """Refuse values outside their range, and counts that do not divide."""
        for name in ("learning_rate", "entropy_coef", "ptx_coef"):
            check_number(name, getattr(self, name), minimum=0.0)
        check_number("adam_epsilon", self.adam_epsilon, minimum=_LOWEST_ADAM_EPSILON)
        for name in ("episodes_per_update", "group_size", "epochs", "minibatches"):
            check_count(name, getattr(self, name))
        check_seed(self.seed)
        check_choice("precision", self.precision, PRECISIONS)
        if self.lora_rank is not None:
            check_count("lora_rank", self.lora_rank)
        check_count("lora_alpha", self.lora_alpha)
        check_temperature(self.temperature)
        check_positive("max_grad_norm", self.max_grad_norm)
        self.kl.check_horizon(self.episodes_per_update)
        for name in ("minibatches", "group_size"):
            if self.episodes_per_update % getattr(self, name):
                raise ValueError(
                    f"{name} must divide episodes_per_update = {self.episodes_per_update}, "
                    f"got {getattr(self, name)}; choose one of {divisors(self.episodes_per_update)}"
                )


def check_seed(seed: int) -> None:
    """Raise ValueError unless a seed is an integer from 0 to 2**63 - 1."""
    check_count("seed", seed, minimum=0)
    if seed > _LARGEST_SEED:
        raise ValueError(f"seed must be at most 2**63 - 1, got {seed}; choose a smaller one")


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless logits divided by a temperature stay finite."""
    check_positive("temperature", temperature)
    if temperature < _LOWEST_TEMPERATURE:
        raise ValueError(
            f"temperature must be at least {_LOWEST_TEMPERATURE:g}, so that logits divided by it "
            f"stay finite, got {temperature!r}; raise it"
        )


def make_config(kind: type[Config], agent: str, settings: dict[str, Any]) -> Config:
    """Return the checked settings of an agent; a seed of None is drawn here.

    Args:
        kind: a dataclass of settings, such as `AgentConfig`.
        agent: the agent's name, for error messages.
        settings: values by the names of fields.

    Raises:
        ValueError: if there is no such setting, or a value cannot be used.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in settings:
        if name not in known:
            hint = did_you_mean(name, known, similarity=_SIMILAR) or f"; there are {known}"
            raise ValueError(f"{agent} has no setting {name!r}{hint}")
    # Grids are often made by NumPy, whose numbers are not JSON serializable.
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}
    if "seed" in plain and plain["seed"] is None:
        plain["seed"] = secrets.randbelow(2**32)
    return kind(**plain)


def upgraded_settings(agent: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings saved by an earlier version under today's names.

    Args:
        agent: the name of the class.
        settings: by their former names.
    """
    if agent == "BestOfN":
        # It once had all settings of learning, at their defaults.
        return {name: settings[name] for name in settings.keys() & _CHOOSING}
    if settings.get("gradient_form") == FORMER_FORM:
        return {**settings, "gradient_form": "standard"}
    return settings


def divisors(number: int) -> list[int]:
    """Return the divisors of a positive integer, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]
