"""Compare agents, discounts, reward densities and time granularities over seeds.

    python scripts/ablate.py
    python scripts/ablate.py --agent ppo grpo --gamma 0.9 0.99 1.0 --density terminal every_k \
        --granularity token bandit --seeds 5 --task toy15 --jobs 2 --out runs/mine
    python scripts/ablate.py --horizon 8 32 128 --task delay needles --out runs/horizon

The same command again continues an interrupted one, and with more seeds it adds them.
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("ablate")
