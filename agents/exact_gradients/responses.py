"""All responses to the prompts of an enumerable task, as an agent would learn from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from agents.agent import Agent
from agents.rollouts.collect import pay
from agents.rollouts.given import given_rollout
from rlhf_env.exact.enumerated import EnumeratedTask, enumerate_task
from rlhf_env.exact.solution import Policy as AnyPolicy
from rlhf_env.exact.solution import policy_logprobs
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv

# Gradients are stored for every token of every response.
MOST_RESPONSES = 4096


@dataclass(frozen=True, kw_only=True)
class Responses:
    """Every response to every prompt, R in all, and how often a policy gives it."""

    rollout: Rollout
    """R paid episodes; ``logprobs`` are those of the policy that acts."""
    prompt: Tensor
    """[R] the number of the prompt, ascending."""
    probability: Tensor
    """[R] float64, of the policy that acts; sums to 1 for each prompt."""

    @property
    def prompts(self) -> int:
        """Number of prompts, each of which is drawn as often as the others."""
        return int(self.prompt.max()) + 1


def every_response(agent: Agent, behavior: AnyPolicy | None = None) -> Responses:
    """Return all responses, and what the environment and its wrappers pay for them.

    Args:
        agent: of an environment whose task can be enumerated.
        behavior: the policy that acts, in any form that `rlhf_env.exact.evaluate` takes; the
            one that samples the agent's next rollout when None.

    Raises:
        ValueError: if there are more than 4,096 responses, or a wrapper can only be stepped.
    """
    task = agent.base.task
    trees = [enumerate_task(task, index) for index in range(len(task.prompts))]
    count = sum(len(tree.scores) for tree in trees)
    if count > MOST_RESPONSES:
        raise ValueError(
            f"exact gradients need at most {MOST_RESPONSES:,} responses, got {count:,}; take "
            "fewer tokens, a shorter horizon or fewer prompts"
        )
    with agent.sampling() as own:
        acts = own if behavior is None else behavior
        logprobs = [row for tree in trees for row in _token_logprobs(tree, acts)]
    sizes = torch.tensor([len(tree.scores) for tree in trees])
    prompt = torch.arange(len(trees)).repeat_interleave(sizes)
    unpaid = _said(agent.base, trees, logprobs, prompt)
    paid = pay(agent.envs, unpaid, kl_coef=agent.kl_coef, temperature=agent.policy.temperature)
    probability = torch.stack([row.sum() for row in logprobs]).exp()
    # Rounded log-probabilities do not sum to one exactly, and groups multiply the error.
    totals = probability.new_zeros(len(trees)).index_add(0, prompt, probability)
    return Responses(rollout=paid, prompt=prompt, probability=probability / totals[prompt])


def responses_of(tree: EnumeratedTask) -> list[Tensor]:
    """Return the ids of all responses, EOS included, in the order of ``tree.scores``."""
    ended = [pad(level, (0, 1), value=tree.eos_id) for level in tree.tokens[:-1]]
    return [row for level in (*ended, tree.tokens[-1]) for row in level.unbind()]


def _token_logprobs(tree: EnumeratedTask, policy: AnyPolicy) -> list[Tensor]:
    """Return log pi of every token of every response, float64."""
    table = torch.from_numpy(policy_logprobs(tree, policy))
    rank = {token: number for number, token in enumerate(tree.continuing, start=1)}
    found = []
    for response in responses_of(tree):
        states = [0]
        for token in response[:-1].tolist():
            states.append(states[-1] * len(rank) + rank[token])
        found.append(table[torch.tensor(states), response])
    return found


def _said(
    base: RLHFVectorEnv, trees: list[EnumeratedTask], logprobs: list[Tensor], prompt: Tensor
) -> Rollout:
    """Return all responses as sampled episodes; those to one prompt are a group."""
    prompts = [tree.prompt for tree in trees for _ in tree.scores]
    responses = [response for tree in trees for response in responses_of(tree)]
    given = given_rollout(base.mdp, prompts, responses, prompt.to(base.mdp.device))
    said = torch.cat(logprobs).to(given.logprobs)
    return given.replace(
        logprobs=given.logprobs.masked_scatter(given.is_action, said), prompt_index=given.group
    )
