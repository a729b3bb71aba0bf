"""Estimates with intervals; pure functions of numbers."""
