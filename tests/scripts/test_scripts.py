from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from scripts import build_reviews

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem[:1] != "_")
COMMANDS = [name for name in SCRIPTS if not name.startswith("build_")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_script_runs_its_command(name: str) -> None:
    """That of its name, whose version is told without anything slow."""
    answer = subprocess.run(
        [sys.executable, f"scripts/{name}.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "rlhf-env 0.1.0\n", "")


def test_every_command_has_a_script() -> None:
    folder = ROOT / "studies" / "cli" / "commands"
    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(COMMANDS)


def test_building_the_reviews_needs_a_folder_to_write_into() -> None:
    with pytest.raises(SystemExit):
        tyro.cli(build_reviews.Options, args=["--small"])
    assert tyro.cli(build_reviews.Options, args=["--out", "here"]).out == Path("here")
