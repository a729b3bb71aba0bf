"""Measure published claims again: each has a setting, a deciding contrast and a verdict.

    python scripts/zoo.py list
    python scripts/zoo.py run discount-on-score
    python scripts/zoo.py run all --jobs 2
    python scripts/zoo.py report
    python scripts/zoo.py new my-claim

A run continues from the rows that its folder has; docs/zoo.md says how to read a verdict.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("zoo")
