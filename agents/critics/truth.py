"""A critic beside the exact value of the current policy, where that can be computed.

Small tasks are enumerated, with any wrapper, discount and KL. Automata of any horizon are solved by
dynamic programming, for plain tokens and a policy that is a table.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from agents.agent import Agent
from agents.exact_gradients.responses import MOST_RESPONSES, every_response
from agents.exact_gradients.state_returns import state_returns, states_of
from agents.math import explained_variance, masked_mean
from agents.policy import PolicyOutput
from agents.rollouts.collect import rollout_transforms
from agents.rollouts.decisions import first_of_decision, is_decision
from agents.rollouts.discounting import sum_of_terms
from agents.settings.discount import discount_of
from rlhf_env.exact import evaluate
from rlhf_env.exact.automaton import ChoosesByState, automaton_of
from rlhf_env.exact.by_state import StateValues
from rlhf_env.exact.response_tree import num_responses
from rlhf_env.rollout import Rollout

# Counting the responses of a real vocabulary would itself be slow.
_SHORT = 12


def check_known(agent: Agent) -> None:
    """Refuse an agent whose exact values cannot be computed.

    Raises:
        ValueError: saying what stands in the way.
    """
    config, task = agent.config, agent.base.task
    if getattr(config, "whiten_rewards", False):
        _refuse("whiten_rewards, after which the critic predicts no sum of rewards")
    if agent.base.mdp.options.length_limit == "bootstrap":
        _refuse('length_limit="bootstrap", where returns have no end')
    if _is_small(agent):
        if rollout_transforms(agent.envs) is None:
            _refuse("a wrapper that can only be stepped")
        return
    if automaton_of(task) is None:
        _refuse(f"task {task.name!r}, which is neither an automaton nor small enough to enumerate")
    model = agent.policy.model
    if not isinstance(model, ChoosesByState) or model.state_logits() is None:
        _refuse("a policy that sees the whole prefix of a long response")
    if rollout_transforms(agent.envs) != []:
        _refuse("wrappers around a task that is too large to enumerate")
    if agent.policy.temperature != 1.0:
        _refuse(f"temperature = {agent.policy.temperature:g} with such a task")
    if config.kl_placement == "reward" and config.kl_estimator != "k1":
        _refuse(f"kl_estimator = {config.kl_estimator!r} in the reward of such a task")


def critic_errors(agent: Agent, rollout: Rollout, old: PolicyOutput) -> dict[str, float]:
    """Return how far the critic is from the truth on the decisions of a rollout.

    Args:
        agent: that `check_known` has passed.
        rollout: of its policy.
        old: what its policy and critic predict for it.

    Returns:
        ``critic_bias`` (mean of V̂ − V), ``critic_rmse``, and ``critic_explained_variance``,
        1 − Var(V − V̂) / Var(V) over the decisions; 0 where V does not vary.
    """
    exact, mask = exact_values(agent, rollout), is_decision(rollout)
    values = first_of_decision(old.values, rollout)
    error = values - exact
    return {
        "critic_bias": float(masked_mean(error, mask)),
        "critic_rmse": float(masked_mean(error.square(), mask).sqrt()),
        "critic_explained_variance": float(explained_variance(values, exact, mask)),
    }


def exact_values(agent: Agent, rollout: Rollout) -> Tensor:
    """Return V of the current policy in the state of every decision, [B, D].

    It is what the agent's critic should predict: of what the agent learns from, discounted as it
    does, summed over its discounts.

    Args:
        agent: that `check_known` has passed.
        rollout: B episodes.
    """
    return _by_enumeration(agent, rollout) if _is_small(agent) else _by_state(agent, rollout)


def _by_enumeration(agent: Agent, rollout: Rollout) -> Tensor:
    # Of the policy that learns, whoever samples.
    responses = every_response(agent, agent.policy)
    said = agent.policy.sampler_only(responses.rollout)
    learned = dataclasses.replace(responses, rollout=agent.learned(responses.rollout, said))
    found = state_returns(learned, *discount_of(agent.config))
    values = sum_of_terms(found.values)
    mask = is_decision(rollout)
    numbers = [found.number[state] for states in states_of(rollout) for state in states]
    known = values[torch.tensor(numbers)].to(rollout.logprobs)
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, known)


def _by_state(agent: Agent, rollout: Rollout) -> Tensor:
    task, model = agent.base.task, agent.policy.model
    automaton = automaton_of(task)
    assert automaton is not None
    mask = is_decision(rollout)
    exact = torch.zeros(mask.shape, dtype=torch.float64)
    prompts = [tuple(prompt.tolist()) for prompt in task.prompts]
    tables = {}
    for row, (prompt, response) in enumerate(
        zip(rollout.prompts(), rollout.responses(), strict=True)
    ):
        index = prompts.index(tuple(prompt.tolist()))
        if index not in tables:
            tables[index] = _value_table(agent, model, index)
        start = torch.tensor([automaton.start_of(prompt)])
        states = automaton.states(start, response.cpu()[None])[0, :-1]
        times = torch.arange(len(states))
        exact[row, : len(states)] = tables[index][times, states]
    return exact.to(rollout.logprobs)


def _value_table(agent: Agent, model: object, prompt_index: int) -> Tensor:
    """Return V(t, s) of a policy, [T, S] float64."""
    gamma, _ = discount_of(agent.config)
    beta = 0.0 if agent.config.kl.is_in_loss else agent.kl_coef

    def table(kl_coef: float, discount: float) -> Tensor:
        answer = evaluate(agent.base.task, model, kl_coef, discount, prompt_index=prompt_index)  # type: ignore[arg-type]
        assert isinstance(answer.values, StateValues)
        return torch.from_numpy(answer.values.by_state)

    if isinstance(gamma, float | int):
        return table(beta, gamma)
    # The score and the KL are discounted apart, and expectations add up.
    penalty = table(beta, gamma["kl"]) - table(0.0, gamma["kl"])
    return table(0.0, gamma["score"]) + penalty


def _is_small(agent: Agent) -> bool:
    task = agent.base.task
    if task.max_new_tokens > _SHORT:
        return False
    return num_responses(task.vocab_size, task.max_new_tokens) * len(task.prompts) <= MOST_RESPONSES


def _refuse(what: str) -> None:
    raise ValueError(
        f"critic_truth needs exact values of the policy, got {what}; leave critic_truth out, or "
        "compare by agents.critics.check.check_critic"
    )
