"""Learn from comparisons directly and by a reward model, and measure both by the exact truth.

    python scripts/preference.py
    python scripts/preference.py --methods dpo reward_ppo --pairs 200 5000 --seeds 3 --out runs/mine

Writes points.csv and preference.png, and prints the table as Markdown. The same command continues
an interrupted one; more seeds, methods and amounts of data may be asked for later.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("preference")
