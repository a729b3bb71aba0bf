"""The grid behind `scripts/ablate.py`: its runs, its records and its folder."""
