"""Optimize proxy rewards by best-of-n and PPO until the true reward suffers, and say where.

    python scripts/overoptimization.py
    python scripts/overoptimization.py --seeds 5 --pairs 250 4000 --jobs 4 --out runs/mine
    python scripts/overoptimization.py --updates 0 --rules

Writes points.csv, fits.csv and overoptimization.png, and prints the tables as Markdown. The same
command continues an interrupted one; more seeds may be asked for later.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("overoptimization")
