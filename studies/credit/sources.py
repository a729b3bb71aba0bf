"""Where credit comes from: one number for each token of some episodes, by the name of its source.

Only the score is credited, undiscounted, and not the KL: at the optimum the advantages of the
regularized objective, KL included, are 0 for all tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents import Agent, credit
from agents.math import gae
from agents.policy import Policy
from agents.rollouts.decisions import first_of_decision, is_decision, sum_per_decision
from rlhf_env.exact import evaluate
from rlhf_env.exact.by_state import Rows, StateProblem, StateValues, state_problem, state_rows
from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.protocol import PrefixReward
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from studies.credit.grading import by_token, visited_states

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def exact_advantages(task: Task, rollout: Rollout, policy: Policy) -> Tensor:
    """Return Q(s, a) − V(s) of the score under a policy of time and state, [B, L] float64.

    Args:
        task: an automaton task with one prompt.
        rollout: B episodes.
        policy: whose model is a table; both values are by dynamic programming.
    """
    values = evaluate(task, policy.model, kl_coef=0.0).values
    assert isinstance(values, StateValues), "the policy must be a table"
    times, states, is_decided = _visits(task, rollout)
    found = values.by_state[times.clip(max=task.max_new_tokens - 1), states]
    return _differences(np.where(is_decided, found, _problem(task).score[states]), rollout)


def monte_carlo_advantages(
    task: Task, rollout: Rollout, policy: Policy, continuations: int, seed: Sequence[int]
) -> Tensor:
    """Return the same with each value the mean score of k responses continued from there.

    VinePPO's estimate (arXiv:2410.01679). What follows a state does not depend on how it was
    reached, so the continuations are drawn in the automaton.

    Args:
        task: an automaton task with one prompt.
        rollout: B episodes.
        policy: whose model is a table.
        continuations: k, from each state before a token; that after the last one is scored.
        seed: of the continuations.
    """
    problem = _problem(task)
    rows = state_rows(problem, policy.model)
    assert rows is not None, "the policy must be a table"
    times, states, is_decided = _visits(task, rollout)
    found = problem.score[states]
    found[is_decided] = sampled_values(
        problem, rows, times[is_decided], states[is_decided], continuations, seed
    )
    return _differences(found, rollout)


def sampled_values(
    problem: StateProblem,
    logprobs: Rows,
    times: Integers,
    states: Integers,
    continuations: int,
    seed: Sequence[int],
) -> Floats:
    """Return the mean score of k continuations from each of N times and states, [N]."""
    random = np.random.default_rng(seed)
    state, started = (np.repeat(given, continuations) for given in (states, times))
    is_open = np.ones(len(state), dtype=bool)
    for time in range(int(times.min()), problem.horizon):
        moving = np.flatnonzero(is_open & (started <= time))
        shares = np.exp(logprobs(time, problem.all_states)).cumsum(axis=1)
        drawn = random.random(len(moving))[:, None] * shares[state[moving], -1:]
        token = (shares[state[moving]] <= drawn).sum(axis=1)
        is_open[moving] = token != 0
        # EOS stays in its state.
        state[moving] = problem.next_state[state[moving], token]
    return problem.score[state].reshape(-1, continuations).mean(axis=1)


def gae_advantages(rollout: Rollout, values: Tensor, gae_lambda: float) -> Tensor:
    """Return generalized advantages of the score, undiscounted, [B, L].

    Args:
        rollout: B terminated episodes whose decisions are tokens.
        values: [B, L] of a critic of the score, at each token that of the state before it.
        gae_lambda: 1 gives the score minus the value.
    """
    score = sum_per_decision(rollout.reward_terms["score"], rollout)
    before = first_of_decision(values, rollout)
    ended = torch.zeros(len(rollout))
    found = gae(score, before, is_decision(rollout), ended, 1.0, gae_lambda)
    return by_token(found, rollout)


def prefix_differences(reward: PrefixReward, rollout: Rollout) -> Tensor:
    """Return what each token adds to the score of the prefix, [B, L]."""
    scores = reward.prefix_scores(rollout.prompts(), rollout.responses())
    padded = torch.nn.utils.rnn.pad_sequence([row.diff().cpu() for row in scores], True)
    return by_token(padded, rollout)


def credits(
    agent: Agent,
    rollout: Rollout,
    reward_model: ScalarRewardModel,
    *,
    gae_lambdas: Sequence[float],
    continuations: Sequence[int],
    seed: Sequence[int],
) -> dict[str, Tensor]:
    """Return what each source gives the tokens of some episodes, [B, L] each.

    Args:
        agent: drew the episodes; a table, with a critic that has an output for the score.
        rollout: B episodes.
        reward_model: learned from comparisons of the task's responses.
        gae_lambdas: of GAE over the agent's critic.
        continuations: of the Monte Carlo advantages.
        seed: of their continuations.
    """
    task, policy = agent.base.task, agent.policy
    output = policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    implicit = credit.implicit(rollout, output.logprobs, beta=agent.kl_coef, keep_total=False)
    values = output.term_values["score"]
    assert isinstance(task.reward, PrefixReward)
    return {
        "uniform": credit.uniform(rollout).reward_terms["score"],
        "attention of a learned reward": credit.attention(rollout, reward_model).reward_terms[
            "score"
        ],
        "implicit reward of the policy": implicit.reward_terms["score"],
        "prefix differences, learned reward": prefix_differences(reward_model, rollout),
        "prefix differences, true score": prefix_differences(task.reward, rollout),
        **{f"GAE, λ = {x:g}": gae_advantages(rollout, values, x) for x in gae_lambdas},
        **{
            f"Monte Carlo, k = {k}": monte_carlo_advantages(task, rollout, policy, k, (*seed, k))
            for k in continuations
        },
        "exact advantage": exact_advantages(task, rollout, policy),
    }


def _problem(task: Task) -> StateProblem:
    problem = state_problem(task, None)
    assert problem is not None, "the task must have an automaton"
    return problem


def _visits(task: Task, rollout: Rollout) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Return time, state and whether a token is still to come, of each place, [B, R + 1]."""
    states = visited_states(task, rollout).numpy()
    times = np.broadcast_to(np.arange(states.shape[1]), states.shape)
    return times, states, times < rollout.response_lengths.cpu().numpy()[:, None]


def _differences(values: Floats, rollout: Rollout) -> Tensor:
    return by_token(torch.from_numpy(np.diff(values, axis=1)), rollout)
