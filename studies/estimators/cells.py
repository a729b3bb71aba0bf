"""The estimators that are compared: agents' settings, grouped by the question they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

POLICIES = ("reference", "middle", "near")
"""Where gradients are measured: the reference, and the optima of larger coefficients of the KL."""

BEHAVIORS = ("1 update old", "2 updates old", "4 updates old", "8 updates old")
"""Policies of a training run before the one that learns."""

SAMPLERS: Mapping[str, Mapping[str, Any]] = {
    "bf16": {"behavior_noise": "bf16"},
    "noise 0.1": {"behavior_noise": 0.1},
    "noise 0.5": {"behavior_noise": 0.5},
    "top-k 2": {"top_k": 2},
    "top-p 0.9": {"top_p": 0.9},
}
"""Samplers that differ from the policy they are taken for, by the agent's settings."""

CRITICS = ("zero", "exact", "exact + noise", "of the reference")
"""What the values are."""

_SUM = {"aggregation": "sum"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One estimator, wherever it is measured."""

    dispute: str
    """Name of its group."""
    estimator: str
    """What it is, in words."""
    agent: str
    """Name of a built-in agent."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of that agent."""
    granularity: str = "token"
    """"token" or "bandit"."""
    critic: str = "zero"
    """One of `CRITICS`."""
    behavior: str | None = None
    """Who sampled, one of `BEHAVIORS` or `SAMPLERS`; the policy itself when None."""
    is_stale: bool = False
    """Whether ratios are relative to the behavior."""
    gamma: float = 1.0
    """Discount of the objective whose gradient is the truth."""

    @property
    def episodes(self) -> int:
        """Of an update: 4, so that also those can be enumerated whose episodes are not apart."""
        return max(4, self.settings.get("group_size", 1))

    @property
    def policies(self) -> tuple[str, ...]:
        """Where it is measured: with an old sampler, only in the run that the sampler is of."""
        return ("trained",) if self.behavior in BEHAVIORS else POLICIES


def cells(disputes: tuple[str, ...]) -> list[Cell]:
    """Return the estimators of some groups."""
    return [cell for name in disputes for cell in DISPUTES[name]()]


def _reinforce(dispute: str, estimator: str, **changes: Any) -> Cell:
    settings = {"baseline": "none", **_SUM, **changes.pop("settings", {})}
    return Cell(
        dispute=dispute, estimator=estimator, agent="reinforce", settings=settings, **changes
    )


def _ppo(dispute: str, estimator: str, **changes: Any) -> Cell:
    plain = {"gae_lambda": 1.0, "whiten_advantages": False, "value_coef": 0.0, **_SUM}
    settings = {**plain, **changes.pop("settings", {})}
    return Cell(dispute=dispute, estimator=estimator, agent="ppo", settings=settings, **changes)


def _group(dispute: str, estimator: str, agent: str = "grpo", **changes: Any) -> Cell:
    plain: dict[str, Any] = {"group_size": 4, **_SUM}
    if agent == "grpo":
        plain["scale_by_std"] = False
    settings = {**plain, **changes.pop("settings", {})}
    return Cell(dispute=dispute, estimator=estimator, agent=agent, settings=settings, **changes)


def _kl() -> Iterator[Cell]:
    for granularity in ("token", "bandit"):
        for placement in ("reward", "loss"):
            for estimator in ("k1", "k2", "k3"):
                settings = {"kl_placement": placement, "kl_estimator": estimator}
                name = f"{estimator} in the {placement}, {granularity}"
                yield _reinforce("kl", name, settings=settings, granularity=granularity)
        settings = {"kl_placement": "loss", "kl_estimator": "k3", "kl_importance_ratio": True}
        name = f"k3 times the ratio in the loss, {granularity}"
        yield _reinforce("kl", name, settings=settings, granularity=granularity)


def _length() -> Iterator[Cell]:
    for aggregation in ("sum", "constant", "episode_mean", "decision_mean"):
        yield _group("length", f"GRPO, {aggregation}", settings={"aggregation": aggregation})
    for aggregation in ("sum", "episode_mean", "decision_mean"):
        settings = {"aggregation": aggregation}
        yield _reinforce("length", f"REINFORCE, {aggregation}", settings=settings)
        yield _ppo("length", f"PPO, {aggregation}", settings=settings)


def _std() -> Iterator[Cell]:
    for size in (2, 4, 8):
        for scales in (False, True):
            name = f"GRPO of {size}, {'divided by std' if scales else 'not divided'}"
            yield _group("std", name, settings={"group_size": size, "scale_by_std": scales})
    yield _ppo("std", "PPO, advantages whitened", settings={"whiten_advantages": True})
    yield _ppo("std", "PPO, rewards whitened", settings={"whiten_rewards": True})


def _baseline() -> Iterator[Cell]:
    for baseline in ("none", "batch_mean", "greedy"):
        yield _reinforce("baseline", f"REINFORCE, {baseline}", settings={"baseline": baseline})
    for critic in CRITICS:
        settings = {"baseline": "value", "value_coef": 0.0}
        name = f"REINFORCE, critic {critic}"
        yield _reinforce("baseline", name, settings=settings, critic=critic)
    for size in (2, 4, 8):
        settings = {"group_size": size}
        yield _group("baseline", f"mean of the group of {size}", settings=settings)
        yield _group("baseline", f"mean of the {size - 1} others", "rloo", settings=settings)


def _discount() -> Iterator[Cell]:
    for gamma in (0.99, 0.9, 0.5):
        for form in ("standard", "discounted"):
            settings = {"gamma": gamma, "gradient_form": form}
            for truth in (gamma, 1.0):
                name = f"gamma {gamma}, {form}, against gamma {truth}"
                yield _reinforce("discount", f"REINFORCE, {name}", settings=settings, gamma=truth)
                yield _group("discount", f"RLOO, {name}", "rloo", settings=settings, gamma=truth)


def _critic() -> Iterator[Cell]:
    for critic in CRITICS:
        for gae_lambda in (1.0, 0.95, 0.5, 0.0):
            name = f"lambda {gae_lambda}, critic {critic}"
            yield _ppo("critic", name, settings={"gae_lambda": gae_lambda}, critic=critic)
        # Of 1, 2 and 3 decisions: 0, 1/2 and 2/3.
        name = f"lambda 1 - 1/length, critic {critic}"
        yield _ppo("critic", name, settings={"length_adaptive_lambda": 1.0}, critic=critic)
    for rollouts in (1, 4, 16):
        for gae_lambda in (1.0, 0.5, 0.0):
            settings = {
                "gae_lambda": gae_lambda,
                "critic": "monte_carlo",
                "critic_rollouts": rollouts,
            }
            plural = "" if rollouts == 1 else "s"
            name = f"lambda {gae_lambda}, mean of {rollouts} continuation{plural}"
            yield _ppo("critic", name, settings=settings)


def _entropy() -> Iterator[Cell]:
    """Selections among the 4 episodes of an update, where one decision of 12 is a large share."""
    drawn = {"clip_cov_fraction": 0.01}
    yield _group("entropy", "Clip-Cov, band 1 to 5", "rloo", settings=drawn)
    wide = {**drawn, "clip_cov_band": (0.0, 100.0)}
    yield _group("entropy", "Clip-Cov, band above 0", "rloo", settings=wide)
    stale: dict[str, Any] = {"behavior": "4 updates old", "is_stale": True}
    step = {"minibatches": 2}
    yield _group("entropy", "neither, 4 updates old", "rloo", settings=step, **stale)
    held = {**step, "kl_cov_fraction": 0.01}
    yield _group("entropy", "KL-Cov, 4 updates old", "rloo", settings=held, **stale)


def _clip() -> Iterator[Cell]:
    step = {"minibatches": 2}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "no clip": ("rloo", {}),
        "clip 0.2": ("grpo", {"clip_range": 0.2}),
        "clip 0.05": ("grpo", {"clip_range": 0.05}),
        "clip 0.2 below, 0.28 above": ("grpo", {"clip_range": 0.2, "clip_range_high": 0.28}),
        "clip 0.2, dual 3": ("grpo", {"clip_range": 0.2, "dual_clip": 3.0}),
        "clip 0.2, dual 1.5": ("grpo", {"clip_range": 0.2, "dual_clip": 1.5}),
        "no clip, dual 1.5": ("rloo", {"dual_clip": 1.5}),
        "ratio of responses to 1/length, clip 0.2": (
            "grpo",
            {"ratio": "episode", "clip_range": 0.2},
        ),
    }
    for behavior in BEHAVIORS:
        for name, (agent, settings) in kinds.items():
            yield _group(
                "clip",
                f"{name}, {behavior}",
                agent,
                settings={**settings, **step},
                behavior=behavior,
                is_stale=True,
            )


def _importance() -> Iterator[Cell]:
    limits: dict[str, dict[str, Any]] = {
        "": {},
        ", at most 1.5": {"importance_cap": 1.5},
        ", masked outside 0.67 to 1.5": {"importance_band": (0.67, 1.5)},
    }
    for behavior in (*BEHAVIORS, *SAMPLERS):
        yield _group("importance", f"none, {behavior}", "rloo", behavior=behavior)
        for kind in ("token", "sequence", "geometric"):
            for name, limit in limits.items():
                settings = {"importance": kind, **limit}
                label = f"{kind}{name}, {behavior}"
                yield _group("importance", label, "rloo", settings=settings, behavior=behavior)


DISPUTES: Mapping[str, Callable[[], Iterator[Cell]]] = {
    "kl": _kl,
    "length": _length,
    "std": _std,
    "baseline": _baseline,
    "discount": _discount,
    "critic": _critic,
    "clip": _clip,
    "importance": _importance,
    "entropy": _entropy,
}
"""Groups of estimators by name."""
