"""Measure where value-based and path methods end up, and how many fresh episodes they need.

    python scripts/value_learning.py
    python scripts/value_learning.py --parts fixed breaks --out runs/mine

Writes a file of rows for each part and task, and prints the tables as Markdown.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("value_learning")
