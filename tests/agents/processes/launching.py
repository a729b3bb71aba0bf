"""Start several real processes, and compare what they learned with what one learns."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
CLOSE = 1e-5
SECONDS = 500


def environment() -> dict[str, str]:
    """Return that of a process that is not part of a launch, with one thread."""
    ours = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return ours | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def torchrun(processes: int, *words: object) -> list[str]:
    """Return a command; a free port is chosen by the launcher itself."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc_per_node", str(processes), *map(str, words)]


def run(command: list[str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def launch_worker(processes: int, folder: Path, *words: str) -> None:
    done = run(torchrun(processes, "-m", "tests.agents.processes.worker", folder, *words))
    assert done.returncode == 0, done.stderr[-4000:]


def near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE)


def assert_same(one: Path, several: Path) -> None:
    """Compare metrics and weights of two runs, to 1e-5 of the larger of 1 and the number."""
    expected, found = (json.loads((at / "metrics.json").read_text()) for at in (one, several))
    assert len(expected) == len(found)
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.keys() == theirs.keys()
        far = [
            k
            for k, v in ours.items()
            if not math.isclose(v, theirs[k], rel_tol=CLOSE, abs_tol=CLOSE)
        ]
        assert not far, {k: (ours["update"], ours[k], theirs[k]) for k in far}
    weights, others = (load_file(at / "weights.safetensors") for at in (one, several))
    assert weights.keys() == others.keys()
    far_off = {n: float((w - others[n]).abs().max()) for n, w in weights.items()}
    assert max(far_off.values()) < CLOSE, far_off
