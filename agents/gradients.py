"""The true gradient of the objective, and what an agent's update expects in its place.

Both in one call each; `agents.exact_gradients` has the details, and covariances.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from agents.agent import Agent
from agents.algorithms.reinforce import Reinforce
from agents.exact_gradients.measure import exact_gradients
from agents.exact_gradients.objective import objective_gradient
from agents.policy import Policy
from rlhf_env.checks import check_number
from rlhf_env.exact.solution import Policy as AnyPolicy
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv


@dataclass(frozen=True, kw_only=True)
class GradientReport:
    """The expected gradient of an agent's update, and how it compares with the truth."""

    mean: Tensor
    """[P] float64, the expectation, uphill, over the trainable weights of the policy's model."""
    bias: float
    """Its distance from the true gradient, relative to the norm of that."""
    cosine: float
    """Of the angle between the two."""
    noise_to_signal: float
    """Root of the total variance of one episode's gradient, relative to the norm of ``mean``."""
    exact: bool
    """Whether all updates were enumerated; otherwise some were drawn."""
    bias_error: float
    """The standard error of ``bias`` where they were drawn; 0 where ``exact``."""


def true_gradient(
    task: Task, policy: nn.Module | Policy | Agent, kl_coef: float, gamma: float = 1.0
) -> Tensor:
    """Return the gradient of J = E[Σ_t gamma^t (r_t − beta log(pi/pi_ref))], by enumeration.

    Args:
        task: with at most 4,096 responses to all prompts together.
        policy: the causal language model whose weights J is differentiated by, or what holds it.
        kl_coef: beta >= 0.
        gamma: discount per token, in [0, 1].

    Returns:
        [P] float64, over the trainable weights of the model in the order of its parameters.

    Raises:
        ValueError: if the task cannot be enumerated, a number is out of range, or the model has no
            weight that can be trained.
    """
    check_number("kl_coef", kl_coef, minimum=0.0)
    check_number("gamma", gamma, minimum=0.0, maximum=1.0)
    own = policy.policy if isinstance(policy, Agent) else policy
    model = own.model if isinstance(own, Policy) else own
    temperature = own.temperature if isinstance(own, Policy) else 1.0
    if model is task.reference:
        model = copy.deepcopy(model).requires_grad_(True)
    envs = RLHFVectorEnv(num_envs=1, task=task, kl_coef=kl_coef)
    # Any agent does: what it learns by has no part in the true gradient.
    holder = Reinforce(envs, policy=model, temperature=temperature)
    return objective_gradient(holder, gamma)


def expected_gradient(
    agent: Agent,
    behavior: AnyPolicy | None = None,
    *,
    gamma: float = 1.0,
    draws: int = 4096,
    seed: int = 0,
) -> GradientReport:
    """Return the expected gradient of an agent's next update, and how far it is from the truth.

    Args:
        agent: of any algorithm, in an environment with at most 4,096 responses; it is not changed.
        behavior: the policy that samples, in any form that `rlhf_env.exact.evaluate` takes; the
            agent's own when None.
        gamma: discount of the objective whose gradient is the truth.
        draws: number of updates to draw, where they cannot be enumerated.
        seed: of the draws.

    Raises:
        ValueError: if the responses cannot be enumerated, or a number is out of range.
    """
    found = exact_gradients(agent, behavior=behavior, gamma=gamma, draws=draws, seed=seed)
    return GradientReport(
        mean=found.expected,
        bias=found.relative_bias,
        cosine=found.cosine,
        noise_to_signal=found.noise_to_signal,
        exact=found.standard_error is None,
        bias_error=found.bias_error,
    )
