"""Show what one value of an ablation's axis gains over another, seed by seed, with intervals.

    python scripts/gains.py runs/ablation --axis density --over terminal --measures score kl
    python scripts/gains.py docs/results/games/countdown.csv --measures pass_at_1 pass_at_4

Prints a Markdown table for each task.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("gains")
