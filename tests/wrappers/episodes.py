"""Playing given responses, and the same episodes as a rollout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.rlhf_env.toy15_tables import RESPONSES

# The 15 responses of "toy15" and their scores.
TOY15 = {
    tuple(token for token in padded if token >= 0): score
    for padded, (_, score) in RESPONSES.items()
}


def play(env: Any, actions: Sequence[Any], prompt_index: int = 0) -> list[tuple[Any, ...]]:
    """Open an episode and take some actions; what each step returned."""
    env.reset(seed=0, options={"prompt_index": prompt_index})
    return [env.step(action) for action in actions]


def paid(env: Any, response: Sequence[int], term: str = "score") -> list[float]:
    """What each token of a response is paid in one reward term."""
    return [step[4]["reward_terms"][term] for step in play(env, response)]


def as_rollout(
    task: Task, episodes: Sequence[tuple[int, Sequence[int]]], logprob: float = 0.0
) -> Rollout:
    """Finished episodes, each (prompt_index, response), that nobody has paid yet."""
    prompts = [task.prompts[index].tolist() for index, _ in episodes]
    rows = [
        (prompt, list(response)) for prompt, (_, response) in zip(prompts, episodes, strict=True)
    ]
    width = max(len(prompt) + len(response) for prompt, response in rows)
    tokens = torch.full((len(rows), width), task.pad_id)
    is_action = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        tokens[row, :end] = torch.tensor(prompt + response)
        is_action[row, len(prompt) : end] = True
    zeros = torch.zeros(len(rows), width)
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=logprob * is_action,
        ref_logprobs=zeros,
        rewards=zeros,
        reward_terms={"score": zeros, "kl": zeros},
        score=torch.zeros(len(rows)),
        terminated=torch.ones(len(rows), dtype=torch.bool),
        group=torch.arange(len(rows)),
        prompt_index=torch.tensor([index for index, _ in episodes]),
        decision=torch.where(is_action, is_action.long().cumsum(1) - 1, -1),
    )


def transformed(env: Any, rollout: Rollout) -> Rollout:
    """Evaluate a rollout and pass it through every wrapper, innermost first."""
    layers = []
    while env.unwrapped is not env:
        layers.append(env)
        env = env.env
    rollout = env.evaluate(rollout)
    for layer in reversed(layers):
        rollout = layer.rollout(rollout)
    return rollout


def soft_optimum(env: Any, task: Task, gamma: float) -> dict[tuple[int, ...], list[float]]:
    """The optimal policy of "toy15" for what an environment pays without its KL term.

    Soft Bellman recursion, V = beta log Σ_a pi_ref exp(Q/beta), over rewards read by stepping.
    """
    rewards: dict[tuple[int, ...], float] = {}
    for response in TOY15:
        for t, (_, _, _, _, info) in enumerate(play(env, response)):
            terms = dict(info["reward_terms"])
            del terms["kl"]
            rewards[response[: t + 1]] = sum(terms.values())
    policy: dict[tuple[int, ...], list[float]] = {}
    values: dict[tuple[int, ...], float] = {}
    beta = task.kl_coef
    prefixes = sorted({response[:t] for response in TOY15 for t in range(len(response))}, key=len)
    for prefix in reversed(prefixes):
        logits = [math.cos(1 + len(prefix) + 2 * v + 3 * sum(prefix)) for v in range(3)]
        weights = []
        for token, logit in enumerate(logits):
            following = (*prefix, token)
            q = rewards[following] + gamma * values.get(following, 0.0)
            weights.append(math.exp(logit + q / beta))
        values[prefix] = beta * math.log(sum(weights) / sum(map(math.exp, logits)))
        policy[prefix] = [weight / sum(weights) for weight in weights]
    return policy


def soft_macro_optimum(
    env: Any, task: Task, gamma: float
) -> dict[tuple[int, ...], dict[tuple[int, ...], float]]:
    """The optimal choice among the actions of several tokens that "toy15" allows.

    prefix -> {tokens of the action: probability}. V = beta log Σ_m pi_ref(m|s) exp(Q(s,m)/beta),
    Q = r + gamma V(s') with one gamma per action, over rewards and actions read by stepping.
    """
    mdp, size = env.unwrapped.mdp, env.action_space.shape[0]
    rewards: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}
    for response in TOY15:
        env.reset(seed=0)
        begin, is_over = 0, False
        while not is_over:
            _, _, terminated, truncated, info = env.step([*response[begin:], 0, 0, 0][:size])
            end, is_over = int(mdp.response_lengths[0]), terminated or truncated
            terms = dict(info["reward_terms"])
            del terms["kl"]
            rewards.setdefault(response[:begin], {})[response[begin:end]] = sum(terms.values())
            begin = end
    policy: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}
    values: dict[tuple[int, ...], float] = {}
    for prefix in sorted(rewards, key=len, reverse=True):
        weights = {}
        for tokens, reward in rewards[prefix].items():
            q = reward + gamma * values.get((*prefix, *tokens), 0.0)
            weights[tokens] = _reference(prefix, tokens) * math.exp(q / task.kl_coef)
        values[prefix] = task.kl_coef * math.log(sum(weights.values()))
        policy[prefix] = {m: weight / sum(weights.values()) for m, weight in weights.items()}
    return policy


def _reference(prefix: tuple[int, ...], tokens: tuple[int, ...]) -> float:
    """The reference's probability of some tokens of "toy15" after a prefix."""
    probability = 1.0
    for token in tokens:
        logits = [math.cos(1 + len(prefix) + 2 * v + 3 * sum(prefix)) for v in range(3)]
        probability *= math.exp(logits[token]) / sum(map(math.exp, logits))
        prefix = (*prefix, token)
    return probability
