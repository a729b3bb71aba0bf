from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tyro

from studies.ablation.command import Settings
from studies.ablation.folder import claim, grid_settings
from studies.results.folder import RECORDS, SETTINGS
from tests.studies.toy_grids import ablate, contents, given, rows


def test_a_damaged_record_is_run_again(tmp_path: Path):
    ablate(tmp_path)
    record = next((tmp_path / "runs").glob("*.json"))
    record.write_text('{"run": ')
    assert ablate(tmp_path) == 0
    assert json.loads(record.read_text())["status"] == "ok"


def test_a_folder_with_another_grid_is_refused_and_kept(tmp_path: Path, capsys):
    ablate(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert ablate(tmp_path, "--updates", "3") == 2
    assert "updates is 2 there and 3 here" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_more_seeds_are_added_to_a_finished_grid(tmp_path: Path, capsys):
    ablate(tmp_path)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    assert ablate(tmp_path, "--seeds", "4") == 0
    assert [row["seed"] for row in rows(tmp_path)] == [seed for seed in "0123" for _ in range(4)]
    assert {name: (tmp_path / "runs" / name).read_bytes() for name in kept} == kept
    assert json.loads((tmp_path / "settings.json").read_text())["seeds"] == 4
    assert ablate(tmp_path, "--seeds", "3") == 2
    assert "seeds is 4 there and 3 here (only more seeds can be added)" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "file/sub", "link", "/proc/x", "a" * 300, "nul\0"])
def test_where_no_folder_can_be_is_one_sentence(tmp_path: Path, capsys, place: str):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert ablate(tmp_path / place) == 2
    err = capsys.readouterr().err
    assert err.startswith("ablate: out must be ")
    assert len(err.splitlines()) == 1
    assert "Errno" not in err
    assert len(err) < 400


@pytest.mark.parametrize(
    "changes",
    [
        {"row": 5},
        {"row": {"score": "high"}},
        {"status": "fine"},
        {"curve": [1]},
        {"samples": {}},
        {"seconds": "1"},
        {"run": 3},
        {"run": {"agent": "ppo"}},
        {"color": "red"},
    ],
)
def test_a_record_with_wrong_fields_is_refused_and_kept(tmp_path: Path, capsys, changes: dict):
    ablate(tmp_path)
    record = min((tmp_path / "runs").glob("*.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))
    before = contents(tmp_path)
    capsys.readouterr()
    assert ablate(tmp_path) == 2
    err = capsys.readouterr().err
    assert f"{record} must hold the record of that run, got " in err
    assert "remove it and the run is done again" in err
    assert len(err.splitlines()) == 1
    assert contents(tmp_path) == before


def with_records_as_a_file(folder: Path) -> Path:
    (folder / "runs").rename(folder.parent / "moved")
    (folder / "runs").write_text("")
    return folder / "runs"


def with_a_record_as_a_folder(folder: Path) -> Path:
    record = min((folder / "runs").iterdir())
    record.unlink()
    record.mkdir()
    return record


def with_settings_as_a_folder(folder: Path) -> Path:
    (folder / "settings.json").unlink()
    (folder / "settings.json").mkdir()
    return folder / "settings.json"


def with_empty_settings(folder: Path) -> Path:
    (folder / "settings.json").write_text("")
    return folder / "settings.json"


def with_settings_cut_short(folder: Path) -> Path:
    (folder / "settings.json").write_text('{"agent": ')
    return folder / "settings.json"


@pytest.mark.parametrize(
    "damage",
    [
        with_records_as_a_file,
        with_a_record_as_a_folder,
        with_settings_as_a_folder,
        with_empty_settings,
        with_settings_cut_short,
    ],
)
def test_a_damaged_folder_is_refused_and_kept(
    tmp_path: Path, capsys, damage: Callable[[Path], Path]
):
    folder = tmp_path / "out"
    ablate(folder)
    culprit = damage(folder)
    before = contents(folder)
    capsys.readouterr()
    assert ablate(folder) == 2
    err = capsys.readouterr().err
    assert f"ablate: {culprit} must " in err
    assert len(err.splitlines()) == 1
    assert contents(folder) == before


def test_a_folder_in_use_names_the_process(tmp_path: Path, capsys):
    settings = tyro.cli(Settings, args=given("--out", str(tmp_path)))
    with claim(tmp_path, grid_settings(settings.axes, settings.budget, {})):
        assert ablate(tmp_path) == 2
    assert f"is running (process {os.getpid()}); wait" in capsys.readouterr().err


def test_a_claimed_folder_is_cleared_of_what_killed_processes_left(tmp_path: Path):
    settings = tyro.cli(Settings, args=given("--out", str(tmp_path)))
    left = [tmp_path / place / ".a.0123456789abcdef.partial" for place in ("", RECORDS)]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    (tmp_path / SETTINGS).write_text(
        json.dumps(grid_settings(settings.axes, settings.budget, {})), encoding="utf-8"
    )
    with claim(tmp_path, grid_settings(settings.axes, settings.budget, {})):
        assert not any(path.exists() for path in left)


def test_a_file_or_a_foreign_folder_is_refused(tmp_path: Path, capsys):
    file = tmp_path / "thesis.txt"
    file.write_text("mine")
    assert ablate(file) == 2
    assert "must be a folder, got the file" in capsys.readouterr().err
    assert ablate(tmp_path) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
