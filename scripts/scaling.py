"""Fit how the episodes that agents need grow with the horizon, on tasks whose optimum is known.

    python scripts/scaling.py
    python scripts/scaling.py --families lock --horizons 8 16 32 --agents ppo --out runs/mine

Writes arrivals.csv and scaling.png, and prints the tables as Markdown. The same command continues
an interrupted one; more seeds may be asked for later.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("scaling")
