"""Reward models learned from what people said about responses; the entry is in `train`."""
