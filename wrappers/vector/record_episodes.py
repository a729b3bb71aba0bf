"""Episodes on disk, for vector environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv, VectorWrapper

from rlhf_env.mdp.reset_options import row_seeds
from rlhf_env.rollout import Rollout
from wrappers.episode_record import append_episode
from wrappers.episode_tape import Tape
from wrappers.order import token_mdp
from wrappers.record_episodes import record_path
from wrappers.recorded_rollout import record_rollout
from wrappers.vector.row_infos import paid_info, split_info
from wrappers.vector.row_texts import written


class RecordEpisodes(VectorWrapper[Any, Any, Any, Any, Any]):
    """Twin of `wrappers.RecordEpisodes`; the lines stand in the order in which episodes end."""

    def __init__(self, env: VectorEnv[Any, Any, Any], path: str | Path) -> None:
        """Wrap a vector environment; the arguments are those of `wrappers.RecordEpisodes`."""
        self.path = record_path(env, path)
        super().__init__(env)
        self._tapes = [Tape() for _ in range(env.num_envs)]

    def reset(
        self,
        *,
        seed: Any = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Open an episode in every row, or in some."""
        observations, info = self.env.reset(seed=seed, options=options)
        seeds, opened = row_seeds(seed, self.num_envs), info["_prompt_index"].tolist()
        for tape, row_seed, is_opened in zip(self._tapes, seeds, opened, strict=True):
            if is_opened:
                tape.begin(row_seed)
        return observations, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step every row, and write down the episodes that end."""
        transition = self.env.step(actions)
        _, rewards, terminated, truncated, info = transition
        mdp, rows = token_mdp(self.env, "RecordEpisodes"), split_info(info, self.num_envs)
        is_dict = isinstance(actions, dict)
        logprobs = torch.as_tensor(actions["logprob"]).tolist() if is_dict else [None] * len(rows)
        for row, tape in enumerate(self._tapes):
            told = paid_info(rows[row])
            if told is not None:
                tape.record(float(rewards[row]), told, logprobs[row])
            if terminated[row] or truncated[row]:
                prompt, response = written(mdp, row, rows[row])
                episode = tape.episode(mdp.task, prompt, response, bool(terminated[row]))
                append_episode(self.path, episode)
            # A row that took no step has been reset instead.
            if (told is None and rows[row]) or "final_info" in rows[row]:
                tape.begin()
        return transition

    def rollout(self, rollout: Rollout) -> Rollout:
        """Write finished episodes down, and return them as they are."""
        record_rollout(rollout, token_mdp(self.env, "RecordEpisodes").task, self.path)
        return rollout
