"""Stand-ins for training: what a run returns is a plain function of its settings."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from studies.experiment.grid import RunSettings
from studies.experiment.result import RunResult


def quick(run: RunSettings) -> RunResult:
    """Learn at once: two updates, a score of gamma plus a hundredth of the seed."""
    score = run.gamma + run.seed / 100
    curve = [
        {"update": 1.0, "score": score / 2, "kl": 0.1, "entropy": 1.0, "response_length": 2.0},
        {"update": 2.0, "score": score, "kl": 0.2, "entropy": 0.9, "response_length": 2.5},
    ]
    row = {"score": score, "kl": 0.2, "entropy": 0.9}
    sample = {
        "stage": "after",
        "prompt": "Soup?",
        "tokens": ["Good", "."],
        "reward_terms": {"score": [0.0, 1.0], "kl": [-0.1, 0.0]},
        "score": 1.0,
    }
    return RunResult(row=row, curve=curve, samples=[sample] if run.seed == 0 else [])


def failing_for_grpo(run: RunSettings) -> RunResult:
    if run.agent == "grpo":
        raise RuntimeError("=cmd()\nsecond line \x1b[31m")
    return quick(run)


def killing_its_worker_once_per_seed_1(run: RunSettings) -> RunResult:
    if run.seed == 1:
        os._exit(9)
    return quick(run)


def interrupting(run: RunSettings) -> RunResult:
    """Like `quick`, but for the second seed press Ctrl-C in the process that keeps the records."""
    if run.seed == 1:
        _press_ctrl_c()
        time.sleep(60)
    return quick(run)


def swallowing_signals(run: RunSettings) -> RunResult:
    """A worker that no SIGTERM ends, as a training loop that saves its work first."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    _press_ctrl_c()
    time.sleep(60)
    return quick(run)


def raising_keyboard_interrupt(run: RunSettings) -> RunResult:
    raise KeyboardInterrupt


def no_pickle(run: RunSettings) -> RunResult:
    return RunResult(row={"score": lambda: 1.0}, curve=[])  # type: ignore[dict-item]


def exiting(run: RunSettings) -> RunResult:
    raise SystemExit(3)


def counting(run: RunSettings) -> RunResult:
    """Like `quick`, and leave a mark per call in the folder that the environment names."""
    marks = Path(os.environ["TOY_RUNS_MARKS"])
    (marks / f"{run.run_id}-{len(list(marks.iterdir()))}").touch()
    return quick(run)


def not_a_task() -> int:
    return 5


def _press_ctrl_c() -> None:
    """Interrupt the command, which need not be what this process was forked from."""
    command = multiprocessing.parent_process()
    assert command is not None and command.pid is not None
    os.kill(command.pid, signal.SIGINT)
