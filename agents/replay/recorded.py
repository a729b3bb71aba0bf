"""The methods by which a buffer is read from recorded episodes, and written as such."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.replay.episodes import rollout_of_episodes
from agents.replay.minari_data import minari_episodes, write_minari
from agents.replay.rows import copied, narrowed
from agents.rollouts.collect import base_environment
from rlhf_env.episodes import Episode, read_episodes, rollout_episodes, write_episodes
from rlhf_env.rollout import Rollout


class Recorded(ABC):
    """Reads and writes the episodes of the buffer that it is a base of."""

    @property
    @abstractmethod
    def episodes(self) -> Rollout | None:
        """All stored episodes."""

    @abstractmethod
    def put(self, episodes: Rollout | None, born: Tensor) -> None:
        """Have these episodes in place of those stored."""

    @classmethod
    def from_episodes(
        cls,
        path: str | Path,
        envs: VectorEnv[Any, Any, Any],
        *,
        group_size: int = 1,
        scores: str = "task",
        temperature: float | None = None,
        **settings: Any,
    ) -> Self:
        """Return a buffer with the episodes of a file that `wrappers.RecordEpisodes` wrote.

        Args:
            path: the file.
            envs: the agent's environment, which pays the episodes: see `agents.replay.episodes`.
            group_size: of an agent that compares responses to a prompt.
            scores: "task", or "recorded" for those in the file.
            temperature: the agent's, where it is not the environment's.
            **settings: of the buffer. By default it is an offline one (``ratio=math.inf``) with
                room for all of them; they count as made before the first update.

        Raises:
            ValueError: if the file or one of its episodes cannot be used.
        """
        if not Path(path).is_file():
            raise ValueError(f"path must be a file of recorded episodes, got {str(path)!r}")
        paid = {"group_size": group_size, "scores": scores, "temperature": temperature}
        return cls._holding(list(read_episodes(path)), envs, str(path), paid, settings)

    @classmethod
    def from_minari(
        cls,
        dataset: Any,
        envs: VectorEnv[Any, Any, Any],
        *,
        group_size: int = 1,
        scores: str = "task",
        temperature: float | None = None,
        **settings: Any,
    ) -> Self:
        """Return a buffer with the episodes of a Minari data set of ``RLHF-v0``.

        Args:
            dataset: a ``MinariDataset``, or the name of one on this machine, which needs
                ``rlhf-env[minari]``.
            envs: as in `from_episodes`.
            group_size: likewise.
            scores: likewise; "recorded" are those in its infos.
            temperature: likewise.
            **settings: likewise.

        Raises:
            ValueError: likewise.
        """
        found = list(minari_episodes(dataset, base_environment(envs)))
        paid = {"group_size": group_size, "scores": scores, "temperature": temperature}
        return cls._holding(found, envs, "the data set", paid, settings)

    def write_episodes(self, path: str | Path, envs: VectorEnv[Any, Any, Any]) -> None:
        """Write all stored episodes to a file that `from_episodes` reads.

        Args:
            path: a new file.
            envs: whose task decodes the ids.

        Raises:
            ValueError: if there is such a file, or nothing to write.
        """
        target = Path(path)
        if target.exists() or not target.parent.is_dir():
            raise ValueError(
                f"path must be a new file in a folder that is there, got {str(path)!r}; choose "
                "another"
            )
        stored = self._all_to(str(path))
        write_episodes(target, rollout_episodes(stored, base_environment(envs).task))

    def write_minari(self, name: str, envs: VectorEnv[Any, Any, Any], **described: Any) -> Any:
        """Write all stored episodes as a Minari data set that `from_minari` reads, and return it.

        Args:
            name: of the data set, such as "rlhf/toy15-v0".
            envs: whose spaces it gets.
            **described: of ``minari.create_dataset_from_buffers``, such as ``author``.

        Raises:
            ValueError: if there is nothing to write, or a data set of that name.
        """
        return write_minari(self._all_to(name), base_environment(envs), name, **described)

    def _all_to(self, target: str) -> Rollout:
        if self.episodes is None:
            raise ValueError(f"the replay is empty, so there is nothing to write to {target!r}")
        return self.episodes

    @classmethod
    def _holding(
        cls,
        episodes: list[Episode],
        envs: VectorEnv[Any, Any, Any],
        source: str,
        paid: dict[str, Any],
        settings: dict[str, Any],
    ) -> Self:
        rollout = rollout_of_episodes(episodes, envs, **paid, source=source)
        replay = cls(**{"capacity": len(rollout), "ratio": math.inf, **settings})
        replay.put(copied(narrowed(rollout)), torch.zeros(len(rollout), dtype=torch.int64))
        return replay
