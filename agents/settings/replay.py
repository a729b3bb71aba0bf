"""Names that a buffer of old episodes is asked by; `agents.replay` has what they mean."""

from __future__ import annotations

PRIORITIES = ("uniform", "recent", "advantage")
"""Which old episodes are drawn more often; `agents.replay.priorities` has the formulas."""
