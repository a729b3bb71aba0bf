"""The settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.agent import AgentConfig


@dataclass(frozen=True, kw_only=True)
class SFTConfig(AgentConfig):
    """Settings of `SFT`: those of `AgentConfig`; an episode is a demonstration."""

    minibatches: int = 4
