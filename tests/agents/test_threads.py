"""One agent in several threads: each call is whole, and answers as it does alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

from agents import PPO
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2_task


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    answers: list[Any] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(number: int) -> None:
        start.wait()
        try:
            answers[number] = calls[number]()
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_an_agent_answers_in_threads_as_it_does_alone() -> None:
    agent = PPO(make_envs(tiny_gpt2_task(), 4), episodes_per_update=8)
    prompts = list(agent.base.task.prompts[:4])
    expected = [agent.evaluate(8), agent.sample(prompts, seed=1).tokens]
    for _ in range(3):
        found = in_threads(
            [
                lambda: agent.evaluate(8),
                lambda: agent.sample(prompts, seed=1).tokens,
                lambda: agent.evaluate(8),
                lambda: agent.sample(prompts, seed=1).tokens,
            ]
        )
        assert found[0] == found[2] == expected[0]
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found[3], expected[1])


def test_agents_that_share_an_environment_learn_in_threads_as_alone() -> None:
    def learned(agent: PPO) -> list[dict[str, float]]:
        rows = agent.learn(16, progress=False)
        return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]

    task, coefficients = tiny_gpt2_task(), (0.1, 5.0)
    expected = [
        learned(PPO(make_envs(task, 4), kl_coef=value, episodes_per_update=8))
        for value in coefficients
    ]
    envs = make_envs(task, 4)
    together = [PPO(envs, kl_coef=value, episodes_per_update=8) for value in coefficients]
    assert in_threads([lambda a=agent: learned(a) for agent in together]) == expected
