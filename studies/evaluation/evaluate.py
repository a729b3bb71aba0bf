"""The work of `scripts/evaluate.py`."""

from __future__ import annotations

from rich.console import Console

from studies.evaluation import evaluation, further
from studies.evaluation.folder import EVALUATION, check_out
from studies.evaluation.loading import load_agent, load_task, read_source
from studies.evaluation.saved import find_saved
from studies.evaluation.settings import Evaluate
from studies.execution.threads import flush_denormals, set_threads
from studies.experiment.references import import_object


def run(settings: Evaluate) -> None:
    """Check everything before a model is loaded, then evaluate, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
    question = settings.question
    out = settings.out or settings.folder.with_name(f"{settings.folder.name}-evaluation")
    check_out(out, EVALUATION)
    saved = find_saved(settings.folder)
    # Imported before a model is loaded: a name that does not exist is refused at once.
    probe = settings.more.probe and import_object(settings.more.probe, "--probe")
    flush_denormals()
    task = load_task(read_source(saved, question.problem, trust=question.trust))
    agent = load_agent(saved, task)
    set_threads(question.threads, sum(p.numel() for p in task.reference.parameters()))
    found = evaluation.evaluate(
        agent, question.episodes, question.seed, settings.more, probe or None
    )
    console = Console(highlight=False, soft_wrap=True)
    evaluation.show(found, question.samples, console)
    further.show(found.further, console)
    evaluation.write(found, saved, task.name, question, out)
    console.print(f"\nresults in {out}", markup=False)
