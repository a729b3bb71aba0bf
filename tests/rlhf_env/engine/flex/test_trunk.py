"""One call of flex attention a layer gives the numbers of texts that attend by themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from rlhf_env.engine import compat
from rlhf_env.engine.flex import attention, trunk
from rlhf_env.engine.flex.mask import filled_length
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.packing import Packing
from tests.rlhf_env.engine.flex.plain import leave_flex, plain_flex, use_flex
from tests.rlhf_env.engine.test_engine import V, tiny_qwen2
from tests.rlhf_env.engine.test_packing import GROUPS, groups, texts
from tests.toys import tiny_gpt2, tiny_llama

# Llama and Qwen2 with two query heads for each key, Qwen2 with biases; learned positions.
MODELS = {"llama": tiny_llama, "qwen2": tiny_qwen2, "gpt2": tiny_gpt2}
TEXTS: dict[str, tuple[Tensor, Tensor]] = {
    "shared prompts": groups(*GROUPS),
    "long prompts": groups([50, 40], [5, 4], [70, 9, 1, 30]),
    "nothing shared": texts(),
    "one token after a prompt": groups([5], [6], [1]),
    "one long text and a token": texts([100, 1]),
}


@pytest.fixture(autouse=True)
def unwarned() -> Iterator[None]:
    compat.warn_once.cache_clear()
    yield
    compat.warn_once.cache_clear()


def found_by(lm: LanguageModel, rows: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The output, and the gradient of a function of it by all weights that learn."""
    found = lm.packed_hidden(*rows)
    weights = [p for p in lm._trunk.parameters() if p.requires_grad]
    return [found, *torch.autograd.grad(found.sin().sum(), weights)]


@pytest.mark.parametrize("rows", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_flex_is_text_by_text_and_padded(
    build: Callable[[], Any], rows: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build().double()
    lm = LanguageModel(model, V)
    tokens, wanted = rows
    calls = use_flex(monkeypatch)
    lm.packed_hidden(*rows)
    del calls[:]
    found = found_by(lm, rows)
    length = filled_length(len(Packing.of(tokens, wanted).tokens))
    assert calls == [length] * model.config.num_hidden_layers
    leave_flex(monkeypatch)
    by_text = found_by(lm, rows)
    assert len(calls) == model.config.num_hidden_layers
    padded = lm.hidden(tokens)[wanted]
    torch.testing.assert_close(found[0], padded, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found[0], by_text[0], atol=1e-10, rtol=1e-10)
    # Norms of some models work in float32 whatever the weights are.
    torch.testing.assert_close(found[1:], by_text[1:], atol=1e-4, rtol=1e-5)


def test_gradients_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The norms of a GPT-2 work in the type of the weights."""
    lm = LanguageModel(tiny_gpt2().double(), V)
    calls = use_flex(monkeypatch)
    found = found_by(lm, TEXTS["long prompts"])
    assert calls
    leave_flex(monkeypatch)
    by_text = found_by(lm, TEXTS["long prompts"])
    torch.testing.assert_close(found, by_text, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("shares", [True, False])
def test_prompts_are_shared_or_not(shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LanguageModel(tiny_llama(), V, shares_prompts=shares)
    tokens, wanted = TEXTS["long prompts"]
    calls = use_flex(monkeypatch)
    with torch.no_grad():
        found = lm.packed_hidden(tokens, wanted)
        torch.testing.assert_close(found, lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5)
    assert calls[-1] == filled_length(len(Packing.of(tokens, wanted, shares).tokens))
    assert calls[-1] == (384 if shares else 768)


def test_one_text_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed pass runs it as it is; the row works all the same."""
    lm = LanguageModel(tiny_llama(), V)
    tokens, wanted = texts([9])
    use_flex(monkeypatch)
    with torch.no_grad():
        found = trunk.flex_hidden(lm._trunk, Packing.of(tokens, wanted), wanted)
    torch.testing.assert_close(found, lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5)


def test_layers_can_be_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TEXTS["shared prompts"]
    calls = use_flex(monkeypatch)
    found, counts = [], []
    for again in (False, True):
        lm = LanguageModel(tiny_llama(), V, gradient_checkpointing=again)
        lm.packed_hidden(*rows)
        del calls[:]
        found.append(found_by(lm, rows))
        counts.append(len(calls))
    assert counts == [2, 4]
    for kept, recomputed in zip(*found, strict=True):
        assert torch.equal(kept, recomputed)


# The compiler looks at gradients that are not there.
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("again", [False, True])
def test_graphs_with_a_gradient(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `torch.compile` makes of the function and of its gradient, before there are kernels."""
    settings: Any = {"dynamic": True, "fullgraph": True, "backend": "aot_eager"}
    kernel = torch.compile(attention._attend, **settings)
    lm = LanguageModel(tiny_gpt2().double(), V, gradient_checkpointing=again)
    for name in ("shared prompts", "long prompts", "nothing shared"):
        calls = use_flex(monkeypatch, kernel)
        found = found_by(lm, TEXTS[name])
        assert calls
        leave_flex(monkeypatch)
        torch.testing.assert_close(found, found_by(lm, TEXTS[name]), atol=1e-10, rtol=1e-10)


def test_adapters_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama().double().requires_grad_(False)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    inject_adapter_in_model(config, model)
    lm = LanguageModel(model.double(), V)
    calls = use_flex(monkeypatch)
    found = found_by(lm, TEXTS["shared prompts"])
    assert calls
    leave_flex(monkeypatch)
    by_text = found_by(lm, TEXTS["shared prompts"])
    assert len(found) == 1 + 2 * 2 * 2
    torch.testing.assert_close(found, by_text, atol=1e-4, rtol=1e-5)


def test_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under autocast queries, keys and values are of several types."""
    lm = LanguageModel(tiny_qwen2(), V)
    tokens, wanted = TEXTS["shared prompts"]
    with torch.no_grad():
        expected = lm.hidden(tokens)[wanted]
        calls = use_flex(monkeypatch)
        with torch.autocast("cpu", torch.bfloat16):
            found = lm.packed_hidden(tokens, wanted)
    assert len(calls) > 2
    assert not torch.allclose(found.float(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.1)


def test_the_check_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is first asked for without gradients, and of a frozen model."""
    lm = LanguageModel(tiny_llama().requires_grad_(False), V)
    state = torch.random.get_rng_state()
    calls = use_flex(monkeypatch)
    with torch.inference_mode():
        assert not lm.packed_hidden(*texts()).requires_grad
    assert len(calls) > 2
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())


def raises(*_: Any) -> Tensor:
    # Not one of the errors that PyTorch raises itself.
    raise OSError("no C compiler")


def without_mask(query: Tensor, key: Tensor, value: Tensor, _: Any, scale: float) -> Tensor:
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, key, value, is_causal=True, scale=scale, enable_gqa=True)


def without_gradient(query: Tensor, key: Tensor, *others: Any) -> Tensor:
    return plain_flex(query, key.detach(), *others)


class _Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor) -> Tensor:  # type: ignore[override]
        return states.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        raise OSError("no kernel for this gradient")


def raises_in_the_gradient(*arguments: Any) -> Tensor:
    found: Tensor = _Broken.apply(plain_flex(*arguments))  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("kernel", [raises, without_mask, without_gradient, raises_in_the_gradient])
def test_what_is_wrong_is_not_used(
    kernel: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = TEXTS["shared prompts"]
    lm = LanguageModel(tiny_llama(), V)
    leave_flex(monkeypatch)
    expected = found_by(lm, rows)
    calls = use_flex(monkeypatch, kernel)
    with pytest.warns(UserWarning, match="flex attention does not work with .* by itself, with"):
        found = found_by(lm, rows)
    assert calls
    del calls[:]
    for ours, theirs in zip([*found, *found_by(lm, rows)], expected * 2, strict=True):
        assert torch.equal(ours, theirs)
    assert not calls


def test_a_later_failure_is_made_good(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = TEXTS["shared prompts"]
    lm = LanguageModel(tiny_llama(), V)
    leave_flex(monkeypatch)
    expected = lm.packed_hidden(*rows)
    use_flex(monkeypatch)
    lm.packed_hidden(*rows)
    calls = use_flex(monkeypatch, raises)
    with (
        pytest.warns(UserWarning, match="flex attention does not work with"),
        caplog.at_level("INFO", "rlhf_env"),
    ):
        assert torch.equal(lm.packed_hidden(*rows), expected)
    assert torch.equal(lm.packed_hidden(*rows), expected)
    assert len(calls) == 1
    assert "no C compiler" in caplog.text


def test_a_lack_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LanguageModel(tiny_llama(), V)
    use_flex(monkeypatch)
    lm.packed_hidden(*texts())

    def lacks_memory(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    use_flex(monkeypatch, lacks_memory)
    with pytest.raises(torch.OutOfMemoryError):
        lm.packed_hidden(*texts())


def model_on(device: str = "cuda", training: bool = False, **config: int) -> Any:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, **config}
    return SimpleNamespace(
        device=torch.device(device), training=training, config=SimpleNamespace(**sizes)
    )


def test_which_models_it_is_for() -> None:
    assert trunk._may_flex(model_on())
    assert trunk._may_flex(model_on(head_dim=16, hidden_size=32))
    assert not trunk._may_flex(model_on("cpu"))
    assert not trunk._may_flex(model_on(training=True))
    assert not trunk._may_flex(model_on(num_attention_heads=8))
    assert not trunk._may_flex(model_on(head_dim=8))


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, wanted = texts()
    calls = use_flex(monkeypatch)
    with torch.no_grad():
        for uses_flex in (False, True):
            lm = LanguageModel(tiny_llama(), V, flex_attention=uses_flex)
            lm.packed_hidden(tokens, wanted)
            assert bool(calls) == uses_flex


def test_on_a_cpu_texts_attend_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "kernel", raises)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LanguageModel(tiny_gpt2(), V).packed_hidden(*texts())
