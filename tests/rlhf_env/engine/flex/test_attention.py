"""The kernel is compiled for all rows at once, and never left uncompiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlhf_env.engine.flex import attention, trunk
from rlhf_env.engine.flex.attention import FlexFailed, attend_by_mask
from rlhf_env.engine.flex.mask import Sight, filled_length
from rlhf_env.engine.packing import Packing
from tests.rlhf_env.engine.test_packing import groups

_COMPILE = torch.compile


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry for each graph that the kernel is compiled to; graphs are run as they are."""
    made: list[int] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        made.append(len(inputs))
        return graph.forward

    torch.compiler.reset()
    attention.kernel.cache_clear()
    monkeypatch.setattr(torch, "compile", partial(_COMPILE, backend=keep))
    yield made
    attention.kernel.cache_clear()
    torch.compiler.reset()


def attended(
    length: int, dtype: torch.dtype = torch.float32, scaling: float | None = None
) -> tuple[Tensor, Tensor]:
    """What the kernel makes of a group with a response of so many tokens, and what it is."""
    tokens, wanted = groups([9], [4], [length, 3], seed=length)
    packing = Packing.of(tokens, wanted)
    size = filled_length(len(packing.tokens))
    generator = torch.Generator().manual_seed(length)
    query, key, value = (
        torch.randn(1, heads, size, 16, dtype=dtype, generator=generator) for heads in (6, 2, 2)
    )
    mask: Any = Sight.of(packing, size).blocks()
    found, _ = attend_by_mask(
        nn.Identity(), query, key, value, None, packing=mask, scaling=scaling, dropout=0.0
    )
    rows = (each[0][:, packing.offsets.clamp(max=size - 1)] for each in (query, key, value))
    queries, keys, values = (each.transpose(0, 1) for each in rows)
    expected = nn.functional.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, enable_gqa=True, scale=scaling
    ).transpose(1, 2)
    return found[0][packing.offsets[wanted]], expected[wanted]


def test_all_row_lengths_share_a_kernel(graphs: list[int]) -> None:
    """One more for a number of blocks that happens to be another size's."""
    for length in (130, 200, 500, 300, 3, 130, 700, 60):
        found, expected = attended(length)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert 1 <= len(graphs) <= 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_kernels_for_cpus() -> None:
    """PyTorch's compiler makes them without a gradient."""
    attention.kernel.cache_clear()
    torch.compiler.reset()
    with torch.no_grad():
        found, expected = attended(130)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        with torch.compiler.set_stance("fail_on_recompile"):
            for length in (200, 500, 3, 700):
                found, expected = attended(length)
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_scores_are_scaled_as_asked(graphs: list[int]) -> None:
    found, expected = attended(40, scaling=0.7)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert len(graphs) == 1


def test_where_no_more_kernels_may_be_made_it_fails(
    graphs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of making all scores."""
    monkeypatch.setattr(attention, "_KERNELS", {})
    with torch._dynamo.config.patch(recompile_limit=1):
        attended(130)
        with pytest.raises(FlexFailed, match="set TORCH_COMPILE_DISABLE=1 to do without"):
            attended(130, torch.float64)
    assert len(graphs) == 1


def on_gpu() -> Any:
    config = SimpleNamespace(hidden_size=64, num_attention_heads=4)
    return SimpleNamespace(device=torch.device("cuda"), training=False, config=config)


def test_without_a_compiler_it_is_not_used() -> None:
    """And fails where it is asked for all the same."""
    with torch.compiler.set_stance("force_eager"):
        assert not trunk._may_flex(on_gpu())
        with pytest.raises(FlexFailed, match=r"torch\.compile is switched off"):
            attended(20)
    assert trunk._may_flex(on_gpu())


def test_it_can_be_switched_off_from_outside() -> None:
    code = "from rlhf_env.engine.compat import compiles; print(compiles())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TORCH_COMPILE_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
