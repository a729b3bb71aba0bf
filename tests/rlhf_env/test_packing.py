"""Packed texts get the numbers of padded ones, and no padding is computed (traps A5 to A8, A14)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import BloomConfig, BloomForCausalLM

from rlhf_env.language_model import LanguageModel
from rlhf_env.packing import Packing
from rlhf_env.tasks import load_task
from tests.rlhf_env.test_engine import MODELS, V, eager_llama, tiny_mistral
from tests.toys import tiny_gpt2, tiny_llama

PACKABLE = {name: build for name, build in MODELS.items() if name != "eager"}
LENGTHS = [5, 9, 1, 5, 12, 9, 9, 2]


@pytest.fixture(params=PACKABLE.values(), ids=PACKABLE.keys())
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel(request.param(), V)


def texts(lengths: list[int] = LENGTHS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random texts, and some wanted positions of each: the last and about half of the others."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths) + 2)
    tokens = torch.randint(0, V, shape, generator=generator)
    columns, last = torch.arange(shape[1]), torch.tensor(lengths)[:, None] - 1
    chosen = torch.rand(shape, generator=generator) < 0.5
    return tokens, (columns == last) | (chosen & (columns < last))


def shapes_of_passes(lm: LanguageModel) -> list[tuple[int, ...]]:
    """What the model's embedding is asked for from now on."""
    seen: list[tuple[int, ...]] = []
    embedding = lm.model.get_input_embeddings()
    embedding.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    return seen


def test_where_texts_stand() -> None:
    """Lengths 2, 5, 2, 1: the longest first, those of one length next to each other."""
    packing = Packing.of(torch.tensor([2, 5, 2, 1]))
    assert packing.order.tolist() == [1, 0, 2, 3]
    assert packing.starts.tolist() == [5, 0, 7, 9]
    assert packing.blocks == ((5, 1), (2, 2), (1, 1))


def test_packed_is_padded(lm: LanguageModel) -> None:
    tokens, wanted = texts()
    shapes = shapes_of_passes(lm)
    with torch.no_grad():
        lm.packed_hidden(tokens, wanted)
        del shapes[:]
        found = lm.packed_hidden(tokens, wanted)
        assert shapes == [(1, sum(LENGTHS))]
        assert torch.equal(found, lm.packed_hidden(tokens, wanted))
        torch.testing.assert_close(found, lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(0, 10**6))
def test_packed_is_padded_for_any_lengths(lengths: list[int], seed: int) -> None:
    lm = LanguageModel(tiny_gpt2(), V)
    tokens, wanted = texts(lengths, seed)
    with torch.no_grad():
        torch.testing.assert_close(
            lm.packed_hidden(tokens, wanted), lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5
        )


def test_gradients_are_the_same(lm: LanguageModel) -> None:
    lm.model.double().requires_grad_(True)
    tokens, wanted = texts()

    def gradients(hidden: Tensor) -> list[Tensor]:
        parameters = list(lm._trunk.parameters())
        return list(torch.autograd.grad(hidden.sin().sum(), parameters))

    packed = gradients(lm.packed_hidden(tokens, wanted))
    torch.testing.assert_close(packed, gradients(lm.hidden(tokens)[wanted]), atol=1e-10, rtol=1e-10)


def test_texts_do_not_meet(lm: LanguageModel) -> None:
    """Trap A14: each alone, and with other neighbours."""
    tokens, wanted = texts()
    strangers = torch.where(torch.arange(len(tokens))[:, None] == 4, tokens, (tokens + 7) % V)
    with torch.no_grad():
        alone = lm.packed_hidden(tokens[4:5], wanted[4:5])
        rows = wanted.nonzero()[:, 0] == 4
        for company in (tokens, strangers):
            found = lm.packed_hidden(company, wanted)[rows]
            torch.testing.assert_close(found, alone, atol=1e-6, rtol=1e-6)


def test_nobody_else_notices() -> None:
    """While a packed pass is under way, others use the model as ever."""
    lm = LanguageModel(tiny_llama(), V)
    tokens, wanted = texts()
    plain = lm.hidden(tokens)
    during: list[Tensor] = []
    looked: list[str] = []

    def other_thread() -> None:
        during.append(lm.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state)

    def look(*_: object) -> None:
        if not looked:
            looked.append(lm.model.config._attn_implementation)
            thread = threading.Thread(target=other_thread)
            thread.start()
            thread.join()

    lm.packed_hidden(tokens, wanted)
    lm.model.model.layers[0].mlp.register_forward_hook(look)
    lm.packed_hidden(tokens, wanted)
    assert looked == ["sdpa"]
    assert torch.equal(during[0], plain)


def test_a_pass_that_raises_leaves_nothing_behind() -> None:
    lm = LanguageModel(tiny_llama(), V)
    tokens, wanted = texts()
    expected = lm.packed_hidden(tokens, wanted)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    hook = lm.model.model.layers[-1].register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        lm.packed_hidden(tokens, wanted)
    hook.remove()
    assert lm.model.config._attn_implementation == "sdpa"
    assert torch.equal(lm.packed_hidden(tokens, wanted), expected)


def _in_place(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.5)


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "in place": _in_place,
    "assigned": lambda m: m.load_state_dict(tiny_llama(seed=3).state_dict(), assign=True),
    "exchanged": lambda m: m.set_input_embeddings(tiny_llama(seed=4).get_input_embeddings()),
    "eager": lambda m: m.set_attn_implementation("eager"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@torch.no_grad()
def test_a_changed_model_is_followed(change: Callable[[nn.Module], object]) -> None:
    lm = LanguageModel(tiny_llama(), V)
    tokens, wanted = texts()
    lm.packed_hidden(tokens, wanted)
    change(lm.model)
    torch.testing.assert_close(
        lm.packed_hidden(tokens, wanted), lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_adapters_switched_on_and_off() -> None:
    model = tiny_llama()
    tokens, wanted = texts()
    without = LanguageModel(model, V).packed_hidden(tokens, wanted)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    inject_adapter_in_model(config, model)
    lm = LanguageModel(model, V)
    adapted = lm.packed_hidden(tokens, wanted)
    assert not torch.allclose(adapted, without, atol=1e-2)
    torch.testing.assert_close(adapted, lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(False)
    assert torch.equal(lm.packed_hidden(tokens, wanted), without)


def bloom() -> nn.Module:
    torch.manual_seed(0)
    return BloomForCausalLM(BloomConfig(vocab_size=V, hidden_size=16, n_layer=1, n_head=2))


def rotary_of_the_batch() -> nn.Module:
    model = tiny_llama()
    model.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    return model


def mixing_neighbours() -> nn.Module:
    """A model in which tokens meet elsewhere than in attention."""
    model = tiny_llama()
    model.get_input_embeddings().register_forward_hook(
        lambda _, __, found: found + nn.functional.pad(found, (0, 0, 1, -1))
    )
    return model


@pytest.mark.parametrize(
    "build",
    [eager_llama, lambda: tiny_mistral(window=4), bloom, rotary_of_the_batch, mixing_neighbours],
    ids=["eager", "window", "no positions", "dynamic rotary", "mixing"],
)
@torch.no_grad()
def test_models_that_cannot_be_packed_are_padded(build: Callable[[], nn.Module]) -> None:
    lm = LanguageModel(build(), V)
    tokens, wanted = texts()
    lm.packed_hidden(tokens, wanted)
    shapes = shapes_of_passes(lm)
    found = lm.packed_hidden(tokens, wanted)
    assert shapes == [tuple(tokens.shape)]
    assert torch.equal(found, lm.hidden(tokens)[wanted])


@torch.no_grad()
def test_a_window_wider_than_the_texts_is_packed() -> None:
    lm = LanguageModel(tiny_mistral(window=14), V)
    tokens, wanted = texts()
    lm.packed_hidden(tokens, wanted)
    shapes = shapes_of_passes(lm)
    lm.packed_hidden(tokens, wanted)
    assert shapes == [(1, sum(LENGTHS))]


@torch.no_grad()
def test_a_table_is_padded() -> None:
    lm = LanguageModel(load_task("toy15").reference, 3)
    tokens = torch.tensor([[0, 1, 1], [1, 0, 2]])
    wanted = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.equal(lm.packed_hidden(tokens, wanted), lm.hidden(tokens)[wanted])
