"""Every file in examples/ does what it says; the quick way here, in full where marked slow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf_env.task import Task
from tests.examples.load import FOLDER, example

ROOT = FOLDER.parent


def test_a_random_agent_is_paid_by_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    episodes = example("random_agent").main(task="toy15", episodes=3)
    assert len(episodes) == 3
    assert all(1 <= len(episode.rewards) <= 3 for episode in episodes)
    assert "3 actions" in capsys.readouterr().out


def test_the_term_of_the_wrapper_is_paid_and_avoided() -> None:
    custom = example("custom_wrapper")
    marks = custom.main(updates=2, coef=3.0)
    assert marks["reference"] > 0.1
    assert marks["trained with"] < marks["trained without"]


@pytest.mark.slow
def test_the_wrapper_in_full() -> None:
    marks = example("custom_wrapper").main(updates=20, coef=1.0)
    assert marks["trained with"] < 0.05 < marks["trained without"] < marks["reference"]


def test_the_task_of_ones_own() -> None:
    """By hand: it begins at 1, and 1 + 1 + 5 = 1 + 2 + 4 = 7."""
    custom = example("custom_task")
    task: Task = custom.sum_of_seven()
    responses = [torch.tensor(ids) for ids in ([1, 5, 0], [2, 4, 0], [1, 0], [0])]
    assert task.reward([task.prompts[0]] * 4, responses).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert custom.main(updates=20) > 0.5


@pytest.mark.slow
def test_the_task_of_ones_own_is_nearly_solved() -> None:
    assert example("custom_task").main(updates=200) > 0.95


def test_a_hugging_face_model_is_trained_and_exported(tmp_path: Path) -> None:
    hf = example("hf_model")
    hf.build_tiny_model(tmp_path / "model")
    scores, text = hf.main(str(tmp_path / "model"), hf.PROMPTS, 480, tmp_path / "out")
    assert scores[1] > scores[0] + 0.5
    assert text.startswith(hf.PROMPTS[0])
    assert (tmp_path / "out" / "config.json").exists()


def test_stable_baselines3_runs_on_text() -> None:
    before, after = example("sb3_on_text").main(steps=1024)
    assert before != after


@pytest.mark.slow
def test_stable_baselines3_learns_on_text() -> None:
    before, after = example("sb3_on_text").main(steps=32_768)
    assert after > before + 0.5


def test_every_file_is_short_and_listed() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".ipynb")}
    listed = set(re.findall(r"\(([\w.]+\.(?:py|ipynb))\)", (FOLDER / "README.md").read_text()))
    assert files == listed
    long = [p.name for p in FOLDER.glob("*.py") if len(p.read_text().splitlines()) > 200]
    assert long == []


@pytest.mark.slow
def test_the_notebook_ends_with_a_figure() -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(FOLDER / "first_ablation.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": ROOT}})
    client.execute()
    outputs: list[Any] = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert "optimum J* = 0.902" in "".join(o.get("text", "") for o in outputs)
    assert any("image/png" in o.get("data", {}) for o in outputs)


def test_the_notebook_is_committed_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(FOLDER / "first_ablation.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 4
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
