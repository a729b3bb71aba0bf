"""What the wheel holds and asks for."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rlhf_env", "agents", "wrappers", "studies")
TRIED = ("rewards", "studies", "lora")
CORE = {"gymnasium", "numpy", "torch", "transformers", "stable-baselines3", "tensorboard"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # With those that must stay out.
    for name in (*PACKAGES, "scripts", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(source)], cwd=source, check=True, capture_output=True
    )
    return zipfile.ZipFile(next(source.glob("*.whl")))


def text_of(wheel: zipfile.ZipFile, name: str) -> str:
    path = next(path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_it_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {path.split("/")[0] for path in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_it_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    files = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - set(wheel.namelist()) == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= files


def test_it_brings_one_command(wheel: zipfile.ZipFile) -> None:
    lines = text_of(wheel, "entry_points.txt").split("\n")
    assert [line for line in lines if line] == [
        "[console_scripts]",
        "rlhf-env = studies.cli.main:main",
    ]


def test_it_says_its_license_and_asks_for_few_packages(wheel: zipfile.ZipFile) -> None:
    metadata = email.message_from_string(text_of(wheel, "METADATA"))
    assert metadata["License-Expression"] == "MIT"
    assert "the rlhf-env authors" in text_of(wheel, "licenses/LICENSE")
    asked = metadata.get_all("Requires-Dist") or []
    core = {line.partition(">=")[0] for line in asked if "extra ==" not in line}
    assert core >= CORE
    assert len(core) <= 12
    assert set(metadata.get_all("Provides-Extra") or []) == {
        *(
            "studies",
            "rewards",
            "label",
            "lora",
            "distributed",
            "serving",
            "ray",
            "all",
            "dev",
            "docs",
        ),
        *("wandb", "trackio", "mlflow", "openenv", "reasoning", "minari"),
    }


def test_the_lowest_versions_are_those_that_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for name in TRIED for line in extras[name])]
    declared = dict(line.split(">=") for line in asked if not line.startswith("rlhf-env["))
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))
    tried = {name.lower().replace("_", "-"): version for name, version in tried.items()}
    assert tried.keys() == declared.keys()
    for name in declared.keys() - {"torch"}:
        assert padded(tried[name]) == padded(declared[name]), name


def padded(version: str) -> list[str]:
    return [*version.split("."), "0", "0"][:3]
