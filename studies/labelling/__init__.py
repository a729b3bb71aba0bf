"""The parts of `scripts/label.py`: people judge responses in a browser."""
