"""Make the report of an ablation: one HTML file without external resources, and its figures.

python scripts/report.py runs/ablation
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("report")
