"""The gradient of the objective itself, by enumeration."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.agent import Agent
from agents.exact_gradients.derivatives import as_double, flat_outputs, output_jacobian
from agents.exact_gradients.responses import every_response
from agents.policy import PolicyOutput
from rlhf_env.rollout import Rollout


def objective_gradient(agent: Agent, gamma: float = 1.0) -> Tensor:
    """Return the gradient of J with respect to the trainable weights of the policy, [P] float64.

    J = E[Σ_t gamma^t (r_t − beta log(pi/pi_ref))] of the environment without its wrappers.

    Args:
        agent: in an environment with at most 4,096 responses.
        gamma: discount per token.

    Raises:
        ValueError: if the responses cannot be enumerated.
    """
    responses = every_response(agent, agent.policy)
    rollout = responses.rollout
    said = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    slope = objective_slope(agent, rollout, said, gamma)
    columns = slope.nonzero()[:, 0]
    return slope[columns] @ output_jacobian(agent, responses, columns)


def objective_slope(agent: Agent, rollout: Rollout, said: PolicyOutput, gamma: float) -> Tensor:
    """Return the derivatives of J with respect to all outputs, [K] float64.

    dJ / d log pi(a_t|s_t) = p(y) (G(y) − beta gamma^t), p(y) being the response's probability.

    Args:
        agent: whose policy and environment these are.
        rollout: every response.
        said: what the policy says of them.
        gamma: discount per token.
    """
    with agent.base.overridden(kl_coef=agent.kl_coef, temperature=agent.policy.temperature):
        plain = as_double(agent.base.evaluate(rollout))
    logprobs, mask = said.logprobs.double(), rollout.is_action
    discount = gamma ** (mask.cumsum(dim=1) - 1).clamp(min=0) * mask
    ratios = logprobs - plain.ref_logprobs
    rewards = plain.reward_terms["score"] - agent.kl_coef * ratios
    returns = (discount * rewards).sum(dim=1, keepdim=True)
    prompts = int(rollout.prompt_index.max()) + 1
    probability = response_probabilities(said)[:, None] / prompts
    slope = mask * probability * (returns - agent.kl_coef * discount)
    flat = torch.zeros_like(flat_outputs(said), dtype=torch.float64)
    flat[: slope.numel()] = slope.flatten()
    return flat


def response_probabilities(said: PolicyOutput) -> Tensor:
    """Return [R] the probability of each response, float64."""
    return said.logprobs.double().sum(dim=1).exp()
