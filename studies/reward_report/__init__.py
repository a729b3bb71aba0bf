"""The parts of `scripts/reward_report.py`."""
