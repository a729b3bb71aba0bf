"""Checks of a trainer's functions of plain tensors: losses, advantages, KL estimates."""
