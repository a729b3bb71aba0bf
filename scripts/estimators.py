"""Measure bias and variance of the gradient estimators of agents against the exact gradient.

    python scripts/estimators.py
    python scripts/estimators.py --disputes kl critic --out runs/mine

Writes estimators.csv and estimators.md, and prints the latter.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("estimators")
