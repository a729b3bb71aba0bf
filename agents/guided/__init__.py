"""Policies without weights of their own: the frozen reference, guided by learned values."""
