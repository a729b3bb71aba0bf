"""The work of `scripts/compare.py`."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from studies.evaluation import comparison
from studies.evaluation.folder import COMPARISON, check_out
from studies.evaluation.loading import Source, check_code, load_agent, load_task, read_source
from studies.evaluation.saved import Saved, find_saved
from studies.evaluation.settings import Compare
from studies.experiment.task.spec import Problem


def run(settings: Compare) -> None:
    """Check everything before a model is loaded, then compare, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
    question = settings.question
    name = f"{settings.first.name}-against-{settings.second.name}"
    out = settings.out or settings.first.with_name(name)
    check_out(out, COMPARISON)
    first, second, source = find_both(settings)
    task = load_task(source)
    agents = load_agent(first, task), load_agent(second, task)
    found = comparison.compare(*agents, episodes=question.episodes, seed=question.seed)
    console = Console(highlight=False, soft_wrap=True)
    comparison.show(found, question.samples, console)
    comparison.write(found, settings, task.name, out)
    console.print(f"\nresults in {out}", markup=False)


def find_both(settings: Compare) -> tuple[Saved, Saved, Source]:
    """Return both agents and what they are asked: what is named, else what they agree on.

    Raises:
        ValueError: if one cannot be used, or they were trained on different tasks.
    """
    asked, trust = settings.question.problem, settings.question.trust
    first, second = find_saved(settings.first), find_saved(settings.second)
    for saved in (first, second):
        check_code(saved, trust=trust)
    if asked.task is not None or asked.model is not None:
        return first, second, read_source(first, asked, trust=trust)
    known = [saved for saved in (first, second) if saved.run is not None]
    sources = [read_source(saved, asked, trust=trust) for saved in known or [first]]
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
