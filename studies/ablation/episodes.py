"""Example episodes of an agent, as `studies.reporting.samples` reads them back for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents import Agent, BestOfN, PreferenceAgent, collect
from agents.rollouts.collect import base_environment
from agents.rollouts.kl_reward import add_policy_logprob
from rlhf_env import Rollout, Task
from rlhf_env.rewards.protocol import score
from studies.experiment.acting import has_policy

# Advantages are relative to other episodes, so more are drawn than shown.
PROMPTS = 8
SHOWN = 1


def example_episodes(
    agent: Any, envs: VectorEnv[Any, Any, Any], stage: str
) -> list[dict[str, Any]]:
    """Return the first responses to the task's evaluation prompts.

    Args:
        agent: any that acts. One of one's own draws from its random numbers for it, so before
            training `studies.experiment.acting.untrained` acts in its place.
        envs: the agent's environment.
        stage: "before" or "after" training.
    """
    if not has_policy(agent):
        return [{"stage": stage, **_acted(agent, envs)}]
    group_size = agent.config.group_size
    rollout = collect(
        envs,
        agent.policy,
        PROMPTS * group_size,
        seed=0,
        group_size=group_size,
        prompts=agent.base.task.eval_prompts,
        kl_coef=agent.kl_coef,
    )
    return shown_episodes(agent, rollout, stage)


def shown_episodes(agent: Any, rollout: Rollout, stage: str) -> list[dict[str, Any]]:
    """Return the first of the episodes that an agent drew for it, with all that is said of them.

    Args:
        agent: one of this package.
        rollout: `PROMPTS` groups of its responses.
        stage: "before" or "after" training.
    """
    rollout = add_policy_logprob(rollout)
    extras = _per_token(agent, rollout)
    return [
        {
            "stage": stage,
            **_episode(rollout, agent.base.task, extras, row * agent.config.group_size),
        }
        for row in range(SHOWN)
    ]


def _acted(agent: Any, envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
    """Return the first episode of an agent that reports no values or advantages."""
    base = base_environment(envs)
    rollout = collect(envs, agent, SHOWN, seed=0, prompts=base.task.eval_prompts)
    return _episode(add_policy_logprob(rollout, base.kl_coef), base.task, {}, 0)


def _episode(rollout: Rollout, task: Task, extras: dict[str, Tensor], row: int) -> dict[str, Any]:
    chosen = rollout.is_action[row]
    terms = {name: term[row][chosen].tolist() for name, term in rollout.reward_terms.items()}
    return {
        "prompt": task.decode(rollout.prompts()[row]),
        "tokens": [
            task.tokenizer.decode([token]) for token in rollout.tokens[row][chosen].tolist()
        ],
        "reward_terms": terms,
        "score": float(rollout.score[row]),
        **_gold(rollout, task, row),
        "kl": rollout.log_ratio[row][chosen].tolist(),
        **{name: values[row][chosen].tolist() for name, values in extras.items()},
    }


def _gold(rollout: Rollout, task: Task, row: int) -> dict[str, float]:
    """Return the gold score of an episode, if the task has a true objective."""
    if task.gold is None:
        return {}
    judged = score(task.gold, [rollout.prompts()[row]], [rollout.responses()[row]])
    return {"gold": float(judged[0])}


def _per_token(agent: Agent | BestOfN, rollout: Rollout) -> dict[str, Tensor]:
    """Return the [B, L] advantages of every token, and its values if the algorithm has them."""
    if not isinstance(agent, Agent) or isinstance(agent, PreferenceAgent):
        return {}
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets, _ = agent.targets(rollout, old, np.random.default_rng(0))
    found = {name: vars(targets).get(name) for name in ("advantages", "values")}
    index = rollout.decision.clamp(min=0)
    return {
        name: _total(field).gather(1, index) for name, field in found.items() if field is not None
    }


def _total(field: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Return a critic's outputs combined into one value; a tensor is returned unchanged."""
    return torch.stack(list(field.values())).sum(0) if isinstance(field, Mapping) else field
