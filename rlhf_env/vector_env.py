"""``gym.make_vec("RLHF-v0", num_envs=N)``: N episodes that share models and cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from rlhf_env.checks import check_choice, check_count, check_number
from rlhf_env.env import make_task
from rlhf_env.mdp.lock import PicklableRLock
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.mdp.options import Options, make_options
from rlhf_env.mdp.render import ansi
from rlhf_env.mdp.reset_options import (
    checked_mask,
    checked_options,
    chosen_prompt,
    draw_prompt,
    per_row,
    row_seeds,
)
from rlhf_env.mdp.spaces import action_space, observation_space, parse_actions
from rlhf_env.mdp.transition import StepResult
from rlhf_env.mdp.vector_info import merge, reset_info, step_info
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task


class RLHFVectorEnv(VectorEnv[Any, Any, Any]):
    """N rows of `rlhf_env.env.RLHFEnv` that share one reference, one reward model and one KV cache.

    Row i of it does what a single environment seeded with ``seed + i`` does.
    """

    # Every environment has its own, with its autoreset mode in it.
    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        task: str | Task = "reviews",
        *,
        tensors: str = "numpy",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **options: Any,
    ) -> None:
        """Make the rows.

        Args:
            num_envs: N.
            task: the name of a registered task, or a `Task`.
            tensors: "numpy", or "torch": observations, rewards and flags stay on the device.
            autoreset_mode: one of Gymnasium's three modes.
            render_mode: None or "ansi".
            max_episode_steps: truncates longer episodes, which then have no score, as Gymnasium's
                ``TimeLimit`` does: a shorter ``max_new_tokens`` with ``length_limit="bootstrap"``.
            **options: the fields of `rlhf_env.mdp.options.Options`.

        Raises:
            ValueError: if an option is unknown or out of range; no model is loaded before.
        """
        check_count("num_envs", num_envs)
        check_choice("tensors", tensors, ("numpy", "torch"))
        modes = tuple(mode.value for mode in AutoresetMode)
        check_choice("autoreset_mode", getattr(autoreset_mode, "value", autoreset_mode), modes)
        checked = make_options(options)
        if max_episode_steps is not None:
            check_count("max_episode_steps", max_episode_steps)
        if render_mode is not None:
            check_choice("render_mode", render_mode, ("ansi",))
        self.render_mode = render_mode
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self._tensors = tensors
        loaded = make_task(task)
        self.mdp = TokenMDP(loaded, _limited(checked, loaded, max_episode_steps), num_envs)
        self.single_observation_space = observation_space(self.mdp)
        self.single_action_space = action_space(self.mdp)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        generators = [seeding.np_random() for _ in range(num_envs)]
        self._generators = [generator for generator, _ in generators]
        self._seeds = [seed for _, seed in generators]
        self._started = torch.zeros(num_envs, dtype=torch.bool, device=self.mdp.device)
        self._paused = torch.zeros_like(self._started)
        self._steps: list[list[dict[str, float]]] = [[] for _ in range(num_envs)]
        self._lock = PicklableRLock()

    @property
    def task(self) -> Task:
        """The prompts, the reference model and the reward."""
        return self.mdp.task

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each row's generator, as of Gymnasium's own vector environments."""
        return tuple(self._seeds)

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator, from which its prompts are drawn."""
        return tuple(self._generators)

    @property
    def kl_coef(self) -> float:
        """beta; settable, so that a controller can adapt it."""
        return self.mdp.kl_coef

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        check_number("kl_coef", value, minimum=0.0)
        self.mdp.kl_coef = float(value)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Open an episode in every row, or in some.

        Args:
            seed: an integer s seeds row i with s + i; a list seeds each row.
            options: ``"reset_mask"`` ([N] bool) chooses rows; ``"prompt_index"`` or ``"prompt"``
                is one value for all of them or a list of N.

        Raises:
            ValueError: if the seed or an option cannot be used; no row has changed then.
        """
        self._check_usable()
        seeds = row_seeds(seed, self.num_envs)
        given = checked_options(options, ("reset_mask", "prompt", "prompt_index"))
        mask = checked_mask(given.pop("reset_mask", None), self.num_envs)
        values = {name: per_row(name, value, self.num_envs) for name, value in given.items()}
        rows = mask.nonzero()[0].tolist()
        chosen = [self._chosen(row, values) for row in rows]
        with self._lock:
            for row, start in zip(rows, chosen, strict=True):
                if seeds[row] is not None:
                    self._generators[row], self._seeds[row] = seeding.np_random(seeds[row])
                self._start(row, *(start or draw_prompt(self.task, self._generators[row])))
            opened = torch.as_tensor(mask, device=self.mdp.device)
            return self._observation(), reset_info(self.mdp, opened, self._out)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Append a token in every row whose episode is open.

        Under NEXT_STEP a row whose episode has ended is reset instead, is paid 0 and ignores its
        action; under SAME_STEP it is reset at once and its last observation and info are
        ``info["final_obs"]`` and ``info["final_info"]``; under DISABLED it must be reset by
        ``reset_mask`` before.

        Raises:
            ValueError: if the actions are not in the action space; no row has changed then.
            gymnasium.error.ResetNeeded: if a row has no open episode and no reset is pending.
        """
        with self._lock:
            return self._step(actions)

    def _step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self._check_usable()
        rows = self.mdp.is_open & ~self._paused
        pending = self._pending_reset(self.mdp.is_open | self._paused)
        tokens, logprobs = parse_actions(actions, rows, self.mdp)
        result = self.mdp.step(tokens, logprobs, rows)
        self._remember_terms(result, rows)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and result.ended.any():
            final = {
                "final_obs": self._final_observations(result.ended),
                "_final_obs": self._out(result.ended),
                "final_info": step_info(self.mdp, result, result.ended, self._out),
                "_final_info": self._out(result.ended),
            }
            self._restart(result.ended)
            info = step_info(self.mdp, result, rows & ~result.ended, self._out)
            info = merge(info, reset_info(self.mdp, result.ended, self._out)) | final
        else:
            info = step_info(self.mdp, result, rows, self._out)
            if pending.any():
                self._restart(pending)
                info = merge(info, reset_info(self.mdp, pending, self._out))
        return (
            self._observation(),
            self._out(result.score_term.double() + result.kl_penalty.double()),
            self._out(result.ended & ~result.truncated),
            self._out(result.truncated),
            info,
        )

    @contextmanager
    def paused(self, rows: Tensor) -> Iterator[None]:
        """Let some rows sit out the steps taken inside: they neither act nor are reset.

        Args:
            rows: [N] bool, the rows that sit out; they pay 0 and have no info.
        """
        self._paused = rows.to(self.mdp.device)
        try:
            yield
        finally:
            self._paused = torch.zeros_like(self._started)

    @contextmanager
    def overridden(
        self, *, kl_coef: float | None = None, temperature: float | None = None
    ) -> Iterator[None]:
        """Pay with another coefficient and at another temperature inside; other threads wait.

        Args:
            kl_coef: beta; the environment's own when None.
            temperature: divides the logits of the reference; the present one when None.
        """
        with self._lock:
            former = self.mdp.kl_coef, self.mdp.temperature
            if kl_coef is not None:
                self.kl_coef = kl_coef
            if temperature is not None:
                self.mdp.temperature = temperature
            try:
                yield
            finally:
                self.mdp.kl_coef, self.mdp.temperature = former

    def evaluate(self, rollout: Rollout) -> Rollout:
        """Return finished episodes with all rewards, as stepping would pay them."""
        return self.mdp.evaluate(rollout)

    def render(self) -> tuple[str, ...] | None:
        """Return each row's prompt and prefix as text, tokens colored by what they were paid."""
        if self.render_mode is None:
            return None
        mdp = self.mdp
        prompts = [mdp.tokens[row, : mdp.prompt_lengths[row]] for row in range(self.num_envs)]
        return tuple(
            ansi(self.task, prompt, mdp.history(row), mdp.is_action(row), self._steps[row])
            for row, prompt in enumerate(prompts)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Drop the caches."""
        # Gymnasium 1.2 also closes what the constructor refused, when it is garbage.
        if "mdp" in vars(self):
            self.mdp.reference.engine.reset_cache()

    def _pending_reset(self, is_open: Tensor) -> Tensor:
        """[N] bool, the rows that NEXT_STEP resets now; every other row must be open."""
        pending = ~is_open & self._started
        if self.autoreset_mode != AutoresetMode.NEXT_STEP:
            pending = torch.zeros_like(pending)
        if not (is_open | pending).all():
            row = int((~(is_open | pending)).nonzero()[0])
            raise ResetNeeded(f"row {row} has no open episode; call reset() for it first")
        return pending

    def _restart(self, rows: Tensor) -> None:
        for row in rows.nonzero().flatten().tolist():
            self._start(row, *draw_prompt(self.task, self._generators[row]))

    def _start(self, row: int, prompt: Tensor, index: int) -> None:
        self.mdp.start(row, prompt, index, self._generators[row])
        self._started[row] = True
        self._steps[row] = []

    def _chosen(self, row: int, values: dict[str, list[Any]]) -> tuple[Tensor, int] | None:
        return chosen_prompt(self.task, **{name: column[row] for name, column in values.items()})

    def _observation(self) -> dict[str, Any]:
        mask = self.mdp.attention_mask.to(torch.int8)
        return {"input_ids": self._out(self.mdp.tokens), "attention_mask": self._out(mask)}

    def _final_observations(self, rows: Tensor) -> np.ndarray:
        final = np.full(self.num_envs, None, dtype=object)
        observation = self._observation()
        for row in rows.nonzero().flatten().tolist():
            final[row] = {
                name: array[row].copy() if self._tensors == "numpy" else array[row]
                for name, array in observation.items()
            }
        return final

    def _out(self, tensor: Tensor) -> Any:
        """Return a fresh array of the requested kind."""
        return tensor.clone() if self._tensors == "torch" else tensor.cpu().numpy().copy()

    def _remember_terms(self, result: StepResult, rows: Tensor) -> None:
        if self.render_mode is None:
            return
        for row in rows.nonzero().flatten().tolist():
            terms = {"score": float(result.score_term[row]), "kl": float(result.kl_penalty[row])}
            self._steps[row].append(terms)

    def _check_usable(self) -> None:
        if self.closed:
            raise ValueError("the environment is closed; make a new one")


def _limited(options: Options, task: Task, max_steps: int | None) -> Options:
    """Return the options under which an episode is truncated after so many steps."""
    horizon = task.max_new_tokens if options.max_new_tokens is None else options.max_new_tokens
    if max_steps is None or max_steps >= horizon:
        return options
    return replace(options, max_new_tokens=max_steps, length_limit="bootstrap")
