"""Episodes on disk, and stepping them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from rlhf_env.rollout import Rollout
from wrappers.episode_record import Episode, append_episode, read_episodes
from wrappers.episode_tape import Tape
from wrappers.order import check_token_steps, token_mdp
from wrappers.recorded_rollout import record_rollout
from wrappers.replayed import carried_logprob, replay

__all__ = ["Episode", "RecordEpisodes", "read_episodes", "replay"]


class RecordEpisodes(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Append a line of JSON to a file whenever an episode finishes; `Episode` names its fields.

    It records what the wrapped environment pays, so put it outside of wrappers that pay rewards.
    No file stays open between lines. Episodes that are left before their end are not recorded.

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
            path: the file; what it holds already is kept.

        Raises:
            ValueError: if the folder does not exist, or the order of wrappers makes no sense.
        """
        self.path = record_path(env, path)
        RecordConstructorArgs.__init__(self, path=str(path))
        gym.Wrapper.__init__(self, env)
        self._tape = Tape()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Open an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._tape.begin(seed)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and write the episode down if it ends."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._tape.record(float(reward), info, carried_logprob(action))
        if terminated or truncated:
            mdp = token_mdp(self.env, "RecordEpisodes")
            prompt = mdp.tokens[0, : mdp.prompt_lengths[0]]
            episode = self._tape.episode(mdp.task, prompt, mdp.response(0), terminated)
            append_episode(self.path, episode)
        return observation, float(reward), terminated, truncated, info

    def rollout(self, rollout: Rollout) -> Rollout:
        """Write finished episodes down, and return them as they are."""
        record_rollout(rollout, token_mdp(self.env, "RecordEpisodes").task, self.path)
        return rollout


def record_path(env: Any, path: str | Path) -> Path:
    """Return the file that a recorder around ``env`` may write.

    Raises:
        TypeError: if ``env`` is not an ``RLHF-v0``.
        ValueError: if the folder does not exist, or the steps are not single tokens.
    """
    token_mdp(env, "RecordEpisodes")
    check_token_steps(env, "RecordEpisodes")
    file = Path(path)
    if not file.parent.is_dir() or file.is_dir():
        raise ValueError(f"path must be a file in an existing folder, got {str(path)!r}")
    return file
