"""Checkpoints: a folder of safetensors and JSON that is either complete or absent.

No pickle is written or read. A folder counts only with a manifest whose checksums agree; the
manifest is written last, and the folder gets its name when all of it is on disk.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from agents.algorithm import StatefulAlgorithm
from agents.config import AgentConfig
from agents.policy import Policy
from agents.processes.exchange import check_same, on_first
from agents.processes.group import count
from agents.replay.buffer import Replay
from agents.samplers.sampling import EpisodeSampling
from agents.settings.agent import upgraded_settings
from agents.settings.best_of_n import BestOfNConfig
from agents.training.checkpoints.checkpoint_files import (
    FILES,
    MANIFEST,
    REPLAY_FILE,
    find_corruption,
    load_tensors,
    save_tensors,
    sync,
    unreadable,
    write_manifest,
)
from agents.training.checkpoints.checkpoint_notes import write_notes
from agents.training.checkpoints.folder import bring_back, check_replaceable, write_folder
from agents.training.checkpoints.optimizer_state import optimizer_state, restore_optimizer
from agents.training.checkpoints.replay_file import read_replay, saved_replay, write_replay
from agents.training.checkpoints.weights_digest import weights_digest
from agents.training.learner import Learner
from rlhf_env.files import read_json, write_atomically
from rlhf_env.vector_env import RLHFVectorEnv


@runtime_checkable
class SavedAgent(Protocol):
    """The parts of an agent that a checkpoint holds."""

    policy: Policy
    base: RLHFVectorEnv
    updates: int
    episodes: int

    @property
    def kl_coef(self) -> float:
        """Beta of its next rollout."""
        ...

    @kl_coef.setter
    def kl_coef(self, value: float) -> None: ...

    @property
    def config(self) -> AgentConfig | BestOfNConfig:
        """Its settings."""
        ...

    @property
    def learner(self) -> Learner | None:
        """Its learner; None for an agent that does not learn."""
        ...


def save_checkpoint(agent: SavedAgent, path: Path) -> None:
    """Write an agent into a folder; a checkpoint of that name is replaced when all is written.

    Of several processes all must call it; the first writes, and the others wait.

    Raises:
        ValueError: if something else has that name, the folder cannot be created, the policy's
            outputs are not finite, or processes have come to have different weights; nothing is
            written then.
    """
    if count() > 1:
        digest = weights_digest(_saved_weights(agent).items())
        advice = "nothing was saved: use machines and libraries of one kind, and the same files"
        check_same(f"the policy after update {agent.updates}", digest, advice)
    on_first(lambda: _save(agent, path))


def _save(agent: SavedAgent, path: Path) -> None:
    check_replaceable(path)
    _check_sound(agent)
    write_folder(path, lambda partial: _write_files(agent, partial))


def _write_files(agent: SavedAgent, partial: Path) -> None:
    learner = agent.learner
    tensors, scalars = optimizer_state(learner.optimizer) if learner else ({}, {})
    policy = {name: p.detach().contiguous() for name, p in _saved_weights(agent).items()}
    save_tensors(policy, partial / "policy.safetensors")
    save_tensors(tensors, partial / "optimizer.safetensors")
    state = {
        "agent": type(agent).__name__,
        "config": asdict(agent.config),
        "updates": agent.updates,
        "episodes": agent.episodes,
        "kl_coef": agent.kl_coef,
        "frozen": _frozen_digest(agent),
        "algorithm": _algorithm_state(learner.algorithm) if learner else {},
        "entropy": learner.entropy.state() if learner else {},
        "optimizer": scalars,
        "replay": write_replay(_replay_of(agent), partial),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    write_atomically(partial / "state.json", json.dumps(state, indent=1).encode())
    write_notes(agent, partial)
    names = FILES if _replay_of(agent) is None else (*FILES, REPLAY_FILE)
    write_manifest(partial, names)
    for name in names:
        sync(partial / name)


def restore_checkpoint(agent: SavedAgent, path: Path) -> None:
    """Restore weights, optimizer and counters; the settings must be those of the checkpoint.

    Raises:
        ValueError: if the checkpoint is damaged or was made with other settings.
    """
    state = read_state(path, type(agent).__name__)
    # A setting that is newer than the checkpoint was at its default.
    saved = _as_json(type(agent.config)()) | state["config"]
    for name, value in _as_json(agent.config).items():
        if saved[name] != value:
            raise ValueError(
                f"{str(path)!r} was made with {name} = {saved[name]!r}, got {value!r}; "
                "use the same settings to go on, or another folder"
            )
    weights = load_tensors(path / "policy.safetensors")
    own = _saved_weights(agent)
    if state["frozen"] != _frozen_digest(agent):
        raise ValueError(
            f"{str(path)!r} holds an adapter for other weights; use the model it was trained on"
        )
    if weights.keys() != own.keys() or any(weights[n].shape != own[n].shape for n in own):
        raise ValueError(f"{str(path)!r} holds another model's weights; use the same policy")
    read_replay(_replay_of(agent), path, state)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    tensors = load_tensors(path / "optimizer.safetensors")
    if agent.learner is not None:
        restore_optimizer(agent.learner.optimizer, tensors, state["optimizer"])
    agent.updates, agent.episodes = state["updates"], state["episodes"]
    if agent.kl_coef != state["kl_coef"]:
        agent.kl_coef = state["kl_coef"]
    # Checkpoints of earlier versions have no entropy control.
    if agent.learner is not None and (entropy := state.get("entropy")):
        agent.learner.entropy.load_state(entropy)
    algorithm = agent.learner.algorithm if agent.learner else None
    if isinstance(algorithm, StatefulAlgorithm):
        algorithm.load_state(state["algorithm"])


def load_checkpoint(kind: Any, path: Path, envs: Any, arguments: dict[str, Any]) -> Any:
    """Return a new agent of a class, with the settings and the state of a checkpoint."""
    state = read_state(path, kind.__name__)
    replay = saved_replay(state)
    known = {} if replay is None else {"replay": replay}
    agent = kind(envs, **{**state["config"], **known, **arguments})
    restore_checkpoint(agent, path)
    return agent


def _replay_of(agent: SavedAgent) -> Replay | None:
    return getattr(agent, "replay", None)


def _as_json(config: Any) -> dict[str, Any]:
    """Return settings as a checkpoint holds them, where a tuple is a list."""
    return json.loads(json.dumps(asdict(config)))


def read_state(path: Path, agent: str | None = None) -> dict[str, Any]:
    """Return a complete checkpoint's counters and settings.

    Args:
        path: the folder.
        agent: the class that must have written it; any when None.

    Raises:
        ValueError: if there is none, it is damaged, or another kind of agent wrote it.
    """
    bring_back(path)
    if not (path / MANIFEST).is_file():
        raise ValueError(f"checkpoint must be a folder that save() wrote, got {str(path)!r}")
    if (flaw := find_corruption(path)) is not None:
        raise ValueError(f"checkpoint {str(path)!r} is damaged: {flaw}; use an earlier one")
    try:
        state = read_json(path / "state.json")
    except ValueError as error:
        raise unreadable(path / "state.json") from error
    if agent is not None and state["agent"] != agent:
        raise ValueError(f"{str(path)!r} was written by {state['agent']}, got {agent}.load")
    return {**state, "config": upgraded_settings(state["agent"], state["config"])}


def _saved_weights(agent: SavedAgent) -> dict[str, torch.Tensor]:
    """Return the weights of the policy, of its past, and of the agent's further models.

    Of a model under an adapter they are those of the adapter alone.
    """
    adapter_only = getattr(agent.config, "lora_rank", None) is not None
    named = agent.policy.named_parameters()
    saved: dict[str, torch.Tensor] = {
        name: p for name, p in named if p.requires_grad or not adapter_only
    }
    for prefix, model in getattr(agent, "further_models", {}).items():
        for name, p in model.named_parameters():
            if not adapter_only or f"model.{name}" in saved:
                saved[f"{prefix}.{name}"] = p
    if isinstance(sampling := getattr(agent, "episode_sampling", None), EpisodeSampling):
        saved |= sampling.past_weights.saved()
    return saved


def _frozen_digest(agent: SavedAgent) -> str | None:
    """Return the digest of the weights that a checkpoint leaves out; None if it has all of them."""
    if getattr(agent.config, "lora_rank", None) is None:
        return None
    named = agent.policy.named_parameters()
    return weights_digest((name, p) for name, p in named if not p.requires_grad)


def _algorithm_state(algorithm: Any) -> dict[str, float]:
    return algorithm.state() if isinstance(algorithm, StatefulAlgorithm) else {}


def _check_sound(agent: SavedAgent) -> None:
    """Refuse to save a policy that can no longer act: it would displace usable checkpoints."""
    prompt = agent.base.task.prompts[0].to(agent.policy.lm.device)[None]
    length = torch.tensor([prompt.shape[1]], device=prompt.device)
    probabilities = agent.policy.token_probabilities(prompt, length)
    moments, _ = optimizer_state(agent.learner.optimizer) if agent.learner else ({}, {})
    named = {**_saved_weights(agent), **{f"optimizer {n}": m for n, m in moments.items()}}
    bad = [name for name, values in named.items() if not values.detach().isfinite().all()]
    if not bad and probabilities.isfinite().all():
        return
    what = f"{bad[0]} of the policy is" if bad else "the policy's logits are"
    raise ValueError(
        f"{what} not finite, expected numbers; nothing was saved: go back to an earlier "
        "checkpoint, and lower learning_rate"
    )
