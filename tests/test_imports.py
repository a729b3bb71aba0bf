"""Who imports whom: scripts -> agents, wrappers -> rlhf_env, and nobody in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rlhf_env", "wrappers", "agents", "studies", "scripts")
ALLOWED = {
    "rlhf_env": {"rlhf_env"},
    "wrappers": {"wrappers", "rlhf_env"},
    "agents": {"agents", "rlhf_env"},
    "studies": {"studies", "agents", "wrappers", "rlhf_env"},
    "scripts": {"scripts", "studies", "agents", "wrappers", "rlhf_env"},
}
PURE = ("agents/math.py", "agents/math/*.py", "rlhf_env/kl.py")


def source_files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in source_files()}


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever in the file it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            assert node.module is not None
            # "from package import name" may mean a module of it.
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            }
    return found


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_imports_run_downhill(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    houses = {name.split(".")[0] for name in imported(path)} & set(PACKAGES)
    assert houses <= ALLOWED[package], f"{package} must not import {houses - ALLOWED[package]}"
    assert "tests" not in {name.split(".")[0] for name in imported(path)}


def test_no_circles() -> None:
    """Imports inside functions and for type checkers count too."""
    arrows = {name: imported(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    while arrows:
        named = set().union(*arrows.values())
        ends = [m for m, targets in arrows.items() if not targets & arrows.keys() or m not in named]
        if not ends:
            pytest.fail(f"these import each other in circles: {sorted(arrows)}")
        for name in ends:
            del arrows[name]


@pytest.mark.parametrize("pattern", PURE)
def test_formulas_know_tensors_only(pattern: str) -> None:
    for path in ROOT.glob(pattern):
        own = module_name(path).rsplit(".", 1)[0] if "/*" in pattern else module_name(path)
        outside = {
            name
            for name in imported(path)
            if not name.startswith(own)
            and name.split(".")[0] not in sys.stdlib_module_names | {"torch"}
        }
        assert not outside, f"{path.name} holds formulas and imports {sorted(outside)}"


def run(code: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout + answer.stderr


def test_importing_is_light_and_silent() -> None:
    heavy = ("torch", "transformers", "datasets", "pandas", "stable_baselines3", "matplotlib")
    found = run(f"import sys, rlhf_env; print(sorted(set({heavy}) & set(sys.modules)), end='')")
    assert found == "[]"


def test_importing_registers_once() -> None:
    """Trap H17."""
    found = run(
        "import gymnasium, importlib, rlhf_env; importlib.reload(rlhf_env);"
        "spec = gymnasium.spec('RLHF-v0');"
        "print(spec.entry_point, spec.vector_entry_point, end='')"
    )
    assert found == "rlhf_env.env:RLHFEnv rlhf_env.vector_env:RLHFVectorEnv"


def test_names_are_found_when_asked_for() -> None:
    import rlhf_env

    for name in {*rlhf_env.__all__} - {"exact", "kl", "rewards", "tasks"}:
        assert getattr(rlhf_env, name).__module__.startswith("rlhf_env.")
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = rlhf_env.nonsense
    from rlhf_env import exact

    assert exact.solve
