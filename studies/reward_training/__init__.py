"""The parts of `scripts/train_reward.py`."""
