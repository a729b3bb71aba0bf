"""A made-up grid of horizons whose every number is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from studies.results.csv_files import write_csv

UPDATES, EPISODES = 10, 100
OPTIMUM, REFERENCE = 0.9, 0.1
Setting = tuple[str, float]
# (family, T, (density, gamma)) -> the update after which each of five seeds has gained 90 %.
Arrivals = Mapping[tuple[str, int, Setting], list[float]]
NEVER = math.inf
FULL: Arrivals = {
    ("delay", 8, ("terminal", 1.0)): [1, 2, 2, 2, 3],
    ("delay", 8, ("terminal", 0.9)): [2, 2, 3, 3, 4],
    ("delay", 8, ("every_1", 1.0)): [1, 1, 2, 2, 2],
    ("delay", 8, ("every_1", 0.9)): [1, 1, 2, 2, 2],
    ("delay", 64, ("terminal", 1.0)): [7, 8, 8, 9, NEVER],
    ("delay", 64, ("terminal", 0.9)): [NEVER] * 5,
    ("delay", 64, ("every_1", 1.0)): [2, 2, 3, 3, 3],
    ("delay", 64, ("every_1", 0.9)): [2, 3, 3, 3, 4],
    ("needles", 8, ("terminal", 1.0)): [3, 3, 3, 3, 3],
    ("needles", 8, ("every_1", 1.0)): [3, 3, 3, 3, 3],
    ("needles", 64, ("terminal", 1.0)): [5, 5, 6, 6, 7],
    ("needles", 64, ("every_1", 1.0)): [5, 6, 6, 6, 6],
}


def frames(arrivals: Arrivals = FULL, agent: str = "ppo") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of runs and of curves."""
    runs, points = [], []
    for (family, horizon, (density, gamma)), updates in arrivals.items():
        for seed, arrival in enumerate(updates):
            name = f"{family}-{horizon}-{agent}-{density}-{gamma}-s{seed}"
            curve = [0.95 if update >= arrival else 0.3 for update in range(1, UPDATES + 1)]
            runs.append(
                {
                    "run_id": name,
                    "status": "ok",
                    "error": "",
                    "command": "",
                    "agent": agent,
                    "gamma": gamma,
                    "density": density,
                    "granularity": "token",
                    "gae_lambda": 0.95,
                    "kl_coef": math.nan,
                    "group_size": math.nan,
                    "seed": seed,
                    "task": f"{family}-{horizon}",
                    "family": family,
                    "horizon": horizon,
                    "optimum": OPTIMUM,
                    "reference_objective": REFERENCE,
                    "regret": (1 - curve[-1]) * (OPTIMUM - REFERENCE) * (1 + seed / 10),
                    "j_ratio": curve[-1],
                    "score": 0.5,
                    "kl": 0.1,
                }
            )
            points += [
                {
                    "run_id": name,
                    "update": update,
                    "episodes": update * EPISODES,
                    "gained": gained,
                    "j_ratio": gained,
                    "score": gained,
                }
                for update, gained in enumerate(curve, start=1)
            ]
    return pd.DataFrame(runs), pd.DataFrame(points)


def write_map(folder: Path, arrivals: Arrivals = FULL, agents: tuple[str, ...] = ("ppo",)) -> None:
    """Write the files of a grid that a report is made of."""
    made = [frames(arrivals, agent) for agent in agents]
    write_csv(folder / "results.csv", pd.concat([runs for runs, _ in made]))
    write_csv(folder / "curves.csv", pd.concat([points for _, points in made]))
    (folder / "settings.json").write_text(json.dumps({"task": "delay-8, delay-64", "seeds": 5}))
