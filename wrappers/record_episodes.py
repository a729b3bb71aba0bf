"""Episodes on disk, and how to step them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from rlhf_env.episodes import Episode, append_episode, read_episodes, rollout_episodes
from rlhf_env.mdp.reset_options import row_seeds
from rlhf_env.rollout import Rollout
from wrappers.recording.recorder import EpisodeRecorder, action_logprob
from wrappers.recording.replay import replay
from wrappers.stack.order import TOKEN_STEPS, check_order, token_mdp
from wrappers.stack.rows import open_text, row_text, split_info, step_info
from wrappers.stack.vector_base import VectorBase

__all__ = ["Episode", "RecordEpisodes", "VectorRecordEpisodes", "read_episodes", "replay"]


class RecordEpisodes(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Append a line of JSON to a file whenever an episode finishes; its fields are `Episode`'s.

    The rewards are those of the wrapped environment, so put it outside of wrappers that change
    them. No file stays open between lines. Unfinished episodes are not recorded.

    Example:
        >>> import gymnasium as gym, pathlib, rlhf_env, tempfile
        >>> from wrappers import RecordEpisodes
        >>> from wrappers.record_episodes import replay
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "episodes.jsonl"
        >>> env = RecordEpisodes(gym.make("RLHF-v0", task="toy15"), path)
        >>> _ = env.reset(seed=0)
        >>> for token in (1, 2, 0):
        ...     _ = env.step(token)
        >>> [episode.score for episode in replay(path, gym.make("RLHF-v0", task="toy15"))]
        [0.75]
    """

    def __init__(self, env: gym.Env[Any, Any], path: str | Path) -> None:
        """Wrap an environment.

        Args:
            env: an ``RLHF-v0`` whose steps are single tokens.
            path: the file; lines already in it are kept.

        Raises:
            ValueError: if the folder does not exist, or the order of wrappers makes no sense.
        """
        self.path = record_path(env, path)
        RecordConstructorArgs.__init__(self, path=str(path))
        gym.Wrapper.__init__(self, env)
        self._recorder = EpisodeRecorder()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._recorder.begin(seed)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step, and write the episode to the file if it ends."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._recorder.record(float(reward), info, action_logprob(action))
        if terminated or truncated:
            mdp = token_mdp(self.env)
            episode = self._recorder.episode(mdp.task, open_text(mdp, 0), terminated)
            append_episode(self.path, episode)
        return observation, float(reward), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Write finished episodes to the file, and return them unchanged."""
        for episode in rollout_episodes(rollout, token_mdp(self.env).task):
            append_episode(self.path, episode)
        return rollout


class VectorRecordEpisodes(VectorBase, RecordConstructorArgs):
    """Vector version of `RecordEpisodes`; the lines are in the order in which episodes end.

    Example:
        >>> import gymnasium as gym, numpy as np, pathlib, rlhf_env, tempfile
        >>> from wrappers.record_episodes import read_episodes
        >>> from wrappers.vector import RecordEpisodes
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "episodes.jsonl"
        >>> envs = RecordEpisodes(gym.make_vec("RLHF-v0", num_envs=2, task="toy15"), path)
        >>> _ = envs.reset(seed=0)
        >>> for tokens in ([1, 1], [2, 0], [0, 0]):
        ...     _ = envs.step(np.array(tokens))
        >>> [episode.response_ids for episode in read_episodes(path)]
        [[1, 0], [1, 2, 0]]
    """

    # They are written to one file, in their order.
    treats_episodes_apart = False

    def __init__(self, env: VectorEnv[Any, Any, Any], path: str | Path) -> None:
        """Wrap a vector environment.

        Args:
            env: ``gym.make_vec("RLHF-v0")`` whose steps are single tokens.
            path: the file; lines already in it are kept.

        Raises:
            ValueError: if the folder does not exist, or the order of wrappers makes no sense.
        """
        self.path = record_path(env, path)
        RecordConstructorArgs.__init__(self, path=str(path))
        super().__init__(env)
        self._recorders = [EpisodeRecorder() for _ in range(env.num_envs)]

    def reset(
        self,
        *,
        seed: Any = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in all rows, or in some."""
        observations, info = self.env.reset(seed=seed, options=options)
        seeds, is_reset = row_seeds(seed, self.num_envs), info["_prompt_index"].tolist()
        for recorder, row_seed, is_new in zip(self._recorders, seeds, is_reset, strict=True):
            if is_new:
                recorder.begin(row_seed)
        return observations, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every row, and write the episodes that end to the file.

        Returns:
            Observations, rewards [N], terminated [N], truncated [N], info.
        """
        transition = self.env.step(actions)
        _, rewards, terminated, truncated, info = transition
        mdp, rows = token_mdp(self.env), split_info(info, self.num_envs)
        is_dict = isinstance(actions, dict)
        logprobs = torch.as_tensor(actions["logprob"]).tolist() if is_dict else [None] * len(rows)
        for row, recorder in enumerate(self._recorders):
            own = step_info(rows[row])
            if own is not None:
                recorder.record(float(rewards[row]), own, logprobs[row])
            if terminated[row] or truncated[row]:
                text = row_text(mdp, row, rows[row])
                episode = recorder.episode(mdp.task, text, bool(terminated[row]))
                append_episode(self.path, episode)
            # A row that took no step was reset instead.
            if (own is None and rows[row]) or "final_info" in rows[row]:
                recorder.begin()
        return transition

    def rollout(self, rollout: Rollout) -> Rollout:
        """Write finished episodes to the file, and return them unchanged."""
        for episode in rollout_episodes(rollout, token_mdp(self.env).task):
            append_episode(self.path, episode)
        return rollout


def record_path(env: Any, path: str | Path) -> Path:
    """Return the file of a recorder around ``env``.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if the folder does not exist, or the steps are not single tokens.
    """
    check_order(env, "RecordEpisodes", TOKEN_STEPS)
    file = Path(path)
    if not file.parent.is_dir() or file.is_dir():
        raise ValueError(f"path must be a file in an existing folder, got {str(path)!r}")
    return file
