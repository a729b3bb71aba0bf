"""What has happened in one row since its episode began."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlhf_env.task import Task
from wrappers.episode_record import Episode


class Tape:
    """The steps of one open episode."""

    def __init__(self) -> None:
        """Begin with nothing recorded."""
        self.seed: int | None = None
        self._steps: list[dict[str, Any]] = []

    def begin(self, seed: int | None = None) -> None:
        """Forget the steps so far: a new episode has begun.

        Args:
            seed: what the row was reset with; None keeps the last one.
        """
        self.seed = self.seed if seed is None else seed
        self._steps = []

    def record(self, reward: float, info: dict[str, Any], logprob: float | None) -> None:
        """Keep what a step paid.

        Args:
            reward: the sum of its terms, and whatever foreign wrappers made of it.
            info: what was told of it.
            logprob: log pi(a|s), if the action carried it.
        """
        self._steps.append({**info, "reward": reward, "logprob": logprob})

    def episode(self, task: Task, prompt: Tensor, response: Tensor, terminated: bool) -> Episode:
        """Return the finished episode."""
        last = self._steps[-1]
        logprobs = [step["logprob"] for step in self._steps]
        return Episode(
            prompt_ids=prompt.tolist(),
            response_ids=response.tolist(),
            prompt=task.decode(prompt),
            text=task.decode(response),
            rewards=[step["reward"] for step in self._steps],
            reward_terms={
                name: [step["reward_terms"][name] for step in self._steps]
                for name in last["reward_terms"]
            },
            ref_logprobs=[step["ref_logprob"] for step in self._steps],
            logprobs=None if None in logprobs else logprobs,
            score=last["score"],
            finish_reason=last["finish_reason"],
            terminated=terminated,
            prompt_index=int(last["prompt_index"]),
            seed=self.seed,
        )
