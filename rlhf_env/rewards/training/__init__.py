"""Reward models learned from human feedback; the entry point is in `train`."""
