"""The parts of `scripts/evaluate.py` and `scripts/compare.py`: saved agents and their responses."""
