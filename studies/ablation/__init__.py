"""The grid behind `scripts/ablate.py`: what is varied, who runs it, and what it leaves behind."""
