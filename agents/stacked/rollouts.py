"""Episodes of several agents, drawn with the random numbers that each alone would use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from agents.agent import Agent
from agents.policy import PolicyOutput
from agents.rollouts.sampling_plan import SamplingPlan, Seed, draw_episodes
from agents.stacked.payment import Cashier, pay_all, unpaid_episodes
from agents.stacked.policy import StackedPolicy
from rlhf_env.rollout import Rollout


def collect_stacked(
    policy: StackedPolicy,
    agents: Sequence[Agent],
    cashiers: Sequence[Cashier],
    episodes: int,
    seeds: Sequence[Seed],
    *,
    group_size: int = 1,
    prompts: Sequence[Tensor] | None = None,
) -> Rollout:
    """Return episodes of R agents, one block of rows after the other; see `agents.collect`.

    Args:
        policy: of the agents.
        agents: R of them.
        cashiers: of their environments.
        episodes: of each agent.
        seeds: of prompts and tokens, one for each agent.
        group_size: consecutive episodes that share a prompt draw.
        prompts: use these in turn instead of drawing from the task's.
    """
    base = agents[0].base
    plans = [
        draw_episodes(agent.base, episodes, group_size, seed, prompts)
        for agent, seed in zip(agents, seeds, strict=True)
    ]
    device = base.mdp.device
    starts = torch.stack([prompt for plan in plans for prompt in plan.prompts]).to(device)
    tokens, logprobs = policy.decode(starts, _uniforms(plans), base.task.eos_id)
    groups = [plan.group + run * (episodes // group_size) for run, plan in enumerate(plans)]
    unpaid = unpaid_episodes(
        tokens,
        logprobs,
        starts.shape[1],
        base,
        group=torch.cat(groups).to(device),
        prompt_index=torch.cat([plan.prompt_index for plan in plans]).to(device),
    )
    return pay_all(unpaid, cashiers, [agent.kl_coef for agent in agents], base.task.pad_id)


def episodes_of(rollout: Rollout, run: int, runs: int, terms: Sequence[str]) -> Rollout:
    """Return the episodes of one of R runs, as wide as its longest.

    Args:
        rollout: R blocks of rows of one size.
        run: its number.
        runs: R.
        terms: names of the reward terms that the run is paid.
    """
    size = len(rollout) // runs
    rows = slice(run * size, (run + 1) * size)
    width = int(rollout.is_action[rows].any(dim=0).nonzero().max()) + 1

    def own(field: Tensor) -> Tensor:
        return field[rows, :width] if field.dim() == 2 else field[rows]

    taken: dict[str, Any] = {}
    for each in dataclasses.fields(Rollout):
        value = getattr(rollout, each.name)
        taken[each.name] = own(value) if isinstance(value, Tensor) else value
    taken["reward_terms"] = {name: own(rollout.reward_terms[name]) for name in terms}
    return Rollout(**taken)


def outputs_of(outputs: PolicyOutput, run: int, runs: int, width: int) -> PolicyOutput:
    """Return the outputs on the episodes of one of R runs, [n, width] and [n]."""

    def own(field: Any) -> Any:
        if field is None:
            return None
        if isinstance(field, Mapping):
            return {name: own(part) for name, part in field.items()}
        size = len(field) // runs
        rows = field[run * size : (run + 1) * size]
        return rows[:, :width] if rows.dim() == 2 else rows

    fields = dataclasses.fields(PolicyOutput)
    return PolicyOutput(**{each.name: own(getattr(outputs, each.name)) for each in fields})


def _uniforms(plans: Sequence[SamplingPlan]) -> Tensor:
    return torch.cat([plan.uniforms for plan in plans if plan.uniforms is not None])
