"""The settings that all agents share; they are defined in `agents.settings`."""

from agents.settings.agent import AgentConfig, Config, divisors, make_config

__all__ = ["AgentConfig", "Config", "divisors", "make_config"]
