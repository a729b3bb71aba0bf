"""Evaluate a saved agent: scores, KL and lengths with intervals, beside its reference's.

python scripts/evaluate.py runs/a
python scripts/evaluate.py my-agent --task reviews --episodes 1000 --out runs/a-again
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("evaluate")
