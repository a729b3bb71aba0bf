"""Builds records of episodes from steps."""

from __future__ import annotations

from typing import Any

from rlhf_env.episodes import Episode
from rlhf_env.task import Task
from wrappers.stack.rows import Text


class EpisodeRecorder:
    """Collects the steps of one row's open episode."""

    def __init__(self) -> None:
        """Start with nothing recorded."""
        self.seed: int | None = None
        self._steps: list[dict[str, Any]] = []

    def begin(self, seed: int | None = None) -> None:
        """Forget the steps so far: a new episode has begun.

        Args:
            seed: the seed of the row's reset; None keeps the last one.
        """
        self.seed = self.seed if seed is None else seed
        self._steps = []

    def record(self, reward: float, info: dict[str, Any], logprob: float | None) -> None:
        """Keep a step.

        Args:
            reward: the sum of its terms, as changed by other wrappers, if any.
            info: its info.
            logprob: log pi(a|s), if the action holds it.
        """
        self._steps.append({**info, "reward": reward, "logprob": logprob})

    def episode(self, task: Task, text: Text, terminated: bool) -> Episode:
        """Return the finished episode."""
        prompt, response, is_action = text
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
            is_action=None if is_action.all() else is_action.tolist(),
        )


def action_logprob(action: Any) -> float | None:
    """Return log pi(a|s) if an action holds it."""
    return float(action["logprob"]) if isinstance(action, dict) else None
