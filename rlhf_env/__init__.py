"""Token-level RLHF as a Gymnasium environment.

Importing registers ``RLHF-v0`` and ``RLHF-Turn-v0`` and nothing else: no model is loaded, and torch
is imported when a name that needs it is first used.
"""

from __future__ import annotations

import gymnasium as gym
import lazy_loader
from gymnasium.envs.registration import WrapperSpec

from rlhf_env import deprecated_modules

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

deprecated_modules.install()

if "RLHF-v0" not in gym.registry:
    gym.register(
        id="RLHF-v0",
        entry_point="rlhf_env.env:RLHFEnv",
        vector_entry_point="rlhf_env.vector_env:RLHFVectorEnv",
    )

if "RLHF-Turn-v0" not in gym.registry:
    gym.register(
        id="RLHF-Turn-v0",
        entry_point="rlhf_env.env:RLHFEnv",
        additional_wrappers=(WrapperSpec("TurnText", "wrappers.turns:TurnText", {}),),
    )
