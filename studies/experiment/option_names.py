"""Settings in error messages, spelled as options of the command line."""

from __future__ import annotations

import dataclasses
import re

from studies.experiment.names import DENSITIES
from studies.experiment.task.spec import OwnTask, Problem


def as_typed(sentence: str, *kinds: type) -> str:
    """Return an error with its settings named as the command line has them: ``--kl-coef``.

    Args:
        sentence: the error.
        *kinds: dataclasses whose fields are options, besides those that describe a task.
    """
    kinds = (Problem, OwnTask, *kinds)
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    # A single word is an option where it opens the sentence only; it may be a word elsewhere, and
    # every_k a value of --density.
    long = "|".join(name for name in names if "_" in name and name not in DENSITIES)
    first = rf"^({'|'.join(names)})(?= (?:must|goes|is|needs) )"
    anywhere = rf"(?<![\w'\"./-])({long})(?![\w'\"./])"
    return re.sub(f"{first}|{anywhere}", lambda found: f"--{found[0].replace('_', '-')}", sentence)
