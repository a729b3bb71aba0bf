"""What import-linter cannot say: no circles of files, imports at the top, light imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rlhf_env", "wrappers", "agents", "studies", "scripts")
# Own modules that are imported inside a function: "module:function" -> why it cannot be at the top.
INSIDE = {
    "rlhf_env.engine.pretrained:load_language_model": "tokenizers are loaded without torch",
    "rlhf_env.engine.pretrained:load": "tokenizers are loaded without torch",
    "rlhf_env.task:from_pretrained": "a task of ready models needs no transformers",
    "rlhf_env.tasks:_toy15": "the names of tasks are known without torch",
    "rlhf_env.tasks:_reviews": "the names of tasks are known without torch",
    "rlhf_env.tasks:load_task": "the names of tasks are known without torch",
    "rlhf_env.tasks:_factories": "the names of tasks are known without torch",
    "rlhf_env.tasks:_countdown": "the names of tasks are known without torch",
    "rlhf_env.tasks:_countdown_small": "the names of tasks are known without torch",
    "rlhf_env.tasks:_guess": "the names of tasks are known without torch",
    "rlhf_env.tasks:_reverse": "the names of tasks are known without torch",
    "rlhf_env.tasks:_reverse_small": "the names of tasks are known without torch",
    "studies.ablation.command:check_families": "a command that only waits needs no torch",
    "studies.ablation.command:file_digests": "a command that only waits needs no torch",
    "studies.ablation.jobs:train_alone": "a command that only waits needs no torch",
    "studies.ablation.jobs:train_batch": "a command that only waits needs no torch",
    "studies.ablation.jobs:find_reason": "a command that only waits needs no torch",
    "studies.ablation.jobs:find_frontier": "a command that only waits needs no torch",
    "studies.ablation.command:_report": "a grid without a report needs no matplotlib",
    "studies.experiment.old_episodes:old_episodes": "options are checked without torch",
    "studies.training.replay:replay_argument": "options are checked without torch",
    "studies.experiment.task.custom:learn_reward": "only ratings need scikit-learn",
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


def test_own_modules_are_imported_at_the_top() -> None:
    """Layers and rooms are import-linter's, in pyproject.toml; it does not see where in a file."""
    found = {
        f"{name}:{function.name}"
        for name, path in MODULES.items()
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
        if module.split(".")[0] in PACKAGES
    }
    assert found <= INSIDE.keys(), "import these at the top of the file"


def test_nothing_imports_the_tests() -> None:
    for path in source_files():
        assert "tests" not in {name.split(".")[0] for name in imported(path)}, path


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

    for name in {*rlhf_env.__all__} - {"exact", "kl", "rewards", "tasks", "testing"}:
        assert getattr(rlhf_env, name).__module__.startswith("rlhf_env.")
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = rlhf_env.nonsense
    from rlhf_env import exact

    assert exact.solve
