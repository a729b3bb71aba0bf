"""The checkpoints of one run: which is the newest, and which can be deleted."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from agents.processes.exchange import on_first, together
from agents.training.checkpoints.checkpoint import SavedAgent
from agents.training.checkpoints.checkpoint_files import files_in, find_corruption, write_manifest


@runtime_checkable
class CheckpointedAgent(Protocol):
    """An agent that can be written to a folder and restored from it."""

    updates: int

    def save(self, path: str | Path) -> None:
        """Write the agent into a folder."""
        ...

    def restore(self, path: str | Path) -> None:
        """Restore the state that a folder holds."""
        ...


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run; there are none without a folder or a way to save the agent."""

    agent: CheckpointedAgent | None
    folder: Path | None

    @classmethod
    def open(cls, agent: object, log_dir: str | Path | None) -> Checkpoints:
        """Return the checkpoints under ``log_dir``."""
        known = agent if isinstance(agent, CheckpointedAgent) else None
        return cls(known, None if log_dir is None else Path(log_dir) / "checkpoints")

    def resume(self) -> int:
        """Restore the newest complete checkpoint and return how many updates are done.

        Raises:
            ValueError: if there are checkpoints, but none that can be used; or something else has
                the name of one.
        """
        path = on_first(self._newest)
        if self.agent is None:
            return 0
        if path is not None:
            restore = self.agent.restore
            together(lambda: restore(path))
        return self.agent.updates

    def _newest(self) -> Path | None:
        """Return the newest complete checkpoint that the agent can restore, if there is one."""
        self._check_entries()
        found = self._paths() if self.agent is not None else []
        for path in reversed(found):
            if (flaw := find_corruption(path)) is None:
                return path
            warnings.warn(f"checkpoint {str(path)!r} is passed over: {flaw}", stacklevel=5)
        if found:
            raise ValueError(
                f"no checkpoint in {str(self.folder)!r} can be used; choose another log_dir, "
                "or delete this one to start anew"
            )
        return None

    def hold(self, update: int) -> bool:
        """Return whether the newest complete checkpoint is of that update or a later one.

        False if the agent cannot restore it.
        """
        return on_first(lambda: self._hold(update))

    def _hold(self, update: int) -> bool:
        for path in reversed(self._paths() if self.agent is not None else []):
            if find_corruption(path) is None:
                number = path.name.removeprefix("update-")
                return number.isdecimal() and int(number) >= update
        return False

    def save(self, update: int) -> None:
        """Write a checkpoint, then drop all but the newest two and what a killed run left."""
        if self.agent is None or self.folder is None:
            return
        folder, path = self.folder, self.folder / f"update-{update:08d}"
        on_first(lambda: folder.mkdir(parents=True, exist_ok=True))
        if isinstance(self.agent, SavedAgent):
            self.agent.save(path)
        else:
            self._save_own(self.agent, path)
        on_first(self._tidy)

    def _tidy(self) -> None:
        assert self.folder is not None
        for path in (*self._paths()[:-2], *self.folder.glob(".update-*")):
            shutil.rmtree(path)

    def _save_own(self, agent: CheckpointedAgent, path: Path) -> None:
        """Let an agent with a format of its own write, and give the folder its name when whole."""
        partial = path.with_name(f".{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        agent.save(partial)
        if not partial.is_dir():
            raise ValueError(
                f"save(path) of {type(agent).__name__} must make a folder of that name, got "
                f"{'a file' if partial.exists() else 'nothing'}; write the files into path"
            )
        write_manifest(partial, files_in(partial), type(agent).__name__)
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)

    def _check_entries(self) -> None:
        """Refuse what could be neither replaced nor removed when a checkpoint is saved."""
        if self.folder is None or not self.folder.exists():
            return
        taken = [self.folder, *self.folder.glob("update-*"), *self.folder.glob(".update-*")]
        for path in taken:
            if path.is_symlink() or not path.is_dir():
                kind = "a symbolic link" if path.is_symlink() else "a file"
                raise ValueError(
                    f"{str(path)!r} must be a folder, got {kind}; checkpoints are written there: "
                    "move it away, or choose another log_dir"
                )

    def _paths(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("update-*"))
