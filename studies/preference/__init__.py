"""The study of `scripts/preference.py`: learning from comparisons, directly or by a reward."""
