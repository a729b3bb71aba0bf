"""Private parts of other libraries are checked, and left out with one warning if they changed."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rlhf_env.engine import compat, fused_decoder, matmul, packed_pass, row_cache
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.fused import weights
from rlhf_env.engine.language_model import LanguageModel
from tests.toys import tiny_llama

ROOT = Path(__file__).parents[3]
PRIVATE = re.compile(
    r"\._attn_implementation|_supports_attention_backend|\b_is_stateful\b|variance_epsilon"
    r"|ops\.mkldnn|trainer_pt_utils|pytorch_utils|\._version\b|\._(forward|backward)_(pre_)?hooks"
    r"|\._modules\.|\._parameters\b|\._buffers\b|modeling_layers"
    r"|torch\._dynamo"
)
CHECKS: list[functools._lru_cache_wrapper[Any]] = [
    compat.warn_once,
    compat.has_onednn,
    compat.knows_layers,
    row_cache._follows_contract,
    fused_decoder._knows_family,
    packed_pass._hands_packing_on,
]
STATES = torch.linspace(-1, 1, 300 * 96).view(300, 96)
WEIGHT = torch.linspace(-1, 1, 800 * 96).view(800, 96)


@pytest.fixture(autouse=True)
def unchecked() -> Iterator[None]:
    """Each test, and what runs after it, checks anew."""
    for check in CHECKS:
        check.cache_clear()
    yield
    for check in CHECKS:
        check.cache_clear()


def test_one_file_names_private_parts() -> None:
    files = [*ROOT.glob("rlhf_env/**/*.py"), *ROOT.glob("agents/**/*.py")]
    found = [f.name for f in files if PRIVATE.search(f.read_text(encoding="utf-8"))]
    assert found == ["compat.py"]


def test_everything_works_with_the_installed_libraries() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert row_cache._follows_contract()
        assert fused_decoder._knows_family()
        assert packed_pass._hands_packing_on()
        assert compat.knows_layers()
        assert compat.has_onednn() == torch.backends.mkldnn.is_available()


def other_signature(*_: Any) -> torch.Tensor:
    raise RuntimeError("_linear_pointwise() expected at most 5 arguments")


def other_numbers(states: torch.Tensor, weight: torch.Tensor, bias: Any) -> torch.Tensor:
    return 2.0 * nn.functional.linear(states, weight, bias)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("changed", [other_signature, other_numbers])
def test_a_changed_product_is_left_out_with_one_warning(
    changed: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (compat, matmul):
        monkeypatch.setattr(module, "onednn_linear", changed)
    with pytest.warns(UserWarning, match="oneDNN's product does not work with torch") as told:
        products = [matmul.linear(STATES, WEIGHT) for _ in range(2)]
    assert len(told) == 1
    expected = nn.functional.linear(STATES, WEIGHT)
    torch.testing.assert_close(products, [expected, expected], atol=1e-4, rtol=1e-5)


def test_a_changed_cache_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, lengths = torch.tensor([[1, 2, 3], [2, 1, 0]]), torch.tensor([3, 2])
    expected = Engine(tiny_llama(), 8)(tokens, lengths)
    row_cache._follows_contract.cache_clear()
    monkeypatch.setattr(row_cache.RowCache, "update", lambda self, keys, values, *_: (keys, values))
    engine = Engine(tiny_llama(), 8)
    with pytest.warns(UserWarning, match="the key/value cache does not work") as told:
        found = [engine(tokens, lengths) for _ in range(2)]
    assert len(told) == 1
    torch.testing.assert_close(found, [expected, expected])


def test_changed_arguments_of_attention_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(tiny_llama(), 8)
    tokens = torch.tensor([[1, 2, 3], [2, 1, 0]])
    wanted = torch.tensor([[False, True, True], [True, True, False]])
    monkeypatch.setattr(
        packed_pass, "_packed_hidden", lambda trunk, packing, tokens, wanted: torch.zeros(4, 1)
    )
    with pytest.warns(UserWarning, match="the packed pass does not work") as told:
        found = [model.packed_hidden(tokens, wanted) for _ in range(2)]
    assert len(told) == 1
    torch.testing.assert_close(found, [model.hidden(tokens)[wanted]] * 2)


def test_renamed_attributes_of_a_norm_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(norm: nn.Module) -> float:
        raise AttributeError("variance_epsilon")

    monkeypatch.setattr(weights, "rms_norm_epsilon", renamed)
    with pytest.warns(UserWarning, match="fused decode does not work") as told:
        assert not fused_decoder.supports_fused_decode(tiny_llama())
        assert not fused_decoder.supports_fused_decode(tiny_llama(seed=1))
    assert len(told) == 1


@pytest.mark.parametrize(
    "register", ["register_full_backward_hook", "register_full_backward_pre_hook"]
)
def test_backward_hooks_are_modifications(register: str) -> None:
    model = tiny_llama()
    getattr(model.model.layers[0].mlp, register)(lambda *_: None)
    assert compat.is_modified(model.model.layers[0].mlp)
    assert not fused_decoder.supports_fused_decode(model)


def test_an_unmodified_module() -> None:
    assert not compat.is_modified(nn.Linear(2, 2))
