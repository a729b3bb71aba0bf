"""Evaluate a saved agent: scores, KL and lengths with intervals, beside its reference's.

    python scripts/evaluate.py runs/a
    python scripts/evaluate.py my-agent --task reviews --episodes 1000 --out runs/a-again

Exit status: 0 when all is done, 1 when a result could not be written, 2 for what cannot be
evaluated, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

import tyro

from studies.ablation.version import is_version_asked
from studies.evaluation.settings import Evaluate, check_question
from studies.evaluation.terminal import console, guarded


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, check it, and evaluate; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if is_version_asked(words):
        return 0
    settings = tyro.cli(Evaluate, args=words, description=(__doc__ or "").split("\n")[0])
    return guarded("evaluate", lambda: evaluate(settings))


def evaluate(settings: Evaluate) -> None:
    """Check everything before a model is loaded, then evaluate, print and write.

    Raises:
        ValueError: if something cannot be used.
        OSError: if a result cannot be written.
    """
    from studies.evaluation.folder import EVALUATION, check_out

    question = settings.question
    check_question(question)
    out = settings.out or settings.folder.with_name(f"{settings.folder.name}-evaluation")
    check_out(out, EVALUATION)

    from studies.evaluation.saved import find_saved

    saved = find_saved(settings.folder)

    from studies.evaluation.loading import load_agent, load_task, read_source

    task = load_task(read_source(saved, question.problem))
    agent = load_agent(saved, task)

    from studies.evaluation import evaluation

    found = evaluation.evaluate(agent, question.episodes, question.seed)
    terminal = console()
    evaluation.show(found, question.samples, terminal)
    evaluation.write(found, saved, task.name, question, out)
    terminal.print(f"\nresults in {out}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
