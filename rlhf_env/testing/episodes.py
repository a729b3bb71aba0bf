"""Responses to score and episodes to step, drawn with generators of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlhf_env.task import Task
from rlhf_env.testing.claims import NotApplicable

# Tokens that a drawn response has at most: checks are to be quick at any horizon.
LONGEST = 12


def reference_logits(task: Task, rows: list[Tensor], width: int | None = None) -> Tensor:
    """Return the reference's logits on padded rows of token ids, [B, width, V]."""
    width = max(map(len, rows)) if width is None else width
    device = next(task.reference.parameters()).device
    tokens = torch.full((len(rows), width), task.pad_id)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    with torch.no_grad():
        answer = task.reference(
            input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False
        )
    return answer.logits[..., : task.vocab_size].float().cpu()


def drawn_responses(task: Task, count: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Return prompts of a task and responses that its reference draws, ``count`` of each."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [task.prompts[row % len(task.prompts)] for row in range(count)]
    texts, is_open = list(prompts), [True] * count
    for _ in range(min(task.max_new_tokens, LONGEST)):
        rows = [row for row in range(count) if is_open[row]]
        if not rows:
            break
        logits = reference_logits(task, [texts[row] for row in rows])
        for place, row in enumerate(rows):
            probabilities = logits[place, len(texts[row]) - 1].softmax(0)
            token = torch.multinomial(probabilities, 1, generator=generator)
            texts[row] = torch.cat([texts[row], token])
            is_open[row] = int(token) != task.eos_id
    return prompts, [text[len(prompt) :] for prompt, text in zip(prompts, texts, strict=True)]


@dataclass(frozen=True)
class Step:
    """What one step returned."""

    action: Any
    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return bool(self.terminated) or bool(self.truncated)


def play(
    env: gym.Env[Any, Any], seed: int, actions: list[Any] | None = None
) -> tuple[Any, dict[str, Any], list[Step]]:
    """Play one episode and return its first observation, its first info and its steps.

    Args:
        env: any environment.
        seed: of the reset, and of the actions.
        actions: to take; random ones of the action space by default.
    """
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    steps: list[Step] = []
    while not (steps and steps[-1].ended) and len(steps) < 1_000:
        if actions is not None and len(steps) == len(actions):
            break
        action = env.action_space.sample() if actions is None else actions[len(steps)]
        steps.append(Step(action, *env.step(action)))
    return observation, info, steps


def equal(left: Any, right: Any) -> bool:
    """Return whether two observations, infos or actions are bit-equal."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, Tensor):
        left, right = left.numpy(), torch.as_tensor(right).numpy()
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
    return bool(left == right)


def arrays(value: Any) -> list[np.ndarray]:
    """Return all arrays in an observation or an info."""
    if isinstance(value, dict):
        return [found for part in value.values() for found in arrays(part)]
    return [value] if isinstance(value, np.ndarray) else []


def token_space(env: gym.Env[Any, Any]) -> gym.spaces.Discrete:
    """Return the action space of an environment whose actions are numbers.

    Raises:
        NotApplicable: if they are something else.
    """
    space = env.action_space
    if not isinstance(space, gym.spaces.Discrete):
        raise NotApplicable(f"its actions are of {type(space).__name__}")
    return space
