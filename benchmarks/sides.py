"""The programs that are compared: started, asked for steps in turn, and ended."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.works import Order
from studies.execution.threads import waiting_policy

_ROOT = Path(__file__).parents[1]
_QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
# Number of characters shown of what a failed program printed.
_LAST_CHARACTERS = 2000


def _threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(count)} if count else waiting_policy()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of one side."""

    seconds: float
    """Duration of the step."""
    tokens: int
    """Tokens of the responses that were sampled or learned from."""

    @property
    def seconds_per_token(self) -> float:
        """Seconds per response token."""
        return self.seconds / self.tokens


class Side:
    """One program at work; a context manager that ends it."""

    def __init__(self, name: str, python: Path, order: Order) -> None:
        """Start it and wait until its work is prepared.

        Args:
            name: of the module ``benchmarks.side_<name>``.
            python: the interpreter of the environment that it needs.
            order: what it is to do.

        Raises:
            RuntimeError: if the program ends before it is ready.
        """
        self.name = name
        self._log = order.folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.side_{name}", order.to_json()],
                cwd=_ROOT,
                env=os.environ | _QUIET | _threads(order.threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.versions: dict[str, str] = self._answer()

    def step(self) -> Step:
        """Let it do one step.

        Raises:
            RuntimeError: if the program ends instead.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return Step(**self._answer())

    def __enter__(self) -> Self:
        """Return the side."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the program."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            said = self._log.read_text()[-_LAST_CHARACTERS:]
            raise RuntimeError(f"benchmarks.side_{self.name} ended early; it said:\n{said}")
        return json.loads(line)
