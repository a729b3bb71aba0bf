"""How well a reward model agrees with feedback."""

from __future__ import annotations

from rlhf_env.extras import require

require("rewards", "scipy", "sklearn")
