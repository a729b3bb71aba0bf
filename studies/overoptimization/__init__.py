"""The study behind `scripts/overoptimization.py`: proxies optimised until the truth suffers."""
