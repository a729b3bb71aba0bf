"""Compare two saved agents on the same prompts with the same random numbers.

python scripts/compare.py runs/a runs/b
python scripts/compare.py my-agent another --task reviews --episodes 1000 --out runs/match
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("compare")
