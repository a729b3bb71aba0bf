"""Checkpoints and exported folders: what of an agent is written, and how it is read back."""
