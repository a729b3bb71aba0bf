"""All checks of environments."""

from __future__ import annotations

from rlhf_env.testing import env_interface, env_tokens
from rlhf_env.testing.env_case import env_case as env_case

CHECKS = [*env_interface.CHECKS, *env_tokens.CHECKS]
