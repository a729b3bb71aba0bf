"""Measure what an untrained critic does to the first updates of PPO, and what mends it.

    python scripts/critics.py
    python scripts/critics.py --tasks delay-64 --seeds 3 --out runs/mine

Writes curves.csv and critics.png, and prints the tables as Markdown.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("critics")
