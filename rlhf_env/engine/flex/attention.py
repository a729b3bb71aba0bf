"""Attention of a packed row by PyTorch's flex attention: one kernel for all texts.

The kernel is compiled at first use; `torch.compile` keeps one for every kind of arguments, of any
row length. Without a compiler flex attention would make all T x T scores, so it is not used then.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface

NAME = "rlhf_env_flex"
# Kernels for models of as many shapes and types, with a gradient and without. Releases of torch
# that cannot be told keep 8, and refuse more.
_KERNELS = {"recompile_limit": 64}


class FlexFailed(RuntimeError):
    """Flex attention raised where scaled-dot-product attention may do."""


@functools.cache
def kernel() -> Callable[..., Tensor]:
    """Return the compiled function; see `_attend`."""
    known = inspect.signature(torch.compile).parameters
    limit: dict[str, Any] = {name: value for name, value in _KERNELS.items() if name in known}
    # A whole graph: where no further kernel may be made, an error in place of T x T scores.
    return torch.compile(_attend, dynamic=True, fullgraph=True, **limit)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float) -> Tensor:
    """Return [1, heads, T, D] of queries [1, heads, T, D] and keys [1, key heads, T, D]."""
    if not torch.compiler.is_compiling():
        raise RuntimeError("torch.compile is switched off")
    is_grouped = query.shape[1] != key.shape[1]
    found = flex_attention(query, key, value, None, mask, scale, is_grouped)
    assert isinstance(found, Tensor)
    return found


def attend_by_mask(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: BlockMask,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend within each text of a row.

    Args:
        module: the attention layer.
        query: [1, heads, T, D].
        key: [1, key heads, T, D].
        value: [1, key heads, T, D].
        attention_mask: none.
        packing: which of the T tokens see which.
        scaling: multiplies the scores; 1 / sqrt(D) when None.
        **settings: those of `transformers`' attention functions that leave scaled-dot-product
            attention as it is.

    Returns:
        [1, T, heads, D], and no attention weights.

    Raises:
        FlexFailed: if the kernel cannot be made, or raises anything but a lack of memory.
    """
    kind = query.device.type
    states = query, key, value
    if torch.is_autocast_enabled(kind):
        # As autocast does for scaled-dot-product attention.
        states = tuple(each.to(torch.get_autocast_dtype(kind)) for each in states)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    try:
        found = kernel()(*states, packing, scale)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # Compilers raise all kinds.
        raise FlexFailed(
            f"flex attention failed: {error}; set TORCH_COMPILE_DISABLE=1 to do without"
        ) from error
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend_by_mask)
