"""A task as an environment of TRL's GRPO trainer, whose model says turns by calling a tool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlhf_env.env import RLHFEnv, make_task
from rlhf_env.mdp.options import make_options
from rlhf_env.task import Task
from wrappers.turns.turn_text import TurnText


class Conversation:
    """One rollout of a task: TRL resets it, the model calls `say`, TRL asks for the reward.

    The answers are the task's; the tokens around them are those of the model's chat template, and
    TRL's, which learns from them, is not our rollout.
    """

    def __init__(self, env: TurnText) -> None:
        """Converse in an environment that no other rollout uses."""
        self._env = env
        self._is_over, self._return = True, 0.0

    def reset(self, seed: int = 0, prompt_index: int | None = None, **row: Any) -> str:
        """Start an episode, and return its prompt.

        Args:
            seed: of the row of the data set; rollouts of one group are copies of a row, and so
                have the same prompt and the same chance.
            prompt_index: likewise; it chooses the prompt where it is given.
            row: other columns, which are ignored.
        """
        options = None if prompt_index is None else {"prompt_index": prompt_index}
        prompt, _ = self._env.reset(seed=seed, options=options)
        self._is_over, self._return = False, 0.0
        return prompt

    def say(self, text: str) -> str:
        """Say something in the conversation, and read the answer.

        Args:
            text: What to say.

        Returns:
            The answer.
        """
        if self._is_over:
            raise ValueError("the conversation is over")
        answer, reward, terminated, truncated, _ = self._env.step(text)
        self._return += float(reward)
        self._is_over = terminated or truncated
        return "The conversation is over." if self._is_over else answer

    def get_reward(self) -> float:
        """Return the sum of the rewards; the task scores no conversation that was broken off."""
        return self._return


def trl_environment(task: str | Task, **options: Any) -> Callable[[], Conversation]:
    """Return what ``trl.GRPOTrainer(environment_factory=...)`` takes.

    The rows of ``train_dataset`` hold a ``prompt``, to whose last message the task's prompt is
    added, and a ``seed`` or a ``prompt_index``. The model's chat template must know tools.

    Args:
        task: a `Task`, or the name of one.
        options: of ``gym.make("RLHF-v0")``; TRL has a KL penalty of its own, so ``kl_coef`` is 0
            here unless it is given.

    Raises:
        ValueError: if an option cannot be used.
    """
    given = {"kl_coef": 0.0, **options}
    make_options(given)
    loaded = make_task(task)
    return lambda: Conversation(TurnText(RLHFEnv(loaded, **given)))
