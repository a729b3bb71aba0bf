"""Compare two saved agents on the same prompts with the same random numbers.

    python scripts/compare.py runs/a runs/b
    python scripts/compare.py my-agent another --task reviews --episodes 1000 --out runs/match

Exit status: 0 when all is done, 1 when a result could not be written, 2 for what cannot be
compared, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import tyro

from studies.ablation.version import is_version_asked
from studies.evaluation.settings import Compare, check_question
from studies.evaluation.terminal import console, guarded

if TYPE_CHECKING:
    from studies.evaluation.loading import Source
    from studies.evaluation.saved import Saved
    from studies.training.problem import Problem


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, and compare; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if is_version_asked(words):
        return 0
    settings = tyro.cli(Compare, args=words, description=(__doc__ or "").split("\n")[0])
    return guarded("compare", lambda: compare(settings))


def compare(settings: Compare) -> None:
    """Check everything before a model is loaded, then compare, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
    from studies.evaluation.folder import COMPARISON, check_out

    question = settings.question
    check_question(question)
    name = f"{settings.first.name}-against-{settings.second.name}"
    out = settings.out or settings.first.with_name(name)
    check_out(out, COMPARISON)
    first, second, source = find_both(settings)

    from studies.evaluation import comparison
    from studies.evaluation.loading import load_agent, load_task

    task = load_task(source)
    agents = load_agent(first, task), load_agent(second, task)
    found = comparison.compare(*agents, episodes=question.episodes, seed=question.seed)
    terminal = console()
    comparison.show(found, question.samples, terminal)
    comparison.write(found, settings, task.name, out)
    terminal.print(f"\nresults in {out}", markup=False)


def find_both(settings: Compare) -> tuple[Saved, Saved, Source]:
    """Return both agents and what they are asked: what is named, else what they agree on.

    Raises:
        ValueError: if one cannot be used, or they were trained on different tasks.
    """
    from studies.evaluation.loading import read_source
    from studies.evaluation.saved import find_saved

    asked = settings.question.problem
    first, second = find_saved(settings.first), find_saved(settings.second)
    if asked.task is not None or asked.model is not None:
        return first, second, read_source(first, asked)
    known = [saved for saved in (first, second) if saved.run is not None]
    sources = [read_source(saved, asked) for saved in known or [first]]
    different = differences(*(source.problem for source in sources))
    if different:
        raise ValueError(
            f"both agents must have been trained on one task, got different {different[0]}; say "
            "what to ask them by --task or --model"
        )
    return first, second, sources[0]


def differences(*problems: Problem) -> list[str]:
    """Return in which fields the tasks differ; the KL coefficient is the agent's affair."""
    fields = [replace(problem, kl_coef=None).to_json() for problem in problems]
    return [name for name in fields[0] if any(own[name] != fields[0][name] for own in fields)]


if __name__ == "__main__":
    sys.exit(main())
