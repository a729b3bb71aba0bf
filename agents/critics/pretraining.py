"""A critic that learns what the reference's responses are worth, before the policy moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from agents.agent import Agent
from agents.policy import Policy
from agents.rollouts.collect import collect
from agents.rollouts.sampling_plan import Stream
from rlhf_env.checks import check_count


def pretrain_critic(agent: Agent, total_episodes: int) -> list[dict[str, float]]:
    """Train an agent's critic on rollouts of the reference; its policy stays as it is.

    VC-PPO (arXiv:2503.01491) pretrains the value so, on a fixed policy. What the critic aims at is
    the agent's own (`critic_gae_lambda`; the authors take 1), and so are discount, epochs and
    learning rate. Neither the updates nor the episodes of the agent are counted up, and its next
    rollouts are those that it would have drawn anyway.

    Args:
        agent: with a critic that learns: PPO, KLPenaltyPPO or TRPO.
        total_episodes: rounded up to whole rollouts.

    Returns:
        One dictionary of metrics for each rollout; ``value_loss`` and ``explained_variance`` tell
        how well the critic predicts.

    Raises:
        ValueError: if the agent has no critic that learns.
    """
    check_count("total_episodes", total_episodes)
    config: Any = agent.config
    if not hasattr(config, "critic_gae_lambda") or config.is_monte_carlo:
        raise ValueError(
            f"pretrain_critic needs a critic that learns, got {type(agent).__name__} with critic = "
            f"{getattr(config, 'critic', None)!r}; take PPO, KLPenaltyPPO or TRPO"
        )
    reference = Policy(
        agent.base.mdp.reference.model, agent.base.task.vocab_size, config.temperature
    )
    history = []
    for number in range(-(-total_episodes // config.episodes_per_update)):
        seed = (config.seed, Stream.CRITIC_PRETRAINING, number)
        history.append(_fit(agent, reference, seed))
    return history


def _fit(agent: Agent, reference: Policy, seed: tuple[int, ...]) -> dict[str, float]:
    config, learner = agent.config, agent.learner
    rollout = collect(
        agent.envs, reference, config.episodes_per_update, seed=seed, kl_coef=agent.kl_coef
    )
    # First the environment's lock, then the policy's: everywhere in this order.
    with agent.base.overridden(), agent.policy.lock, learner.critic_only():
        old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        # To the reference its own log-probabilities are those of the policy that acted.
        said = dataclasses.replace(old, logprobs=rollout.logprobs)
        rollout = agent.learned(rollout, said)
        targets = learner.algorithm.targets(rollout, said, agent.base.mdp.reference)
        generator = np.random.default_rng([*seed, Stream.SHUFFLE])
        return learner.update(rollout, said, targets, generator)
