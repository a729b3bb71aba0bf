from __future__ import annotations

import inspect
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from studies.execution.pool import Outcome
from tests.studies.toy_grids import ablate, rows
from tests.studies.toy_runs import failing_for_grpo


class RayError(Exception):
    """What Ray raises for a task whose worker died."""


class Task:
    """A remote function that runs where it is called, when its result is asked for."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function, self.chosen = function, options

    def options(self, **options: Any) -> Task:
        return Task(self.function, options)

    def remote(self, *arguments: Any) -> object:
        reference = object()
        CLUSTER.flying[reference] = lambda: self.function(*arguments)
        CLUSTER.options.append(self.chosen)
        return reference


class Cluster(ModuleType):
    """As much of Ray's interface as is used, on this process."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = ModuleType("ray.exceptions")
        self.exceptions.RayError = RayError  # type: ignore[attr-defined]
        self.server = socket.socket()
        self.server.close()
        self.clear()

    def clear(self) -> None:
        self.flying: dict[object, Callable[[], Outcome]] = {}
        self.options: list[dict[str, Any]] = []
        self.address = ""
        self.most = 0
        self.is_running = True

    def init(self, address: str, **_: Any) -> None:
        if not self.is_running:
            raise ConnectionError("Could not find any running Ray instance.\nStart one.")

    def remote(self, function: Callable[..., Any]) -> Task:
        if not inspect.isfunction(function):
            raise TypeError("The @ray.remote decorator must be applied to either a function or a")
        return Task(function, {})

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=self.address)

    def wait(
        self, references: list[object], num_returns: int, timeout: float
    ) -> tuple[list[object], list[object]]:
        self.most = max(self.most, len(references))
        return references[-num_returns:], references[:-num_returns]

    def get(self, reference: object) -> Outcome:
        return self.flying.pop(reference)()

    def cancel(self, reference: object, force: bool) -> None:
        del self.flying[reference]


CLUSTER = Cluster()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    CLUSTER.clear()
    monkeypatch.setitem(sys.modules, "ray", CLUSTER)
    with socket.create_server(("127.0.0.1", 0)) as CLUSTER.server:
        CLUSTER.address = f"127.0.0.1:{CLUSTER.server.getsockname()[1]}"
        yield CLUSTER


def test_a_cluster_gives_the_same_rows_as_this_machine(tmp_path: Path, cluster: Cluster):
    own = ("seconds", "command")
    tables = []
    for name, words in {"here": (), "there": ("--ray",)}.items():
        assert ablate(tmp_path / name, *words, runner=failing_for_grpo) == 1
        table = rows(tmp_path / name)
        tables.append([{k: v for k, v in row.items() if k not in own} for row in table])
    assert tables[0] == tables[1]
    assert len(tables[1]) == 8


def test_a_run_has_the_cores_of_its_threads(tmp_path: Path, cluster: Cluster):
    words = ("--ray", "--threads", "3", "--jobs", "2")
    assert ablate(tmp_path, *words) == 0
    assert cluster.most == 2
    assert cluster.options[0]["num_cpus"] == 3
    assert cluster.options[0]["runtime_env"] == {"env_vars": {"OMP_NUM_THREADS": "3"}}
    assert "--threads 3" in rows(tmp_path)[0]["command"]


def test_a_worker_that_dies_is_a_failed_row(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    def died(reference: object) -> Outcome:
        cluster.flying.pop(reference)
        raise RayError

    monkeypatch.setattr(cluster, "get", died)
    assert ablate(tmp_path, "--ray") == 1
    assert {row["status"] for row in rows(tmp_path)} == {"failed"}
    assert rows(tmp_path)[0]["error"].endswith("see the system's log: RayError")


def test_without_ray_or_a_cluster_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ablate(tmp_path / "out", "--ray") == 2
    error = capsys.readouterr().err
    assert error.startswith("ablate: --ray needs the package ray, got: ")
    CLUSTER.clear()
    CLUSTER.is_running = False
    monkeypatch.setitem(sys.modules, "ray", CLUSTER)
    assert ablate(tmp_path / "out", "--ray") == 2
    error = capsys.readouterr().err
    assert (
        "--ray needs a running Ray cluster, got: ConnectionError: Could not find any running Ray"
        in error
    )
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_lost_cluster_says_how_to_go_on_without_it(
    tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
):
    assert ablate(tmp_path / "out", "--ray", runner=failing_for_grpo) == 1
    assert (
        "--retry-failed runs them again, without --ray on this machine" in capsys.readouterr().err
    )
    cluster.is_running = False
    assert ablate(tmp_path / "out", "--ray", "--retry-failed") == 2
    assert "the same command without it goes on on this machine" in capsys.readouterr().err
    assert ablate(tmp_path / "out", "--retry-failed") == 0
    assert {row["status"] for row in rows(tmp_path / "out")} == {"ok"}


def test_a_cluster_that_goes_away_keeps_what_has_finished(
    tmp_path: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    served, wait = [], cluster.wait

    def leaving(references: list[object], **given: Any) -> tuple[list[object], list[object]]:
        if len(served) == 3:
            cluster.server.close()
            return [], references
        served.append(references)
        return wait(references, **given)

    monkeypatch.setattr(cluster, "wait", leaving)
    assert ablate(tmp_path / "out", "--ray") == 1
    error = capsys.readouterr().err
    assert "ablate: --ray: the Ray cluster no longer answers; what has finished is kept" in error
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) == 3
    assert ablate(tmp_path / "out") == 0
    assert len(rows(tmp_path / "out")) == 8
