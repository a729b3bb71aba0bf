"""The study of `scripts/variance.py`: what granularity and density do to gradient noise."""
