"""The tree of all responses over a small vocabulary: its nodes are prefixes, its leaves responses.

A decision state is a prefix without EOS that is shorter than the horizon. States are numbered level
by level, each level in lexicographic order: with N = V − 1 tokens that do not end the response,
the child of state i by the j-th of them (j = 1 … N) is i·N + j, and the root is 0. For V = 3 and
T = 3 with EOS = 0 that is (), (1), (2), (1,1), (1,2), (2,1), (2,2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

MAX_RESPONSES = 1_000_000


def num_states(vocab_size: int, horizon: int) -> int:
    """Return how many decision states the tree has, Σ_{t<T} (V − 1)^t."""
    return sum((vocab_size - 1) ** depth for depth in range(horizon))


def num_responses(vocab_size: int, horizon: int) -> int:
    """Return how many complete responses exist, Σ_{t≤T} (V − 1)^t.

    Every state may be left by EOS, and (V − 1)^T responses reach the horizon without it.
    """
    return num_states(vocab_size, horizon + 1)


def check_enumerable(vocab_size: int, horizon: int) -> None:
    """Refuse a tree that is too large to enumerate, before any of it is built.

    Raises:
        ValueError: if there are more than a million responses.
    """
    # Counting exactly would itself be slow for a real vocabulary and a long horizon.
    digits = horizon * math.log10(max(vocab_size - 1, 1))
    if digits <= 7 and horizon <= MAX_RESPONSES:
        count = num_responses(vocab_size, horizon)
        if count <= MAX_RESPONSES:
            return
        shown = f"{count:,}"
    else:
        shown = f"{horizon + 1:,}" if vocab_size <= 2 else f"about 1e{digits:.0f}"
    raise ValueError(
        f"a vocabulary of {vocab_size} and a horizon of {horizon} give {shown} responses, at most "
        f"{MAX_RESPONSES:,} can be enumerated; take fewer tokens or a shorter horizon"
    )


def prefixes(tokens: list[int], depth: int) -> Iterator[tuple[int, ...]]:
    """Return all prefixes of one length, in the order in which states are numbered.

    Args:
        tokens: the tokens that do not end a response, ascending.
        depth: length of the prefixes.
    """
    return itertools.product(tokens, repeat=depth)
