"""The task "toy15": three tokens, at most three of them, 15 responses, every number known."""

from __future__ import annotations

import math

from rlhf_env.defaults import HORIZONS
from rlhf_env.task import Task
from rlhf_env.tasks.table import table_task


def toy15_task() -> Task:
    """Return the task whose optimum, gradients and KLs are all known exactly.

    Token 0 is EOS and T = 3, so there are 7 decision states. The reference's logit of token v
    after prefix p is cos(1 + |p| + 2v + 3Σp); a response is paid 1 per token 1, −0.5 per token 2
    and 0.25 for an EOS. beta is 0.5.
    """
    return table_task(3, HORIZONS["toy15"], reference_logits, reward, name="toy15", kl_coef=0.5)


def reference_logits(prefix: tuple[int, ...]) -> list[float]:
    """Return the reference's logits after a prefix, one for each of the 3 tokens."""
    return [math.cos(1 + len(prefix) + 2 * token + 3 * sum(prefix)) for token in range(3)]


def reward(tokens: tuple[int, ...]) -> float:
    """Return what a response is paid; a prefix is paid for what it holds so far."""
    return tokens.count(1) - 0.5 * tokens.count(2) + (0.25 if tokens[-1:] == (0,) else 0.0)
