"""Measure how early signals of reward hacking speak, and how often without a reason.

    python scripts/early_warning.py
    python scripts/early_warning.py --seeds 8 --out runs/mine

Trains PPO on the task "reviews" against proxies that are wrong, against the same held close by a
strong KL penalty, and against the truth. Writes points.csv and alarms.json, and prints the tables.
The same command continues an interrupted one; more seeds may be asked for later.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("early_warning")
