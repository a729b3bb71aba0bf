"""Episodes that go on, by the current policy, from states that other episodes have visited."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.agent import Agent
from agents.math import discounted_returns
from agents.rollouts.collect import Begun, finish, pay, prepare
from agents.rollouts.decisions import is_decision
from agents.rollouts.discounting import discounted_terms
from agents.rollouts.kl_reward import learned_kl
from agents.rollouts.sampling_plan import SamplingPlan
from agents.settings.discount import discount_of
from rlhf_env.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class Continuations:
    """What S states turned out to be worth, k times each."""

    returns: dict[str, Tensor]
    """[S, k] discounted from the state's decision on, for each discount by name."""
    tokens: int
    """How many were sampled."""


def continue_episodes(
    agent: Agent,
    rollout: Rollout,
    episode: Tensor,
    decision: Tensor,
    samples: int,
    generator: np.random.Generator,
) -> Continuations:
    """Let the agent's policy go on from some states, and pay it as the agent learns.

    Args:
        agent: whose policy, environment, discount and KL these are; it is not changed.
        rollout: B finished episodes.
        episode: [S] a row of the rollout.
        decision: [S] the decision that is about to be taken there.
        samples: k.
        generator: draws the tokens.

    Raises:
        ValueError: if a wrapper can only be stepped.
    """
    unpaid, count = _continued(agent, rollout, episode, decision, samples, generator)
    temperature = agent.policy.temperature
    paid = pay(agent.envs, unpaid, kl_coef=agent.kl_coef, temperature=temperature)
    paid = learned_kl(paid, agent.config.kl_placement, agent.config.kl_estimator)
    asked = decision.repeat_interleave(samples)[:, None]
    mask = is_decision(paid)
    returns = {
        term.name: discounted_returns(term.rewards, mask, term.gamma)
        .gather(1, asked)
        .reshape(-1, samples)
        for term in discounted_terms(paid, *discount_of(agent.config))
    }
    return Continuations(returns=returns, tokens=count)


def _continued(
    agent: Agent,
    rollout: Rollout,
    episode: Tensor,
    decision: Tensor,
    samples: int,
    generator: np.random.Generator,
) -> tuple[Rollout, int]:
    """Return S x k unpaid episodes that share what was said before, and the tokens drawn."""
    base, policy, device = agent.base, agent.policy, rollout.tokens.device
    episode, decision = (x.repeat_interleave(samples) for x in (episode, decision))
    starts = rollout.prompt_lengths[episode]
    is_kept = (rollout.decision[episode] < decision[:, None]) & rollout.is_action[episode]
    lengths = starts + is_kept.sum(1)
    tokens = torch.full((len(episode), base.mdp.max_tokens), base.task.pad_id, device=device)
    logprobs = torch.zeros(tokens.shape, device=device)
    columns = torch.arange(rollout.tokens.shape[1], device=device) < lengths[:, None]
    tokens[:, : columns.shape[1]][columns] = rollout.tokens[episode][columns]
    logprobs[:, : columns.shape[1]][columns] = rollout.logprobs[episode][columns].to(logprobs)
    begun = Begun(tokens=tokens, logprobs=logprobs, starts=starts, lengths=lengths)
    shape = (len(episode), base.mdp.max_new_tokens)
    plan = SamplingPlan(
        prompts=[],
        prompt_index=rollout.prompt_index[episode],
        group=rollout.group[episode],
        uniforms=torch.from_numpy(generator.random(shape, dtype=np.float32)).to(device),
    )
    with base.overridden(temperature=policy.temperature), policy.lock:
        prepare(base, policy)
        unpaid = finish(base, policy, begun, plan)
    return unpaid, int((unpaid.lengths - begun.lengths).sum())
