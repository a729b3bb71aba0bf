"""The accuracy of a critic: its values against returns of episodes resumed from the same states.

The policy continues each of some visited prefixes many times; the mean return from there on is an
unbiased estimate of the value that the critic should predict (VinePPO, arXiv:2410.01679).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.agent import Agent
from agents.critics.continuations import continue_episodes
from agents.rollouts.collect import rollout_transforms
from agents.rollouts.decisions import first_of_decision, is_decision
from agents.rollouts.discounting import sum_of_terms
from rlhf_env.checks import check_count
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class CriticCheck:
    """A critic's values of S states, and Monte Carlo estimates of the true values."""

    values: Tensor
    """[S] of the critic."""
    returns: Tensor
    """[S] mean returns of the resumed episodes."""
    standard_errors: Tensor
    """[S] of those means."""
    episode: Tensor
    """[S] whose state it was, a row of the rollout."""
    decision: Tensor
    """[S] the decision that was about to be taken."""

    def summary(self) -> dict[str, float]:
        """Return how far the critic is off.

        Returns:
            ``bias`` (mean of value − return), ``rmse`` (root of the mean squared error that is
            not the sampling noise of the returns), ``correlation``, and ``explained_variance``,
            the share of the variance of true values that the critic accounts for; 0 for the last
            two where nothing varies.
        """
        error = (self.values - self.returns).double()
        noise = self.standard_errors.double().square().mean()
        # Sampling noise adds its own variance to whatever is compared with the returns.
        missed = (error.square().mean() - noise).clamp(min=0)
        spread = (self.returns.double().var(correction=0) - noise).clamp(min=0)
        varies = min(float(self.values.std()), float(self.returns.std())) > 0
        pair = torch.stack([self.values, self.returns]).double()
        unexplained = (error.var(correction=0) - noise).clamp(min=0)
        return {
            "bias": float(error.mean()),
            "rmse": float(missed.sqrt()),
            "correlation": float(torch.corrcoef(pair)[0, 1]) if varies else 0.0,
            "explained_variance": float(1 - unexplained / spread) if spread > 0 else 0.0,
        }


def check_critic(
    agent: Agent, rollout: Rollout, *, states: int = 64, samples: int = 16, seed: int = 0
) -> CriticCheck:
    """Resume episodes from some of the states of a rollout and compare returns with values.

    Args:
        agent: its policy acts and its critic is evaluated; it is not changed.
        rollout: of that policy, as ``agent.collect()`` returns it.
        states: S, drawn from all decisions of the rollout; all of them if there are fewer.
        samples: episodes per state, >= 2.
        seed: of the states and the episodes.

    Raises:
        ValueError: if the counts are out of range, a wrapper can only be stepped, or episodes
            are truncated, so that their returns are not known.
    """
    check_count("states", states)
    check_count("samples", samples, minimum=2)
    if rollout_transforms(agent.envs) is None or not rollout.terminated.all():
        raise ValueError(
            "check_critic needs whole returns, got truncated episodes or a wrapper that can only "
            'be stepped; use length_limit="score" and wrappers of this project'
        )
    generator = np.random.default_rng(seed)
    episode, decision = _draw_states(rollout, states, generator)
    described = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    values = first_of_decision(described.values, rollout)[episode, decision]
    resumed = continue_episodes(agent, rollout, episode, decision, samples, generator)
    returns = sum_of_terms(resumed.returns)
    return CriticCheck(
        values=values,
        returns=returns.mean(1),
        standard_errors=returns.std(1) / samples**0.5,
        episode=episode,
        decision=decision,
    )


def _draw_states(
    rollout: Rollout, states: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return the episodes and decisions of S states, drawn without replacement."""
    taken = is_decision(rollout).nonzero()
    chosen = generator.permutation(len(taken))[:states]
    rows = taken[torch.from_numpy(chosen).to(taken.device)]
    return rows[:, 0], rows[:, 1]
