"""What a run leaves behind as it goes: ``metrics.jsonl`` and TensorBoard files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rlhf_env.files import write_atomically

METRICS = "metrics.jsonl"


class RunLog:
    """Appends one line per update; without a folder it does nothing."""

    def __init__(self, log_dir: str | Path | None, resume_after: int = 0) -> None:
        """Open the log.

        Args:
            log_dir: the run's folder.
            resume_after: the update that the run goes on from; later lines, and a torn last one,
                are dropped, so that no update stands twice.
        """
        self._file = None
        self._board: Any = None
        if log_dir is None:
            return
        folder = Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS
        kept = [json.dumps(row) for row in read_metrics(path) if row["update"] <= resume_after]
        write_atomically(path, "".join(f"{line}\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder), purge_step=resume_after + 1)

    def write(self, metrics: dict[str, float]) -> None:
        """Append an update's figures; a number that is not finite is written as null."""
        if self._file is None:
            return
        finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, int(metrics["update"]))

    def __enter__(self) -> Self:
        """Return the open log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a metrics file; a torn last line is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
