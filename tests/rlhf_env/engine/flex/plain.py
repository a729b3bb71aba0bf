"""Flex attention on a CPU: without a compiler, which makes all scores, and with a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor
from torch.nn.attention import flex_attention as flex

from rlhf_env.engine import packed_pass
from rlhf_env.engine.flex import attention, trunk


def plain_flex(
    query: Tensor, key: Tensor, value: Tensor, mask: flex.BlockMask, scale: float
) -> Any:
    """What `rlhf_env.engine.flex.attention.kernel` compiles."""
    is_grouped = query.shape[1] != key.shape[1]
    return flex.flex_attention(query, key, value, None, mask, scale, is_grouped)


def use_flex(
    monkeypatch: pytest.MonkeyPatch, kernel: Callable[..., Tensor] = plain_flex
) -> list[int]:
    """Let all trunks use flex attention; return the length of the row in each of its calls."""
    lengths: list[int] = []

    def counted(query: Tensor, *others: Any) -> Tensor:
        lengths.append(query.shape[2])
        return kernel(query, *others)

    # PyTorch refuses gradients on CPUs, because its kernels for them have none.
    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(attention, "kernel", lambda: counted)
    monkeypatch.setattr(trunk, "_may_flex", lambda _: True)
    monkeypatch.setattr(packed_pass, "supports_fused_pass", lambda _: False)
    return lengths


def leave_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all trunks attend text by text."""
    monkeypatch.setattr(trunk, "_may_flex", lambda _: False)
    monkeypatch.setattr(packed_pass, "supports_fused_pass", lambda _: False)
