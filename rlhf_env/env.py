"""``gym.make("RLHF-v0")``: one episode at a time."""

from __future__ import annotations

import reprlib
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded

from rlhf_env.checks import check_choice, check_number
from rlhf_env.mdp.lock import PicklableRLock
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.mdp.options import make_options
from rlhf_env.mdp.render import ansi
from rlhf_env.mdp.reset_options import check_seed, checked_options, chosen_prompt, draw_prompt
from rlhf_env.mdp.spaces import action_space, observation_space, parse_action
from rlhf_env.mdp.transition import StepResult
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task, task_names

Observation = dict[str, np.ndarray]


class RLHFEnv(gym.Env[Any, Any]):
    """Text generation as a Markov decision process.

    The observation is prompt + prefix, the action the next token; the episode ends with EOS or
    at ``max_new_tokens``. A step pays ``score * [it ends] - kl_coef * kl_t``; both terms are in
    ``info["reward_terms"]``.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> env = gym.make("RLHF-v0", task="toy15")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(0)
        >>> terminated, info["finish_reason"], info["score"]
        (True, 'eos', 0.25)
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self, task: str | Task = "reviews", render_mode: str | None = None, **options: Any
    ) -> None:
        """Make the environment.

        Args:
            task: the name of a registered task, or a `Task`.
            render_mode: None or "ansi".
            **options: the fields of `rlhf_env.mdp.options.Options`.

        Raises:
            ValueError: if an option is unknown or out of range; no model is loaded before.
        """
        checked = make_options(options)
        if render_mode is not None:
            check_choice("render_mode", render_mode, ("ansi",))
        self.render_mode = render_mode
        self.mdp = TokenMDP(make_task(task), checked, 1)
        self.observation_space = observation_space(self.mdp)
        self.action_space = action_space(self.mdp)
        self._steps: list[dict[str, float]] = []
        self._closed = False
        self._lock = PicklableRLock()

    @property
    def task(self) -> Task:
        """The prompts, the reference model and the reward."""
        return self.mdp.task

    @property
    def kl_coef(self) -> float:
        """beta; settable, so that a controller can adapt it."""
        return self.mdp.kl_coef

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        check_number("kl_coef", value, minimum=0.0)
        self.mdp.kl_coef = float(value)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Open an episode.

        Args:
            seed: seeds the environment's generator, from which prompts are drawn.
            options: ``{"prompt_index": i}`` or ``{"prompt": text or ids}`` chooses the prompt.

        Raises:
            ValueError: if the seed or an option cannot be used; nothing has changed then.
        """
        self._check_open()
        chosen = chosen_prompt(self.task, **checked_options(options, ("prompt", "prompt_index")))
        with self._lock:
            super().reset(seed=check_seed(seed))
            prompt, index = chosen or draw_prompt(self.task, self.np_random)
            self.mdp.start(0, prompt, index, self.np_random)
            self._steps = []
            return self._observation(), {"prompt_index": float(index)}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append a token.

        Args:
            action: a token id, or ``{"token": id, "logprob": log pi(a|s)}`` where the action
                space is a Dict.

        Raises:
            ValueError: if the action is not in the action space; no step has been taken then.
            gymnasium.error.ResetNeeded: if no episode is open.
        """
        with self._lock:
            return self._step(action)

    def _step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        self._check_open()
        if not self.mdp.is_open[0]:
            raise ResetNeeded("the episode is over or none has begun; call reset() first")
        token, logprob = parse_action(action, self.mdp)
        result = self.mdp.step(
            torch.tensor([token], device=self.mdp.device),
            None if logprob is None else torch.tensor([logprob], device=self.mdp.device),
            torch.ones(1, dtype=torch.bool, device=self.mdp.device),
        )
        info = self._info(result)
        self._steps.append(info["reward_terms"])
        reward = sum(info["reward_terms"].values())
        ended, truncated = bool(result.ended[0]), bool(result.truncated[0])
        return self._observation(), reward, ended and not truncated, truncated, info

    def evaluate(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with all rewards, as stepping would pay them."""
        return self.mdp.evaluate(rollout)

    def render(self) -> str | None:  # type: ignore[override]
        """Return prompt and prefix as text, each token colored by its reward."""
        if self.render_mode is None:
            return None
        prompt = self.mdp.tokens[0, : self.mdp.prompt_lengths[0]]
        return ansi(self.task, prompt, self.mdp.history(0), self.mdp.is_action(0), self._steps)

    def close(self) -> None:
        """Drop the caches; a closed environment cannot be used again."""
        self.mdp.reference.engine.reset_cache()
        self._closed = True

    def _observation(self) -> Observation:
        return {
            "input_ids": self.mdp.tokens[0].cpu().numpy().copy(),
            "attention_mask": self.mdp.attention_mask[0].cpu().numpy().astype(np.int8),
        }

    def _info(self, result: StepResult) -> dict[str, Any]:
        info: dict[str, Any] = {
            "ref_logprob": float(result.ref_logprobs[0]),
            "reward_terms": {
                "score": float(result.score_term[0]),
                "kl": float(result.kl_penalty[0]),
            },
        }
        if result.turn is not None:
            info["turn"] = float(result.turn[0])
        if result.ended[0]:
            info["score"] = float(result.score[0])
            info["finish_reason"] = result.finish_reason[0]
            info["response_length"] = float(self.mdp.response_lengths[0])
            info["prompt_index"] = float(self.mdp.prompt_index[0])
        return info

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the environment is closed; make a new one")


def make_task(task: str | Task) -> Task:
    """Return the task itself, or load the task of that name.

    Raises:
        ValueError: if it is neither a task nor the name of one.
    """
    if isinstance(task, str):
        return load_task(task)
    if not isinstance(task, Task):
        raise ValueError(
            f"task must be a Task or one of the names {task_names()}, got {reprlib.repr(task)}"
        )
    return task
