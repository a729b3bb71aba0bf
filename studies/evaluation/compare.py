"""The work of `scripts/compare.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from studies.evaluation import comparison
from studies.evaluation.folder import COMPARISON, PAIRS, check_out
from studies.evaluation.loading import Source, check_code, load_agent, load_task, read_source
from studies.evaluation.saved import Saved, find_saved
from studies.evaluation.settings import REFERENCE, Compare
from studies.evaluation.verdicts import check_judge
from studies.execution.failure import CommandFailed
from studies.execution.threads import flush_denormals, set_threads
from studies.experiment.task.spec import Problem
from studies.feedback_rounds.command import LABELS_WANTED
from studies.feedback_rounds.labels import LabelsMissing


def run(settings: Compare) -> None:
    """Check everything before a model is loaded, then compare, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
        CommandFailed: if people have not labeled all pairs yet.
    """
    question = settings.question
    name = f"{settings.first.name}-against-{settings.second.name}"
    out = settings.out or settings.first.with_name(name)
    check_out(out, COMPARISON)
    first, second, source = find_both(settings)
    flush_denormals()
    task = load_task(source)
    agents = load_agent(first, task), None if second is None else load_agent(second, task)
    check_judge(settings.by, task)
    set_threads(question.threads, sum(p.numel() for p in task.reference.parameters()))
    try:
        found = comparison.compare(
            *agents,
            episodes=question.episodes,
            seed=question.seed,
            by=settings.by,
            labels=_pairs_file(settings, out),
        )
    except LabelsMissing as missing:
        raise CommandFailed(str(missing), LABELS_WANTED) from missing
    console = Console(highlight=False, soft_wrap=True)
    comparison.show(found, question.samples, console)
    comparison.write(found, settings, task.name, out)
    console.print(f"\nresults in {out}", markup=False)


def _pairs_file(settings: Compare, out: Path) -> Path | None:
    """Return where people label, in a folder that exists."""
    if settings.by != "people":
        return None
    out.mkdir(parents=True, exist_ok=True)
    return out / PAIRS


def find_both(settings: Compare) -> tuple[Saved, Saved | None, Source]:
    """Return both agents and what they are asked: what is named, else what they agree on.

    The second is None where the first is compared with its reference.

    Raises:
        ValueError: if one cannot be used, or they were trained on different tasks.
    """
    asked, trust = settings.question.problem, settings.question.trust
    if str(settings.second) == REFERENCE and not settings.second.exists():
        only = find_saved(settings.first)
        return only, None, read_source(only, asked, trust=trust)
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
