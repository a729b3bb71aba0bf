"""Episodes of a stack's agents on the evaluation prompts, and what is reported of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from agents.agent import Agent
from agents.evaluation.evaluate import evaluation_figures
from agents.policy import Policy
from agents.rollouts.kl_reward import add_policy_logprob
from agents.rollouts.sampling_plan import Seed, Stream
from agents.stacked.policy import StackedPolicy
from agents.stacked.rollouts import collect_stacked, episodes_of
from agents.stacked.stack import Stack
from rlhf_env.rollout import Rollout


def evaluate_stack(stack: Stack, episodes: int = 256) -> list[dict[str, float]]:
    """Return the figures of `Agent.evaluate` for each present agent of a stack.

    The same episodes are drawn as by each agent alone.
    """
    seeds = [(agent.config.seed, Stream.EVALUATION) for agent in stack.present]
    own = eval_episodes(stack, stack.policy, episodes, seeds)
    theirs = eval_episodes(stack, _reference(stack.present[0]), episodes, seeds)
    return [
        evaluation_figures(agent.base, agent.policy, add_policy_logprob(ours), other)
        for agent, ours, other in zip(stack.present, own, theirs, strict=True)
    ]


def eval_episodes(
    stack: Stack,
    policy: StackedPolicy,
    episodes: int,
    seeds: Sequence[Seed],
    group_size: int = 1,
) -> list[Rollout]:
    """Return responses to the evaluation prompts for each present agent.

    Args:
        stack: whose environments pay them.
        policy: who responds.
        episodes: for each agent.
        seeds: of the tokens, one for each agent.
        group_size: consecutive episodes that share a prompt.
    """
    rollout = collect_stacked(
        policy,
        stack.present,
        stack.cashiers,
        episodes,
        seeds,
        group_size=group_size,
        prompts=stack.present[0].base.task.eval_prompts,
    )
    runs = len(stack.present)
    return [
        episodes_of(rollout, run, runs, cashier.terms) for run, cashier in enumerate(stack.cashiers)
    ]


def _reference(agent: Agent) -> StackedPolicy:
    """Return the reference, which answers for all agents, at their temperature."""
    base = agent.base
    model = copy.deepcopy(base.mdp.reference.model)
    return StackedPolicy([Policy(model, base.task.vocab_size, agent.policy.temperature)])
