"""A task of your own whose optimum is known: write digits whose sum is divisible by seven.

The score depends on a state that an automaton keeps, here the sum so far modulo 7. So the optimal
policy is computed by dynamic programming, for any length, and an agent is measured against it. Run
it with

    python examples/custom_task.py
    python examples/custom_task.py --updates 3
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym

import rlhf_env
from agents import GRPO
from rlhf_env import Task, exact
from rlhf_env.tasks import automaton_task

MODULUS = 7
DIGITS = 5
HORIZON = 12


def next_state(state: int) -> list[int]:
    """Return the sum after each token; token 0 ends the response and changes nothing."""
    return [state, *((state + digit) % MODULUS for digit in range(1, DIGITS + 1))]


def reference_logits(state: int) -> list[float]:
    """Return what the reference model likes: small digits, and to go on rather than to end."""
    return [-1.0, *(-0.3 * digit for digit in range(DIGITS))]


def score(state: int) -> float:
    """Return what a response is paid that ends in a state."""
    return 1.0 if state == 0 else 0.0


def sum_of_seven() -> Task:
    """Return the task. The sum starts at 1, so that the empty response is worth nothing."""
    return automaton_task(
        next_state,
        reference_logits,
        [score(state) for state in range(MODULUS)],
        HORIZON,
        start=1,
        kl_coef=0.1,
        # What is best depends on the tokens left, so the policy has a row for each time and state.
        policy="timed_table",
        name="sum-of-seven",
    )


def main(updates: int) -> float:
    """Train, and return J / J*."""
    # The name then works in gym.make; commands take --task examples/custom_task:sum_of_seven.
    rlhf_env.register_task("sum-of-seven", sum_of_seven)
    envs: Any = gym.make_vec("RLHF-v0", num_envs=32, task="sum-of-seven")
    task = envs.unwrapped.task

    optimum = exact.solve(task, task.kl_coef)
    reference = exact.evaluate(task, task.reference, task.kl_coef)
    print(
        f"the reference reaches J = {reference.objective:.3f}, the optimum {optimum.objective:.3f}"
    )
    print(f"the optimum scores {optimum.reward:.3f} at a KL of {optimum.kl:.3f} nats")

    agent = GRPO(envs, learning_rate=0.1, episodes_per_update=64, group_size=16, seed=0)
    agent.learn(total_episodes=64 * updates, progress=False)
    reached = exact.evaluate(task, agent.policy.model, task.kl_coef).objective
    share = reached / optimum.objective
    print(f"after {64 * updates} episodes: J = {reached:.3f}, J / J* = {share:.3f}")
    return share


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=200)
    main(**vars(parser.parse_args()))
