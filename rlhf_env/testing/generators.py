"""The states of the generators that belong to the whole process."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from rlhf_env.testing.claims import expect


def global_states() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and PyTorch."""
    numpy = np.random.get_state()
    return {
        "random": random.getstate(),
        "numpy.random": (numpy[0], bytes(numpy[1]), *numpy[2:]),  # type: ignore[index]
        "torch": bytes(torch.get_rng_state().numpy()),
    }


def expect_untouched(before: dict[str, Any]) -> None:
    """Raise AssertionError naming the generators that moved since ``before``."""
    moved = [name for name, state in global_states().items() if state != before[name]]
    expect(not moved, f"moved: {', '.join(moved)}")
