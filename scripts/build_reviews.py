"""Rebuild the models of the "reviews" task from a seed.

    python scripts/build_reviews.py --out rlhf_env/tasks/reviews/assets   # the committed assets
    python scripts/build_reviews.py --small --out /tmp/reviews            # all, tiny, in seconds

Prints what it measured, which is also in ``figures.json`` beside the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from rlhf_env.tasks.reviews.build import SMALL, BuildSettings, build


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line sets."""

    out: Path
    """Folder that gets the assets; files in it are replaced."""
    seed: int = 0
    """Decides everything, for one machine and one number of threads."""
    small: bool = False
    """Build a tiny version, to see that it runs."""
    threads: int = 1
    """Threads of the training; another number gives slightly other weights."""


def main(options: Options) -> None:
    """Build the task and print what was measured."""
    torch.set_num_threads(options.threads)
    settings = SMALL if options.small else BuildSettings()
    print(build(options.seed, settings, options.out).to_json())


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
