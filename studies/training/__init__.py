"""The parts of `scripts/train.py`: settings, checks, data, and one run."""
