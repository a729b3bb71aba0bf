"""The randomness of a rollout: prompts, groups, and the uniform number for each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from rlhf_env.engine.placement import sent
from rlhf_env.vector_env import RLHFVectorEnv

Seed = int | Sequence[int] | None

_ENVIRONMENT_SEEDS = 2**62


class Stream(IntEnum):
    """What an agent's random numbers are for; each draws from (seed, stream, update).

    A resumed run thus needs no generator's state, and evaluation cannot disturb training.
    """

    ROLLOUT = 0
    SHUFFLE = 1
    EVALUATION = 2
    ACTING = 3
    DEMONSTRATIONS = 4
    LABELS = 5
    PREFERENCES = 6
    REFERENCE_PAIRS = 7
    SELECTION = 8
    CRITIC = 9
    CRITIC_PRETRAINING = 10
    REPLAY = 11
    REFERENCE_VALUES = 12


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """The randomness of a rollout, drawn before it."""

    prompts: Sequence[Tensor]
    """The prompt of each of E episodes."""
    prompt_index: Tensor
    """[E] its number in the task; -1 for foreign prompts."""
    group: Tensor
    """[E] episodes with the same number share a prompt draw."""
    uniforms: Tensor | None
    """[E, T] a number in [0, 1) for each token; None under greedy decoding."""
    seeds: Tensor | None = None
    """[E] int64 in [0, 2**31), for a sampler that draws numbers of its own; None likewise."""
    environment_seeds: Sequence[int] | None = None
    """In conversations, the seed of the environment's random numbers in each episode."""

    def uniforms_at(self, episode: Tensor, step: Tensor) -> Tensor | None:
        """Return the uniform numbers at some steps [N] of some episodes [N]."""
        return None if self.uniforms is None else self.uniforms[episode, step]

    def part(self, rows: Tensor) -> SamplingPlan:
        """Return the randomness of some episodes, by their numbers [e]."""
        said = self.environment_seeds
        return replace(
            self,
            prompts=[self.prompts[row] for row in rows.tolist()],
            prompt_index=self.prompt_index[rows],
            group=self.group[rows],
            uniforms=self.uniforms if self.uniforms is None else self.uniforms[rows],
            seeds=self.seeds if self.seeds is None else self.seeds[rows],
            environment_seeds=said and [said[row] for row in rows.tolist()],
        )


def draw_episodes(
    base: RLHFVectorEnv,
    episodes: int,
    group_size: int,
    seed: Seed,
    prompts: Sequence[Tensor] | None,
    *,
    greedy: bool = False,
) -> SamplingPlan:
    """Return the prompts, groups and random numbers of some episodes.

    Args:
        base: its task has the prompts, its horizon is T.
        episodes: how many.
        group_size: consecutive episodes that share a prompt draw.
        seed: of everything; None draws one.
        prompts: use these in turn instead of drawing from the task's.
        greedy: draw prompts, but no random numbers.

    Raises:
        ValueError: if the counts do not fit, or a prompt is empty or too long.
    """
    if episodes % group_size:
        raise ValueError(
            f"group_size must divide episodes = {episodes}, got {group_size}; "
            "every group shares one prompt"
        )
    for prompt in prompts or ():
        if not 1 <= len(prompt) <= base.task.max_prompt_tokens:
            raise ValueError(
                f"prompts must hold 1 to {base.task.max_prompt_tokens} tokens each, "
                f"got one of {len(prompt)}; shorten it, or raise the task's max_prompt_tokens"
            )
    generator = np.random.default_rng(seed)
    groups = episodes // group_size
    if prompts is None:
        count = len(base.task.prompts)
        chosen = generator.choice(count, groups, replace=groups > count)
        source, index = base.task.prompts, np.repeat(chosen, group_size)
    else:
        chosen = np.arange(groups) % len(prompts)
        source, index = prompts, np.full(episodes, -1)
    uniforms = seeds = None
    if not greedy:
        numbers = generator.random((episodes, base.mdp.max_new_tokens), dtype=np.float32)
        uniforms = sent(torch.from_numpy(numbers), base.mdp.device)
        seeds = torch.from_numpy(generator.integers(2**31, size=episodes))
    said = None
    if base.task.respond is not None:
        said = generator.integers(_ENVIRONMENT_SEEDS, size=episodes).tolist()
    return SamplingPlan(
        prompts=[source[i] for i in np.repeat(chosen, group_size).tolist()],
        prompt_index=torch.from_numpy(index),
        group=torch.arange(groups).repeat_interleave(group_size),
        uniforms=uniforms,
        seeds=seeds,
        environment_seeds=said,
    )
