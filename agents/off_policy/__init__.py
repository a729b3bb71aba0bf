"""Agents that learn values, or path consistency, from episodes of any policy."""
