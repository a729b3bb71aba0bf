"""The methods by which an agent is written to disk and comes back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from gymnasium.vector import VectorEnv

from agents.evaluation.acting import Acting
from agents.processes.exchange import on_first
from agents.training.checkpoints.checkpoint import (
    load_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from agents.training.checkpoints.export import export_adapter, export_model


class Persistence(Acting):
    """Saves, exports, restores and loads the agent that it is a base of."""

    def save(self, path: str | Path) -> None:
        """Write policy, value head, optimizer, counters and settings into a folder, atomically.

        Of several processes all must call it, and the first writes.
        """
        with self._one_thread():
            save_checkpoint(cast(Any, self), Path(path))

    def export(
        self,
        folder: str | Path,
        *,
        adapter: bool = False,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Write an ordinary Hugging Face model folder: tokenizer, generation settings, README.md.

        Of several processes all must call it, and the first writes.

        Args:
            folder: new or empty.
            adapter: write the adapter of ``lora_rank`` alone, as peft reads it; else it is added
                to the weights.
            figures: shown in README.md, such as what `evaluate` returned; none by default.

        Raises:
            ValueError: if the folder is taken, the policy is not a Hugging Face model, or there is
                no adapter.
        """
        with self._one_thread():
            write = export_adapter if adapter else export_model
            on_first(lambda: write(cast(Any, self), Path(folder), figures or {}))

    def restore(self, path: str | Path) -> None:
        """Restore the state that `save` wrote, under the same settings.

        Raises:
            ValueError: if the folder holds no complete checkpoint, or one of other settings.
        """
        with self._one_thread():
            restore_checkpoint(cast(Any, self), Path(path))

    @classmethod
    def load(cls, path: str | Path, envs: VectorEnv[Any, Any, Any], **arguments: Any) -> Self:
        """Return the agent that `save` wrote, with the settings that it had.

        Args:
            path: the folder.
            envs: the environment to continue in.
            **arguments: ``policy`` or ``algorithm`` where the agent was made with one.

        Raises:
            ValueError: if the folder holds no complete checkpoint of this class.
        """
        return load_checkpoint(cls, Path(path), envs, arguments)
