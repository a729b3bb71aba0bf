"""The training loop, the optimizer, logs and checkpoints."""
