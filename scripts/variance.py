"""Measure what time granularity and reward density do to gradient noise and learning speed.

    python scripts/variance.py
    python scripts/variance.py --rollouts 48 --seeds 3 --jobs 4 --out runs/mine

Writes noise.csv, episodes.csv and variance.png, and prints both tables as Markdown.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("variance")
