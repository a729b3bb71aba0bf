"""How long the report of a large ablation takes.

    python benchmarks/report.py                  # 10,000 runs of 50 updates, two agents
    python benchmarks/report.py --seeds 1 --updates 500

Makes a results folder of invented runs, scores and curves included, in a temporary folder, and
times `studies.reporting.report.make_report` on it in this process: wall-clock and processor
seconds.
"""

from __future__ import annotations

import itertools
import json
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from studies.reporting.report import make_report
from studies.results.csv_files import write_csv
from studies.results.folder import CURVES, RESULTS, SAMPLES, SETTINGS

AGENTS = ("ppo", "grpo")
GAMMAS = (0.9, 0.95, 0.98, 0.99, 1.0)
DENSITIES = ("terminal", "every_k", "every_8", "prefix_difference", "potential")
GRANULARITIES = ("token", "macro_2", "macro_4", "bandit")
KL_COEFS = (0.01, 0.02, 0.05, 0.1, 0.2)
SAMPLE_TOKENS = 48


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The size of the folder."""

    seeds: int = 10
    """Runs of each of the 1,000 settings."""
    updates: int = 50
    """Points of each curve."""


def main(settings: Settings) -> None:
    """Make the folder, time its report, and print a row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = write_folder(folder, settings)
        wall, processor = time.perf_counter(), time.process_time()
        files = make_report(folder)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        size = sum(path.stat().st_size for path in files) / 2**20
        print(f"{platform.platform()}, Python {platform.python_version()}")
        print(
            f"{runs:,} runs, {runs * settings.updates:,} points of curves: "
            f"{wall:.1f} s wall-clock, {processor:.1f} s processor, "
            f"{len(files)} files of {size:.1f} MB together"
        )


def write_folder(folder: Path, settings: Settings) -> int:
    """Write what an ablation leaves before its report; return the number of runs."""
    results = invented_results(settings.seeds)
    axes = {"agent": AGENTS, "seeds": settings.seeds, "task": "toy15", "updates": settings.updates}
    (folder / SETTINGS).write_text(json.dumps(axes), encoding="utf-8")
    write_csv(folder / RESULTS, results)
    write_csv(folder / CURVES, invented_curves(results, settings.updates))
    samples = "".join(f"{json.dumps(episode(run))}\n" for run in results["run_id"])
    (folder / SAMPLES).write_text(samples, encoding="utf-8")
    return len(results)


def invented_results(seeds: int) -> pd.DataFrame:
    """Return one row per run of a full grid."""
    columns = ("seed", "agent", "gamma", "density", "granularity", "kl_coef")
    turns = itertools.product(range(seeds), AGENTS, GAMMAS, DENSITIES, GRANULARITIES, KL_COEFS)
    table = pd.DataFrame(list(turns), columns=list(columns))
    noise = np.random.default_rng(0).normal(size=(6, len(table)))
    is_ppo = table["agent"] == "ppo"
    j_ratio = 0.8 + 0.1 * table["gamma"] + 0.02 * noise[0]
    return table.assign(
        run_id=[f"run-{number}" for number in range(len(table))],
        status="ok",
        error="",
        command="",
        task="toy15",
        gae_lambda=np.where(is_ppo, 0.95, np.nan),
        group_size=np.where(is_ppo, np.nan, 4),
        j_ratio=j_ratio,
        regret=1.2 - j_ratio,
        score=2.0 + 0.3 * noise[1],
        gold=1.0 + 0.3 * noise[2],
        kl=np.abs(2.0 + 0.4 * noise[3]),
        win_rate=np.clip(0.7 + 0.1 * noise[4], 0.0, 1.0),
        entropy=np.abs(0.5 + 0.1 * noise[5]),
        response_length=20.0 + noise[0],
        eos_rate=0.9,
    )


def invented_curves(results: pd.DataFrame, updates: int) -> pd.DataFrame:
    """Return one row per run and update: the metrics approach the run's final values."""
    random = np.random.default_rng(1)
    update = np.tile(np.arange(1, updates + 1), len(results))
    rows = results.loc[results.index.repeat(updates)]
    share = 1.0 - np.exp(-4.0 * update / updates)
    names = ("j_ratio", "score", "gold", "kl", "entropy", "response_length")
    moved = {
        name: rows[name].to_numpy() * share + 0.05 * random.normal(size=len(rows)) for name in names
    }
    return pd.DataFrame(
        {"run_id": rows["run_id"], "update": update, **moved, "regret": 1.2 - moved["j_ratio"]}
    )


def episode(run_id: str) -> dict[str, object]:
    """Return an example episode of typical length."""
    numbers = [0.1] * SAMPLE_TOKENS
    return {
        "run_id": run_id,
        "stage": "after",
        "prompt": "The soup was",
        "tokens": [" good"] * SAMPLE_TOKENS,
        "reward_terms": {"score": numbers, "kl": numbers},
        "score": 1.0,
        "values": numbers,
        "advantages": numbers,
    }


if __name__ == "__main__":
    main(tyro.cli(Settings, description=(__doc__ or "").split("\n")[0]))
