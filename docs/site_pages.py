"""What the site has that the pages do not: its navigation, the API reference, and a front page."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

API = {
    "rlhf_env": "The environment, tasks and rollouts.",
    "rlhf_env.tasks": "Built-in tasks, and tasks of one's own.",
    "rlhf_env.exact": "Optimal policies, values and regret.",
    "rlhf_env.rewards": "Rewards, and learning them from feedback.",
    "rlhf_env.kl": "Estimators of the KL divergence, and other divergences.",
    "rlhf_env.testing": "Conformance checks for what you plug in.",
    "wrappers": "Wrappers of single environments.",
    "wrappers.vector": "Wrappers of vector environments.",
    "wrappers.turns": "A view of whole turns as texts.",
    "wrappers.reward_terms": "The parts of a reward wrapper.",
    "agents": "Agents, algorithms and the training loop.",
    "agents.callbacks": "What may be done after every update.",
    "agents.math": "Advantages, returns and losses: pure functions of tensors.",
    "agents.credit": "Hindsight redistribution of a score over tokens.",
    "agents.exact_gradients": "Expected gradients by enumeration.",
}

TUTORIALS = (
    *("first-episode", "first-training-run", "first-ablation"),
    *("your-own-model", "your-own-algorithm", "from-feedback-to-policy"),
)
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Start": ("README", "examples/README", "docs/names"),
    "Tutorials": tuple(f"docs/tutorials/{name}" for name in TUTORIALS),
    "How to": (
        *("docs/ablations", "docs/report", "docs/train-your-model", "docs/export"),
        *("docs/scale", "docs/several-processes", "docs/external-sampler", "docs/conformance"),
        *("docs/conversations", "docs/turns-and-exchange", "docs/value-based", "docs/replay"),
        *("docs/evaluate-and-compare", "docs/custom-agents", "docs/custom-tasks"),
        *("docs/write-a-wrapper", "docs/preference", "docs/self-play", "docs/train-a-reward"),
        *("docs/evaluate-a-reward", "docs/label", "docs/rounds", "docs/reward-mitigations"),
    ),
    "Concepts": ("docs/concepts", "docs/mdp", "docs/granularity-and-density", "docs/glossary"),
    "Reference": (
        *("docs/agents", "docs/rollouts", "docs/wrappers", "docs/rewards", "docs/clients"),
        *(
            "docs/exact-gradients",
            "docs/reviews",
            "docs/games",
            "docs/horizon-tasks",
            "docs/critics",
        ),
        "docs/entropy",
    ),
    "API": tuple(f"docs/api/{name}" for name in API),
    "Results": (
        *("docs/results/zoo", "docs/zoo", "docs/results/games"),
        *("docs/results/ablation", "docs/results/horizon", "docs/results/variance"),
        *("docs/results/estimators", "docs/results/credit", "docs/results/overoptimization"),
        *("docs/results/early-warning", "docs/results/preference", "docs/results/human-feedback"),
        *("docs/results/estimators/estimators", "docs/results/conformance", "docs/benchmarks"),
    ),
    "Contributing": ("CONTRIBUTING", "AGENTS", "docs/traps", "docs/hostile-cases", "CHANGELOG"),
}
"""Caption -> pages; those of none are under `MORE`."""
MORE = "More"


def add_navigation(app: Any, name: str, source: list[str]) -> None:
    """Put the navigation below the front page, where readers of the plain file do not see it."""
    if name != app.config.root_doc:
        return
    placed = {page for pages in NAVIGATION.values() for page in pages}
    others = tuple(sorted(app.env.found_docs - placed - {name}))
    for caption, pages in {**NAVIGATION, MORE: others}.items():
        if not pages:
            continue
        listed = "\n".join(f"/{page}" for page in pages)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep |x|, a norm, from being read as a substitution."""
    lines[:] = [line.replace("|", "\\|") for line in lines]


def redirect_home(app: Any, error: Exception | None) -> None:
    """Write the index.html that a web server, or a reader of the folder, opens first."""
    if error is None:
        target = f"{app.config.root_doc}.html"
        head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">'
        page = f'<!doctype html><html lang="en"><head>{head}<title>rlhf-env</title></head>'
        page += f'<body><a href="{target}">rlhf-env</a></body></html>\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def write_api_pages(folder: Path) -> None:
    """Write a page for every public module, with all its public names; old pages go."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        if old.stem not in API:
            old.unlink()
    for module, what in API.items():
        lines = [module, "=" * len(module), "", what, "", f".. py:module:: {module}", ""]
        for name in public_names(module):
            lines += _directive(module, name)
        content = "\n".join(lines)
        path = folder / f"{module}.rst"
        # An unchanged page is not read again.
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


def public_names(module: str) -> list[str]:
    """Return the names that a module offers, sorted; submodules have pages of their own."""
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(found).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module
        ]
    return sorted(name for name in names if not inspect.ismodule(getattr(found, name)))


def _directive(module: str, name: str) -> list[str]:
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value):
        options = ["   :members:", "   :show-inheritance:"]
        return [f".. autoclass:: {module}.{name}", *options, ""]
    if callable(value):
        return [f".. autofunction:: {module}.{name}", ""]
    return [f".. py:data:: {module}.{name}", ""]
