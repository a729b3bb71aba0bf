"""Trackers: what they are told, a resumed run, and one that fails; the real ones, offline."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agents import Reinforce
from agents.training import trackers
from agents.training.trackers import TRACKERS, check_tracker
from rlhf_env import load_task
from rlhf_env.extras import MissingExtraError
from tests.agents.episodes import make_envs


class Recorder:
    """A tracker that remembers, and raises where a test asks for it."""

    made: list[Recorder]
    fails_at: int | None = None

    def __init__(
        self, name: str, folder: Any, run: str | None, settings: Mapping[str, Any]
    ) -> None:
        self.name, self.given, self.settings = name, run, dict(settings)
        self.run = run or f"run-{len(self.made)}"
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.status = ""
        self.made.append(self)

    def log(self, update: int, figures: Mapping[str, float]) -> None:
        if update == self.fails_at:
            raise ConnectionError("the network is gone")
        self.rows.append((update, dict(figures)))

    def finish(self, status: str) -> None:
        self.status = status


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    class Mine(Recorder):
        made: list[Recorder] = []  # noqa: RUF012

    monkeypatch.setitem(TRACKERS, "wandb", Mine)
    monkeypatch.setattr(trackers, "require", lambda *_: None)
    yield Mine


def learn(folder: Path, updates: int, track: str = "wandb", **more: Any) -> list[Any]:
    agent = Reinforce(make_envs(load_task("toy15"), 8), episodes_per_update=8)
    return agent.learn(8 * updates, log_dir=folder, progress=False, track=track, **more)


def test_it_is_told_settings_figures_and_the_end(recorder: type[Recorder], tmp_path: Path) -> None:
    history = learn(tmp_path / "a", 3)
    (made,) = recorder.made
    assert made.name == "a" and made.status == "finished"
    assert made.settings["agent"] == "Reinforce" and made.settings["episodes_per_update"] == 8
    assert [update for update, _ in made.rows] == [1, 2, 3]
    for (_, figures), row in zip(made.rows, history, strict=True):
        assert figures == {name: value for name, value in row.items() if name != "update"}
    # The folder has what it always has.
    assert list((tmp_path / "a").glob("events.out.tfevents.*"))
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_resumed_run_goes_on_with_its_own(recorder: type[Recorder], tmp_path: Path) -> None:
    learn(tmp_path / "a", 2)
    learn(tmp_path / "a", 3)
    first, second = recorder.made
    assert first.given is None and second.given == first.run
    assert [update for update, _ in second.rows] == [3]
    record = json.loads((tmp_path / "a" / "tracker.json").read_text())
    assert record == {"tracker": "wandb", "run": first.run}


def test_a_tracker_that_fails_costs_one_warning(recorder: type[Recorder], tmp_path: Path) -> None:
    recorder.fails_at = 2
    with pytest.warns(UserWarning, match="the tracker failed .* the network is gone") as told:
        history = learn(tmp_path / "a", 4)
    assert len(told) == 1 and len(history) == 4
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 4


def test_what_ends_a_run_is_its_status(recorder: type[Recorder], tmp_path: Path) -> None:
    def stop(error: BaseException) -> Any:
        def callback(agent: Any, metrics: dict[str, float]) -> None:
            raise error

        return callback

    with pytest.raises(RuntimeError):
        learn(tmp_path / "a", 2, callback=stop(RuntimeError("mine")))
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "b", 2, callback=stop(KeyboardInterrupt()))
    assert [made.status for made in recorder.made] == ["failed", "interrupted"]


def test_a_tracker_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="track must be one of"):
        learn(tmp_path / "a", 1, track="paper")
    for name in ("wandb", "trackio", "mlflow"):
        if importlib.util.find_spec(name) is None:
            with pytest.raises(MissingExtraError, match=rf"pip install 'rlhf-env\[{name}\]'"):
                check_tracker(name)
    assert not (tmp_path / "a").exists()


REAL = pytest.mark.filterwarnings("ignore")


@REAL
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    learn(tmp_path / "a", 2)
    learn(tmp_path / "a", 3)
    folders = sorted((tmp_path / "a" / "wandb").glob("offline-run-*"))
    record = json.loads((tmp_path / "a" / "tracker.json").read_text())
    # Each session has a file of its own; both are of one run.
    assert folders and all(folder.name.endswith(record["run"]) for folder in folders)
    assert all(list(folder.glob("*.wandb")) for folder in folders)


@REAL
def test_mlflow_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    history = learn(tmp_path / "a", 2, track="mlflow") + learn(tmp_path / "a", 3, track="mlflow")
    client = mlflow.MlflowClient()
    run = json.loads((tmp_path / "a" / "tracker.json").read_text())["run"]
    found = client.get_run(run)
    assert found.info.status == "FINISHED" and found.data.params["agent"] == "Reinforce"
    scores = client.get_metric_history(run, "score")
    assert [point.step for point in scores] == [1, 2, 3]
    assert [point.value for point in scores] == [row["score"] for row in history]


@REAL
def test_trackio_locally(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    # Its folder is read from the environment when it is imported.
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.agents.training.test_trackers import learn\n"
        "for updates in (2, 3):\n    learn(Path(sys.argv[1]), updates, track='trackio')"
    )
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "store"), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-c", code, str(tmp_path / "a")]
    subprocess.run(words, check=True, env=environment, timeout=200, capture_output=True)
    assert json.loads((tmp_path / "a" / "tracker.json").read_text())["tracker"] == "trackio"
    (database,) = (tmp_path / "store").glob("*.db")
    with sqlite3.connect(database) as opened:
        rows = opened.execute("SELECT run_name, step FROM metrics ORDER BY id").fetchall()
    assert {name for name, _ in rows} == {rows[0][0]}
    assert [step for _, step in rows][:2] == [1, 2] and 3 in [step for _, step in rows]
