"""Checkpoints: a folder of safetensors and JSON that is either complete or not there.

No pickle is written or read. A folder counts only with a manifest whose checksums agree; the
manifest is written last, and the folder gets its name when all of it is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlhf_env.files import sync_folder, write_atomically

if TYPE_CHECKING:
    from agents.agent import Agent

FORMAT = 1
MANIFEST = "manifest.json"


@runtime_checkable
class CheckpointedAgent(Protocol):
    """An agent that can be written to a folder and restored from it."""

    updates: int

    def save(self, path: str | Path) -> None:
        """Write the agent into a folder."""
        ...

    def restore(self, path: str | Path) -> None:
        """Take over the state that a folder holds."""
        ...


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run; an agent that cannot be saved, or no folder, has none."""

    agent: CheckpointedAgent | None
    folder: Path | None

    @classmethod
    def open(cls, agent: object, log_dir: str | Path | None) -> Checkpoints:
        """Return the checkpoints under ``log_dir``."""
        if log_dir is None or not isinstance(agent, CheckpointedAgent):
            return cls(agent if isinstance(agent, CheckpointedAgent) else None, None)
        return cls(agent, Path(log_dir) / "checkpoints")

    def resume(self) -> int:
        """Restore the newest complete checkpoint and return how many updates are done."""
        if self.agent is None:
            return 0
        if self.folder is not None:
            for path in sorted(self.folder.glob("update-*"), reverse=True):
                if is_complete(path):
                    self.agent.restore(path)
                    break
        return self.agent.updates

    def save(self, update: int) -> None:
        """Write a checkpoint, then drop all but the newest two."""
        if self.agent is None or self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.agent.save(self.folder / f"update-{update:08d}")
        for path in sorted(self.folder.glob("update-*"))[:-2]:
            shutil.rmtree(path)


def save_checkpoint(agent: Agent, path: Path) -> None:
    """Write an agent into a folder; a folder of that name is replaced when all is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tensors, scalars = _optimizer_state(agent.learner.optimizer)
    policy = {name: p.detach().contiguous() for name, p in agent.policy.named_parameters()}
    save_file(policy, partial / "policy.safetensors")
    save_file(tensors, partial / "optimizer.safetensors")
    state = {
        "agent": type(agent).__name__,
        "config": asdict(agent.config),
        "updates": agent.updates,
        "episodes": agent.episodes,
        "kl_coef": agent.base.kl_coef,
        "optimizer": scalars,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    write_atomically(partial / "state.json", json.dumps(state, indent=1).encode())
    files = {file.name: _sha256(file) for file in sorted(partial.iterdir())}
    manifest = {"format": FORMAT, "files": files}
    write_atomically(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
    former = path.with_name(f".{path.name}.former-{os.getpid()}")
    if path.exists():
        path.rename(former)
    partial.rename(path)
    sync_folder(path.parent)
    shutil.rmtree(former, ignore_errors=True)


def restore_checkpoint(agent: Agent, path: Path) -> None:
    """Take over weights, optimiser and counters; the settings must be those of the checkpoint.

    Raises:
        ValueError: if the checkpoint is damaged or was made with other settings.
    """
    state = read_state(path, type(agent).__name__)
    saved, present = state["config"], asdict(agent.config)
    for name, value in present.items():
        if saved.get(name) != value:
            raise ValueError(
                f"{str(path)!r} was made with {name} = {saved.get(name)!r}, got {value!r}; "
                "use the same settings to go on, or another folder"
            )
    weights = load_file(path / "policy.safetensors")
    own = dict(agent.policy.named_parameters())
    if weights.keys() != own.keys() or any(weights[n].shape != own[n].shape for n in own):
        raise ValueError(f"{str(path)!r} holds another model's weights; use the same policy")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    tensors = load_file(path / "optimizer.safetensors")
    _restore_optimizer(agent.learner.optimizer, tensors, state["optimizer"])
    agent.updates, agent.episodes = state["updates"], state["episodes"]
    agent.base.kl_coef = state["kl_coef"]


def load_checkpoint(kind: Any, path: Path, envs: Any, arguments: dict[str, Any]) -> Any:
    """Return a new agent of a class, with the settings and the state of a checkpoint."""
    state = read_state(path, kind.__name__)
    agent = kind(envs, **arguments, **state["config"])
    restore_checkpoint(agent, path)
    return agent


def read_state(path: Path, agent: str) -> dict[str, Any]:
    """Return a complete checkpoint's counters and settings.

    Raises:
        ValueError: if there is none, it is damaged, or another kind of agent wrote it.
    """
    if not (path / MANIFEST).is_file():
        raise ValueError(f"checkpoint must be a folder that save() wrote, got {str(path)!r}")
    if not is_complete(path):
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged: a file is missing or its checksum differs; "
            "use an earlier one"
        )
    state = json.loads((path / "state.json").read_text())
    if state["agent"] != agent:
        raise ValueError(f"{str(path)!r} was written by {state['agent']}, got {agent}.load")
    return state


def is_complete(path: Path) -> bool:
    """Return whether a folder holds a checkpoint of this format with all checksums right."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return False
        names = set(manifest["files"])
        if names != {"policy.safetensors", "optimizer.safetensors", "state.json"}:
            return False
        return all(_sha256(path / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return False


def _optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Return the moments by "index.name", and what is no tensor beside them."""
    tensors, scalars = {}, {}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, scalars


def _restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    scalars: dict[str, float],
) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | scalars).items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
