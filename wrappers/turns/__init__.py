"""Whole turns as texts: a Gymnasium view, and what other libraries take.

`TurnText` is the view, and ``gym.make("RLHF-Turn-v0")`` makes one.
`wrappers.turns.openenv_server` serves it to OpenEnv clients, `wrappers.turns.trl_environment` hands
it to TRL.
"""

from __future__ import annotations

from wrappers.turns.turn_text import TurnText

__all__ = ["TurnText"]
