"""Several processes learn what one learns, to rounding. They are real ones, over gloo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.agents.processes.launching import assert_same, launch_worker
from tests.agents.processes.scenarios import LORA, QUICK, STORIES, STORY_MODEL, TOY
from tests.agents.processes.worker import train_all

pytest.importorskip("accelerate")


def both(processes: int, folder: Path, chosen: str) -> tuple[Path, Path]:
    """Return the folders of what one process learned, and of what several learned."""
    train_all(folder / "one", chosen)
    launch_worker(processes, folder / "several", chosen)
    return folder / "one", folder / "several"


def test_cut_groups_and_idle_processes_change_nothing(tmp_path: Path) -> None:
    one, several = both(3, tmp_path, "quick")
    for name in QUICK:
        assert_same(one / name, several / name)


@pytest.fixture(scope="module")
def toys_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train_all(folder, "toy")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_every_kind_of_agent_on_toys(toys_alone: Path, tmp_path: Path, processes: int) -> None:
    launch_worker(processes, tmp_path, "toy")
    for name in TOY.keys() - {"drawn_seed"}:
        assert_same(toys_alone / name, tmp_path / name)
    assert episodes(tmp_path) == episodes(toys_alone)
    assert len((tmp_path / "drawn_seed" / "seed").read_text()) > 0


def episodes(folder: Path) -> list[tuple[str, list[int]]]:
    """What was recorded: of 3 updates with 12 episodes each, and of an evaluation."""
    lines = (folder / "recorded" / "episodes.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 3 * 12 + 2 * 10
    return [(episode["prompt"], episode["response_ids"]) for episode in found]


@pytest.mark.slow
def test_adapters(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    one, several = both(2, tmp_path, "lora")
    for name in LORA:
        assert_same(one / name, several / name)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not STORIES.is_dir(), reason="needs the real data in ../shared/data")
def test_a_real_model(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    one, several = both(2, tmp_path, "stories")
    for name in STORY_MODEL:
        assert_same(one / name, several / name)
