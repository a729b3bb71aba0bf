"""Bias and variance of the gradient estimators of agents, by enumeration."""
