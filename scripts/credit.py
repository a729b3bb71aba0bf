"""Grade how well each credit assignment finds the tokens that earned the score.

    python scripts/credit.py
    python scripts/credit.py --tasks needles-16 --seeds 3 --out runs/mine

Writes credit.csv and prints the table as Markdown.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("credit")
