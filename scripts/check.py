"""Check a task, reward, environment, wrapper, algorithm, agent or loss against its contract.

python scripts/check.py toy15
python scripts/check.py my_reward.py:score
python scripts/check.py my_losses.py:ppo_loss --kind policy_loss --names logprobs=log_prob
python scripts/check.py --list
"""

from __future__ import annotations

from studies.cli.entry import launch

if __name__ == "__main__":
    launch("check")
