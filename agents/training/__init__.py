"""The training loop, the optimiser, logs and checkpoints."""
