"""Let people judge responses in a browser: compare, rank, thumbs, ratings, marked parts.

    python scripts/label.py --data pairs.jsonl --out runs/labels
    python scripts/label.py --data runs/ppo/samples.jsonl --ask mark --out runs/marks
    python scripts/label.py --out runs/labels --export

Ctrl-C closes the page; the same command opens it again, and no click is lost.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("label")
