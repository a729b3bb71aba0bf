"""Whole turns as texts: a Gymnasium view, and what other libraries take.

`TurnText` is the view, and ``gym.make("RLHF-Turn-v0")`` makes one.
"""

from __future__ import annotations

from wrappers.turns.turn_text import TurnText

__all__ = ["TurnText"]
