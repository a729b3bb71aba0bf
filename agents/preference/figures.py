"""How well a policy's implicit reward predicts comparisons that it was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.policy import Policy
from agents.preference.algorithm import Pairs, PreferenceAlgorithm, pair_figures
from rlhf_env.rollout import Rollout

BINS = 10


def held_out_figures(
    algorithm: PreferenceAlgorithm, rollout: Rollout, policy: Policy
) -> dict[str, float]:
    """Return the means over all compared pairs, and the calibration; see `pair_figures`.

    Args:
        algorithm: gives the loss and beta.
        rollout: whole groups, with preferences and the reference's log-probabilities.
        policy: that is judged.
    """
    with torch.no_grad():
        new = policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        targets = algorithm.targets(rollout, new, policy.lm)
        losses, _ = algorithm.loss(rollout, new, new, targets)
        responses, pairs = algorithm.responses(rollout, new, targets), Pairs.of(rollout)
    figures = {name: float(v.mean()) for name, v in pair_figures(responses, pairs).items()}
    ahead = responses.rewards[pairs.first] - responses.rewards[pairs.second]
    return {
        "loss": float(losses.mean()),
        **figures,
        "calibration_error": calibration_error(ahead.sigmoid(), pairs.p),
        "pairs": float(len(pairs.p)),
    }


def calibration_error(forecasts: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error: mean |share − forecast| of ten bins of equal width.

    Each pair counts in both orders, since either response could have been named first
    (arXiv:1706.04599, equation 5).

    Args:
        forecasts: [P] probabilities that the first response is better.
        labels: [P] the probabilities that people, or a judge, gave.
    """
    forecasts = torch.cat([forecasts, 1 - forecasts]).double()
    labels = torch.cat([labels, 1 - labels]).double()
    bins = (forecasts * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=bins.device)
    return float(gaps.index_add(0, bins, labels - forecasts).abs().sum() / len(forecasts))
