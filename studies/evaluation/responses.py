"""Agents' responses to a task's evaluation prompts, and the metrics of each response."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pandas as pd

from agents import Agent, Policy, collect
from agents.rollouts.kl_reward import add_policy_logprob
from rlhf_env.rewards.protocol import score
from rlhf_env.rollout import Rollout
from studies.reporting.console import sample_records


@dataclass(frozen=True, kw_only=True)
class Responses:
    """One policy's responses."""

    metrics: pd.DataFrame
    """One row per response."""
    records: list[dict[str, Any]]
    """The responses as the rows of ``samples.jsonl``."""
    rollout: Rollout
    """The responses."""


def respond(agent: Agent, policy: Policy, name: str, episodes: int, seed: int) -> Responses:
    """Let a policy answer the evaluation prompts in turn.

    Policies that are given the same seed answer with the same random numbers.

    Args:
        agent: its environment scores the responses.
        policy: generates the responses; the agent's own or the reference.
        name: of the policy, in the records.
        episodes: responses.
        seed: of the responses.
    """
    task = agent.base.task
    if policy is agent.policy and type(agent).sample is not Agent.sample:
        # The agent may not simply sample its policy: it may return the best of several responses.
        prompts = itertools.islice(itertools.cycle(task.eval_prompts), episodes)
        rollout = agent.sample(list(prompts), seed=seed)
    else:
        rollout = collect(
            agent.envs,
            policy,
            episodes,
            seed=(seed,),
            prompts=task.eval_prompts,
            kl_coef=agent.kl_coef,
        )
    rollout = add_policy_logprob(rollout)
    gold = None
    if task.gold is not None:
        gold = score(task.gold, rollout.prompts(), rollout.responses()).tolist()
    metrics = response_metrics(rollout, policy, task.eos_id)
    if gold is not None:
        metrics["gold"] = gold
    records = sample_records(rollout, task, gold, name)
    return Responses(metrics=metrics, records=records, rollout=rollout)


def reference_policy(agent: Agent) -> Policy:
    """Return the reference as a policy with the agent's temperature."""
    model, size = agent.base.mdp.reference.model, agent.base.task.vocab_size
    return Policy(model, size, agent.policy.temperature)


def response_metrics(rollout: Rollout, policy: Policy, eos_id: int) -> pd.DataFrame:
    """Return score, return, KL, length, entropy and ending of each response.

    Args:
        rollout: B episodes of the policy.
        policy: the one whose entropy is measured.
        eos_id: the token that ends a response.

    Returns:
        B rows; "kl" in nats per response (k1), "entropy" in nats per token, "eos_rate" 1 or 0.
    """
    entropy = policy.evaluate_episodes(rollout.tokens, rollout.is_action).entropy
    lengths = rollout.is_action.sum(1)
    columns = {
        "score": rollout.score,
        "return": rollout.rewards.sum(1),
        "kl": rollout.log_ratio.sum(1),
        "response_length": lengths,
        "eos_rate": rollout.tokens[rollout.last_action] == eos_id,
        "entropy": entropy.sum(1) / lengths,
    }
    return pd.DataFrame({name: column.double().tolist() for name, column in columns.items()})
