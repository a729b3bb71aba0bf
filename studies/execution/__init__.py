"""Running many runs: worker processes, a Ray cluster, and signals."""
