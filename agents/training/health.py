"""Warnings that a run is going wrong, each logged once while the run can still be stopped."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlhf_env.rollout import Rollout

LOGGER = logging.getLogger("agents")
# A sampled KL this many standard errors below 0 is not due to chance.
_STANDARD_ERRORS = 4.0
# Fewer episodes are too few to estimate the spread.
_FEW_EPISODES = 8
_COLLAPSED_SHARE = 0.02
# A policy this far away samples responses that the reference practically never does.
_FAR_PER_SEQUENCE, _FAR_PER_TOKEN = 20.0, 0.5
# A policy can learn to do these, so they count only at the first update.
_FROM_THE_START = frozenset({"all_truncated", "no_signal"})


@dataclass(kw_only=True)
class Health:
    """Watches the updates of one run."""

    said: set[str] = field(default_factory=set)
    """The warnings already logged."""
    first_entropy: float | None = None
    """Entropy of the policy at the first update, nats per token."""

    def examine(self, rollout: Rollout, metrics: dict[str, float]) -> None:
        """Log a warning for each sign that this update is the first to show.

        Args:
            rollout: the episodes of the update.
            metrics: its own; ``update``, ``entropy`` (nats per token) and ``eos_rate`` are read.
        """
        if self.first_entropy is None:
            self.first_entropy = metrics.get("entropy")
        update = metrics.get("update", 1)
        for sign, text in detect_anomalies(rollout, metrics, self.first_entropy):
            is_learned = sign in _FROM_THE_START and update > 1
            if sign not in self.said and not is_learned:
                self.said.add(sign)
                LOGGER.warning("update %d: %s", update, text)


def detect_anomalies(
    rollout: Rollout, metrics: dict[str, float], first_entropy: float | None
) -> Iterator[tuple[str, str]]:
    """Yield the name of each sign of trouble and a sentence about it.

    Args:
        rollout: B episodes.
        metrics: metrics of the update that learned from them.
        first_entropy: of the policy when the run began, nats per token; None if not known.
    """
    count = len(rollout)
    kl = rollout.log_ratio.sum(1)
    if count >= _FEW_EPISODES:
        error = float(kl.std()) / math.sqrt(count)
        if float(kl.mean()) < -_STANDARD_ERRORS * error - 1e-4:
            yield (
                "negative_kl",
                f"the mean log-ratio of policy and reference is {float(kl.mean()):.3f} nats per "
                "sequence, which a KL cannot be: the log-probabilities are not those of the "
                "distribution that the tokens were drawn from",
            )
    per_token = float(kl.sum()) / int(rollout.is_action.sum())
    if float(kl.mean()) > _FAR_PER_SEQUENCE and per_token > _FAR_PER_TOKEN:
        yield (
            "distant_policy",
            f"the KL from the reference has reached {float(kl.mean()):.1f} nats per sequence, "
            f"{per_token:.2f} per token, where a learned reward is rarely right; raise kl_coef, "
            "set kl_target, or lower learning_rate",
        )
    entropy = metrics.get("entropy")
    if entropy is not None and first_entropy and entropy < _COLLAPSED_SHARE * first_entropy:
        yield (
            "entropy_collapse",
            f"the policy's entropy has fallen from {first_entropy:.3g} to {entropy:.3g} nats per "
            "token, so it hardly explores; unless one response is by far the best, raise kl_coef "
            "or entropy_coef, or lower learning_rate",
        )
    if metrics.get("eos_rate") == 0.0:
        yield (
            "all_truncated",
            "no response ended by itself, all were cut by the length limit; raise "
            "max_new_tokens, or check the task's EOS token",
        )
    is_compared = rollout.preference is not None
    if count > 1 and not is_compared and bool((rollout.score == rollout.score[0]).all()):
        yield (
            "no_signal",
            f"all {count} responses have the score {float(rollout.score[0]):g}, so there is "
            "nothing to learn from but the KL; use a reward that tells responses apart",
        )
