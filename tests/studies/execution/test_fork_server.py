"""Workers are forks of a process that has loaded the libraries, and otherwise like fresh ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.execution.pool import Outcome, outcomes

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")


def environment(name: str) -> str | None:
    return os.environ.get(name)


def is_loaded(module: str) -> int:
    """Return whether a module is there before anything here imports it."""
    return int(module in sys.modules)


def results(found: list[Outcome[str, object]]) -> list[object]:
    assert [each.error for each in found] == [""] * len(found)
    return [each.result for each in found]


def test_workers_have_the_environment_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("first", "second"):
        monkeypatch.setenv("WHAT_WORKERS_SEE", value)
        names = ["WHAT_WORKERS_SEE", "OMP_NUM_THREADS", "PYTHONSAFEPATH", "RLHF_ENV_FORK_SERVER"]
        found = results(list(outcomes(names, environment, 1, threads=3)))
        assert found == [value, "3", None, None]


SCRIPT = """
import json
from studies.execution.fork_server import start
from studies.execution.pool import outcomes
from tests.studies.execution.test_fork_server import is_loaded
if __name__ == "__main__":
    start(["torch"], 1)
    found = list(outcomes(["torch", "torch"], is_loaded, 2))
    print(json.dumps([[each.error, each.result] for each in found]))
"""


@linux_only
def test_workers_begin_with_the_libraries_whatever_lies_in_the_current_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    script = tmp_path / "place" / "script.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[3])
    answer = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [["", 1], ["", 1]]
