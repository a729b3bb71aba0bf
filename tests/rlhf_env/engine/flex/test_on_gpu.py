"""What a machine with CUDA checks of flex attention; `benchmarks/gpu.py` runs it first."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from rlhf_env.engine.flex import trunk
from rlhf_env.engine.language_model import LanguageModel
from tests.rlhf_env.engine.flex.plain import leave_flex
from tests.rlhf_env.engine.test_engine import V
from tests.rlhf_env.engine.test_packing import groups

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # Compilers have hints for their users.
    pytest.mark.filterwarnings("ignore"),
]


def qwen2(width: int = 64, dtype: torch.dtype = torch.float32) -> Any:
    """Seven query heads for each of two keys, as in the Qwen2 of 0.5 B."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=V,
        hidden_size=14 * width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.05,
        bos_token_id=None,
    )
    model: Any = Qwen2ForCausalLM(config)
    return model.to("cuda", dtype).eval()


def on_gpu(prompts: list[int], sizes: list[int], rest: list[int]) -> tuple[Tensor, Tensor]:
    tokens, wanted = groups(prompts, sizes, rest)
    return tokens.cuda(), wanted.cuda()


def found_by(lm: LanguageModel, rows: tuple[Tensor, Tensor]) -> list[Tensor]:
    found = lm.packed_hidden(*rows)
    slopes = torch.linspace(-1, 1, found.numel(), device="cuda").view_as(found)
    return [found, *torch.autograd.grad(found.float(), list(lm._trunk.parameters()), slopes)]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Relative to the length of each tensor."""
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).float().norm() <= tolerance * theirs.float().norm()


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)], ids=["fp32", "bf16"]
)
def test_numbers_and_gradients_are_those_of_single_texts(
    dtype: torch.dtype, tolerance: float, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = LanguageModel(qwen2(dtype=dtype), V, gradient_checkpointing=again)
    cases = [
        on_gpu([200, 40], [5, 4], [300, 9, 1, 120]),
        on_gpu([7], [9], [1]),
        on_gpu([1] * 20, [1] * 20, [400, 30, 2]),
    ]
    found = [found_by(lm, rows) for rows in cases]
    assert trunk.supports_flex(lm._trunk)
    leave_flex(monkeypatch)
    for ours, rows in zip(found, cases, strict=True):
        assert_close(ours, found_by(lm, rows), tolerance)


def test_heads_of_no_power_of_two() -> None:
    """A kernel, or a warning and the numbers of single texts: never others."""
    lm = LanguageModel(qwen2(width=24), V)
    rows = on_gpu([30, 4], [3, 4], [100, 9, 1])
    found = lm.packed_hidden(*rows)
    assert_close([found], [lm.hidden(rows[0])[rows[1]]], 1e-4)


def test_autocast() -> None:
    lm = LanguageModel(qwen2(), V)
    rows = on_gpu([200, 40], [5, 4], [300, 9, 1, 120])
    with torch.autocast("cuda", torch.bfloat16):
        found = lm.packed_hidden(*rows)
    assert trunk.supports_flex(lm._trunk)
    assert_close([found], [lm.hidden(rows[0])[rows[1]]], 0.05)


def test_other_rows_take_no_new_kernels() -> None:
    lm = LanguageModel(qwen2(), V)
    with torch.no_grad():
        lm.packed_hidden(*on_gpu([20], [3], [300, 5]))
        with torch.compiler.set_stance("fail_on_recompile"):
            lm.packed_hidden(*on_gpu([90, 3], [3, 9], [500, 5, 80]))
            lm.packed_hidden(*on_gpu([9], [8], [900, 5, 80, 1]))
    assert trunk.supports_flex(lm._trunk)


def test_copies_of_a_model_take_no_new_kernels() -> None:
    lm = LanguageModel(qwen2(), V)
    assert trunk.supports_flex(lm._trunk)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert trunk.supports_flex(LanguageModel(copy.deepcopy(lm.model), V)._trunk)
