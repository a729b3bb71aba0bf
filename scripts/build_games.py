"""Rebuild the language models of the games countdown, guess and reverse from a seed.

    python scripts/build_games.py --out rlhf_env/tasks/games/assets   # the committed assets
    python scripts/build_games.py --game guess --shorter 100 --out /tmp/games

Prints what it measured, which is also in a JSON file beside each model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from rlhf_env.tasks.games.build import build


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line sets."""

    out: Path
    """Folder that gets the assets; files in it are replaced."""
    game: tuple[Literal["countdown", "guess", "reverse"], ...] = ("countdown", "guess", "reverse")
    """Which games."""
    seed: int = 0
    """Decides everything, for one machine and one number of threads."""
    shorter: int = 1
    """Divide the training's steps by this, to see that it runs."""
    threads: int = 1
    """Threads of the training; another number gives slightly other weights."""


def main(options: Options) -> None:
    """Build the games and print what was measured."""
    torch.set_num_threads(options.threads)
    for game in options.game:
        figures = build(game, options.out, options.seed, shorter=options.shorter)
        print(game, json.dumps(figures))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
