"""Rounds of feedback: label new responses, learn the reward anew, train the policy further.

    python scripts/rounds.py --task reviews --rounds 3 --out runs/rounds
    python scripts/rounds.py --labels people --pairs-per-round 200 --out runs/people
    python scripts/rounds.py --reward-members 4 --reward-rule uncertainty --out runs/ensemble

The same command again continues an interrupted one. The exit status is 3 when people have to
label pairs first; the message says where.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("rounds")
