"""Kinds of experiments that claims are made of: training runs, and computations."""
