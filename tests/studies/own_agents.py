"""Agents of one's own, as a command line names them: ``tests.studies.own_agents:Uniform``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import agents


class Uniform:
    """It chooses every token of toy15 with the same probability, whatever it is paid."""

    def __init__(self, envs: Any, *, gamma: float, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        count = len(observation["input_ids"])
        return self.generator.integers(3, size=count), np.full(count, -1.0986123)

    def update(self, rollout: Any) -> dict[str, float]:
        return {}


class Telling(Uniform):
    """The same, and it says its probabilities."""

    def token_probabilities(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.full((len(tokens), 3), 1 / 3)


class OpenPPO(agents.PPO):
    """A subclass whose constructor hands everything on."""

    def __init__(self, envs: Any, **kwargs: Any) -> None:
        super().__init__(envs, **kwargs)


class Demanding(Uniform):
    """It wants something that no grid knows."""

    def __init__(self, envs: Any, table: str, *, gamma: float, seed: int) -> None:
        super().__init__(envs, gamma=gamma, seed=seed)


class NoUpdate:
    """It cannot learn."""

    def __init__(self, envs: Any, *, gamma: float, seed: int) -> None:
        pass

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def make_by_name_only(*, envs: Any, gamma: float, seed: int) -> Uniform:
    """Return an agent, if the environments are named."""
    return Uniform(envs, gamma=gamma, seed=seed)


class Leaning(Uniform):
    """It leans to the tokens that it was paid for, and can be saved."""

    def __init__(self, envs: Any, *, gamma: float, seed: int) -> None:
        super().__init__(envs, gamma=gamma, seed=seed)
        self.counts, self.updates = np.ones(3), 0

    def act(self, observation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        share = self.counts / self.counts.sum()
        tokens = self.generator.choice(3, size=len(observation["input_ids"]), p=share)
        return tokens, np.log(share[tokens])

    def update(self, rollout: Any) -> dict[str, float]:
        best = int(rollout.score.argmax())
        self.counts += np.bincount(rollout.responses()[best].numpy(), minlength=3)
        self.updates += 1
        return {"leaning": float(self.counts.max() / self.counts.sum())}

    def save(self, path: Path) -> None:
        path.mkdir()
        state = [self.counts.tolist(), self.updates, self.generator.bit_generator.state]
        (path / "leaning.json").write_text(json.dumps(state))

    def restore(self, path: Path) -> None:
        counts, self.updates, state = json.loads((path / "leaning.json").read_text())
        self.counts, self.generator.bit_generator.state = np.array(counts), state
