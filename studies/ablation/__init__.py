"""The grid of `scripts/ablate.py`: its runs, its records and its folder."""
