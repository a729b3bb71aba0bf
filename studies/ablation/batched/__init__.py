"""Runs of a grid that are trained as one stack, several at a time."""
