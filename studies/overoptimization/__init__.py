"""The study of `scripts/overoptimization.py`: proxies optimized until the truth suffers."""
