"""The zoo of claims of `scripts/zoo.py`: published results, measured again, each with a verdict."""
