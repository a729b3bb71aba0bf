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
from torch.nn.utils.rnn import pad_sequence
from transformers import BloomConfig, BloomForCausalLM

from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.packing import Packing, Suffix
from rlhf_env.tasks import load_task
from tests.rlhf_env.engine.test_engine import MODELS, V, eager_llama, tiny_mistral
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
    columns, lengths = torch.arange(5), torch.tensor([2, 5, 2, 1])[:, None]
    tokens = torch.tensor([[1, 2, 0, 0, 0], [3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [10, 0, 0, 0, 0]])
    packing = Packing.of(tokens, columns == lengths - 1)
    assert packing.tokens.tolist() == [3, 4, 5, 6, 7, 1, 2, 8, 9, 10]
    assert packing.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1, 0]
    assert packing.offsets[columns < lengths].tolist() == [5, 6, 0, 1, 2, 3, 4, 7, 8, 9]
    assert packing.prefixes == ((5, 1), (2, 2), (1, 1))
    assert packing.suffixes == ()
    assert not packing.is_batch


def test_a_shared_opening_stands_once() -> None:
    """Prompt (1, 2) with three responses, of which two are equally long, and (3) with one."""
    tokens = torch.tensor([[1, 2, 7, 0], [1, 2, 5, 6], [3, 4, 0, 0], [1, 2, 8, 0]])
    wanted = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]]).bool()
    packing = Packing.of(tokens, wanted)
    assert packing.tokens.tolist() == [1, 2, 3, 7, 8, 5, 6, 4]
    assert packing.positions.tolist() == [0, 1, 0, 2, 2, 2, 3, 1]
    assert packing.offsets[wanted].tolist() == [1, 3, 1, 5, 6, 2, 7, 1, 4]
    assert packing.prefixes == ((2, 1), (1, 1))
    assert packing.suffixes == (
        Suffix(prefix=0, length=1, count=2),
        Suffix(prefix=0, length=2, count=1),
        Suffix(prefix=1, length=1, count=1),
    )


def test_what_saves_little_is_not_shared() -> None:
    """One token of nine is less than one in eight."""
    tokens = torch.tensor([[1, 2, 3, 4, 5], [1, 6, 7, 8, 0]])
    columns = torch.arange(5)
    for lengths, shares in (([5, 4], False), ([4, 4], True)):
        packing = Packing.of(tokens, columns < torch.tensor(lengths)[:, None])
        assert len(packing.tokens) == sum(lengths) - shares
        assert bool(packing.suffixes) == shares


def test_longer_texts_are_filled_up() -> None:
    """Lengths 7, 8, 9 to multiples of two: from eight on. The texts share their first tokens."""
    columns, lengths = torch.arange(9), torch.tensor([7, 8, 9])[:, None]
    tokens = torch.tensor([[1, 5, 6, *[n] * 6] for n in (2, 3, 4)])
    wanted = (columns >= 2) & (columns < lengths)
    packing = Packing.of(tokens, wanted, multiple=2)
    assert packing.prefixes == ((3, 1),)
    assert [suffix.length for suffix in packing.suffixes] == [4, 5, 7]
    places = packing.offsets[:, :9][wanted]
    assert packing.tokens[places].tolist() == tokens[wanted].tolist()
    assert packing.positions[places].tolist() == columns.expand(3, 9)[wanted].tolist()
    assert len(packing.tokens) == 3 + 4 + 5 + 7
    assert packing.tokens[-1] == 0
    assert packing.positions[-1] == 9


def test_texts_of_one_length_that_share_nothing_are_a_batch() -> None:
    wanted = torch.tensor([[False, True, True]] * 2)
    assert Packing.of(torch.tensor([[1, 2, 3], [1, 3, 3]]), wanted).is_batch
    assert not Packing.of(torch.tensor([[1, 2, 3], [1, 2, 4]]), wanted).is_batch


def groups(
    prompts: list[int], sizes: list[int], rest: list[int], seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Groups of responses to shared prompts, and the states that a policy is asked about."""
    generator = torch.Generator().manual_seed(seed)
    rows, wanted = [], []
    for prompt, size in zip(prompts, sizes, strict=True):
        opening = torch.randint(0, V, (prompt,), generator=generator)
        for _ in range(size):
            length = rest[len(rows) % len(rest)]
            rows.append(torch.cat([opening, torch.randint(0, V, (length,), generator=generator)]))
            wanted.append(torch.arange(prompt + length) >= prompt - 1)
    order = torch.randperm(len(rows), generator=generator).tolist()
    return (
        pad_sequence([rows[i] for i in order], batch_first=True, padding_value=3),
        pad_sequence([wanted[i] for i in order], batch_first=True, padding_value=False),
    )


GROUPS = ([4, 7, 4, 1], [3, 5, 1, 2], [3, 3, 1, 8, 2])


def test_shared_is_padded(lm: LanguageModel) -> None:
    """Numbers and gradients, and every prompt is computed once."""
    lm.model.double().requires_grad_(True)
    tokens, wanted = groups(*GROUPS)
    shapes = shapes_of_passes(lm)
    lm.packed_hidden(tokens, wanted)
    del shapes[:]
    found = lm.packed_hidden(tokens, wanted)
    lengths = tokens.shape[1] - wanted.flip(1).int().argmax(1)
    saved = 2 * 4 + 4 * 7 + 1 * 1
    assert shapes == [(1, int(lengths.sum()) - saved)]
    expected = lm.hidden(tokens)[wanted]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    parameters = list(lm._trunk.parameters())
    # Norms of some models work in float32 whatever the weights are.
    torch.testing.assert_close(
        torch.autograd.grad(found.sin().sum(), parameters),
        torch.autograd.grad(expected.sin().sum(), parameters),
        atol=1e-4,
        rtol=1e-5,
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=4),
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.integers(0, 10**6),
)
def test_shared_is_padded_for_any_groups(
    prompts: list[tuple[int, int]], rest: list[int], seed: int
) -> None:
    lm = LanguageModel(tiny_llama(), V)
    tokens, wanted = groups([p for p, _ in prompts], [n for _, n in prompts], rest, seed)
    with torch.no_grad():
        torch.testing.assert_close(
            lm.packed_hidden(tokens, wanted), lm.hidden(tokens)[wanted], atol=1e-5, rtol=1e-5
        )


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
    """Trap A14: each alone, and with other neighbors."""
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
    off = lm.packed_hidden(tokens, wanted)
    torch.testing.assert_close(off, without, atol=1e-5, rtol=1e-5)


def bloom() -> nn.Module:
    torch.manual_seed(0)
    return BloomForCausalLM(BloomConfig(vocab_size=V, hidden_size=16, n_layer=1, n_head=2))


def rotary_of_the_batch() -> nn.Module:
    model = tiny_llama()
    model.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    return model


def mixing_neighbors() -> nn.Module:
    """A model in which tokens meet elsewhere than in attention."""
    model = tiny_llama()
    model.get_input_embeddings().register_forward_hook(
        lambda _, __, found: found + nn.functional.pad(found, (0, 0, 1, -1))
    )
    return model


@pytest.mark.parametrize(
    "build",
    [eager_llama, lambda: tiny_mistral(window=4), bloom, rotary_of_the_batch, mixing_neighbors],
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
