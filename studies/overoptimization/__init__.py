"""The study behind `scripts/overoptimization.py`: proxies optimized until the truth suffers."""
