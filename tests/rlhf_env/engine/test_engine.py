"""The engine is a memo: its cache may change how long an answer takes and nothing else."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from rlhf_env.engine.engine import Engine
from rlhf_env.tasks import load_task
from tests.toys import tiny_gpt2, tiny_llama

V, L = 32, 16


def tiny_qwen2() -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**_sizes())).eval()


def tiny_mistral(window: int) -> PreTrainedModel:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**_sizes(), sliding_window=window)).eval()


def eager_llama() -> PreTrainedModel:
    model = tiny_llama()
    model.set_attn_implementation("eager")
    return model


def _sizes() -> dict[str, int]:
    return {
        "vocab_size": V,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }


MODELS = {
    "absolute": tiny_gpt2,
    "rotary": tiny_llama,
    "qwen2": tiny_qwen2,
    "eager": eager_llama,
}


def logits_of(model: nn.Module, tokens: Tensor, lengths: Tensor) -> Tensor:
    """One text at a time, without cache, mask or padding."""
    with torch.no_grad():
        rows = [
            model(input_ids=row[None, :n]).logits[0, -1]
            for row, n in zip(tokens, lengths.tolist(), strict=True)
        ]
    return torch.stack(rows)[:, :V]


def walk(seed: int, steps: int = 20, rows: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Texts that grow, stand still, are cut, branch off, begin anew and copy each other."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    texts = [[draw(2, V) for _ in range(draw(1, 6))] for _ in range(rows)]
    visited = []
    for _ in range(steps):
        for row in range(rows):
            move = draw(0, 10)
            if move <= 5 and len(texts[row]) < L:
                texts[row].append(draw(0, V))
            elif move == 6:
                del texts[row][draw(1, len(texts[row]) + 1) :]
            elif move == 7:
                texts[row][-1] = draw(0, V)
            elif move == 8:
                texts[row] = [draw(2, V) for _ in range(draw(1, 6))]
            elif move == 9:
                texts[row] = list(texts[draw(0, rows)])
        # What follows a text is not part of it.
        tokens = torch.randint(0, V, (rows, L), generator=generator)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = torch.tensor(text)
        visited.append((tokens, torch.tensor([len(text) for text in texts])))
    return visited


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_cached_equals_uncached_over_random_walks(build: Callable[[], nn.Module]) -> None:
    model = build()
    engine = Engine(model, V)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(5):
            for tokens, lengths in walk(seed):
                found = engine(tokens, lengths)
                torch.testing.assert_close(
                    found, logits_of(model, tokens, lengths), atol=1e-5, rtol=1e-5
                )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7))
def test_cached_equals_uncached_for_any_walk(seed: int, rows: int) -> None:
    model = tiny_gpt2()
    engine = Engine(model, V)
    for tokens, lengths in walk(seed, steps=8, rows=rows):
        torch.testing.assert_close(
            engine(tokens, lengths), logits_of(model, tokens, lengths), atol=1e-5, rtol=1e-5
        )


def test_answer_is_fresh_memory_and_arguments_stay() -> None:
    engine = Engine(tiny_llama(), V)
    tokens, lengths = walk(0)[0]
    before = tokens.clone(), lengths.clone()
    first = engine(tokens, lengths)
    expected = first.clone()
    first.zero_()
    assert torch.equal(engine(tokens, lengths), expected)
    assert torch.equal(tokens, before[0])
    assert torch.equal(lengths, before[1])
    assert not expected.requires_grad
    assert expected.dtype == torch.float32


def test_one_token_costs_one_token() -> None:
    """The work of a step does not grow with the text, and a shared prompt is run once."""
    model = tiny_llama()
    shapes = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    engine = Engine(model, V)
    tokens = torch.full((4, L), 7)
    for length in range(5, 10):
        engine(tokens, torch.full((4,), length))
        tokens[:, length:] += torch.arange(4)[:, None]
    assert shapes == [(1, 5), (4, 1), (4, 1), (4, 1), (4, 1)]


def test_rows_that_leave_cost_nothing() -> None:
    """Row 0 ends: the last row takes its place, and no text is run again."""
    model = tiny_llama()
    engine = Engine(model, V)
    tokens = torch.randint(0, V, (4, L), generator=torch.Generator().manual_seed(0))
    shapes = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    engine(tokens, torch.tensor([3, 5, 4, 6]))
    del shapes[:]
    engine.copy_row(3, 0)
    tokens, lengths = tokens[[3, 1, 2]], torch.tensor([7, 6, 5])
    found = engine(tokens, lengths)
    assert shapes == [(3, 1)]
    torch.testing.assert_close(found, logits_of(model, tokens, lengths), atol=1e-5, rtol=1e-5)


def test_a_move_that_is_not_followed_by_its_text_changes_nothing() -> None:
    engine = Engine(tiny_llama(), V)
    tokens, lengths = walk(0)[0]
    expected = engine(tokens, lengths)
    engine.copy_row(2, 1)
    torch.testing.assert_close(engine(tokens, lengths), expected, atol=1e-5, rtol=1e-5)


def test_a_forward_pass_that_raises_leaves_nothing_wrong_behind() -> None:
    model = tiny_llama()
    engine = Engine(model, V)
    tokens, lengths = walk(0)[0]
    engine(tokens, lengths)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    last_layer = model.model.layers[-1]
    hook = last_layer.register_forward_hook(fail)
    changed = tokens.flip(1).contiguous()
    with pytest.raises(KeyboardInterrupt):
        engine(changed, lengths)
    hook.remove()
    torch.testing.assert_close(
        engine(tokens, lengths), logits_of(model, tokens, lengths), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("starts", [[3, 3, 3], [2, 5, 3]], ids=["level", "ragged"])
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_texts_known_to_have_grown_are_not_compared(
    build: Callable[[], nn.Module], starts: list[int]
) -> None:
    model = build()
    engine = Engine(model, V)
    torch.manual_seed(1)
    tokens, lengths = torch.randint(V, (3, L)), torch.tensor(starts)
    engine(tokens, lengths)
    for _ in range(6):
        lengths = lengths + 1
        engine.assume_grown()
        expected = logits_of(model, tokens, lengths)
        torch.testing.assert_close(engine(tokens, lengths), expected, atol=1e-5, rtol=1e-5)
    # The promise was for one call: another text is seen to be another.
    tokens = tokens.flip(0).contiguous()
    expected = logits_of(model, tokens, lengths)
    torch.testing.assert_close(engine(tokens, lengths), expected, atol=1e-5, rtol=1e-5)


def test_a_promise_that_rows_have_grown_ends_with_the_cache_and_with_an_error() -> None:
    model = tiny_llama()
    engine = Engine(model, V)
    tokens, lengths = torch.randint(V, (3, L)), torch.tensor([2, 5, 3])
    engine(tokens, lengths)
    engine.assume_grown()
    engine.reset_cache()
    others = tokens.flip(1).contiguous()
    expected = logits_of(model, others, lengths)
    torch.testing.assert_close(engine(others, lengths), expected, atol=1e-5, rtol=1e-5)
    engine.assume_grown()
    with pytest.raises(IndexError):
        engine(torch.full_like(others, V + 1), lengths + 1)
    torch.testing.assert_close(engine(others, lengths), expected, atol=1e-5, rtol=1e-5)
    # Fewer rows than before: the promise is of no use, and does no harm.
    engine.assume_grown()
    grown = logits_of(model, others[:2], lengths[:2] + 1)
    torch.testing.assert_close(engine(others[:2], lengths[:2] + 1), grown, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("earlier_episodes", [1, 7])
def test_the_past_of_a_slot_leaves_no_trace(earlier_episodes: int) -> None:
    """Trap A11, to the last bit: prompts share beginnings, so reuse would be tempting."""
    prompt = [5, 6, 7, 8]

    def episode(engine: Engine, prompt: list[int], actions: list[int]) -> list[Tensor]:
        answers = []
        text = list(prompt)
        for action in actions:
            tokens = torch.zeros((1, L), dtype=torch.int64)
            tokens[0, : len(text)] = torch.tensor(text)
            answers.append(engine(tokens, torch.tensor([len(text)])))
            text.append(action)
        return answers

    model = tiny_llama()
    fresh = episode(Engine(model, V), prompt, [9, 10, 11])
    used = Engine(model, V)
    for number in range(earlier_episodes):
        episode(used, prompt[: 2 + number % 3], [9, 10, 12, 3 + number])
    again = episode(used, prompt, [9, 10, 11])
    assert all(torch.equal(a, b) for a, b in zip(fresh, again, strict=True))


def test_copies_and_pickles_carry_no_cache_and_answer_the_same() -> None:
    model = tiny_llama()
    engine = Engine(model, V)
    tokens, lengths = walk(0)[0]
    expected = engine(tokens, lengths)
    large = Engine(model, V)
    large(torch.zeros((64, 128), dtype=torch.int64), torch.ones(64, dtype=torch.int64))
    assert len(pickle.dumps(large)) - len(pickle.dumps(Engine(model, V))) < 2000
    for twin in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        torch.testing.assert_close(twin(tokens, lengths), expected)


class NoCache(nn.Module):
    """A decoder that promises a cache in its configuration and takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tiny_llama()
        self.config = self.inner.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> object:
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (NoCache, "no key/value cache"),
        (lambda: tiny_mistral(window=4), "window of 4 tokens"),
    ],
    ids=["no cache", "sliding window"],
)
def test_a_model_that_cannot_be_cached_is_run_whole_with_one_warning(
    build: Callable[[], nn.Module], reason: str
) -> None:
    model = build()
    engine = Engine(model, V)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = [(engine(*state), state) for state in walk(1, steps=5)]
    assert [reason in str(warning.message) for warning in caught] == [True]
    for found, state in answers:
        torch.testing.assert_close(found, logits_of(model, *state), atol=1e-5, rtol=1e-5)


def test_a_window_wider_than_the_text_is_no_hindrance() -> None:
    model = tiny_mistral(window=L)
    engine = Engine(model, V)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for state in walk(2, steps=8):
            torch.testing.assert_close(
                engine(*state), logits_of(model, *state), atol=1e-5, rtol=1e-5
            )


def test_a_window_is_checked_again_for_longer_texts() -> None:
    model = tiny_mistral(window=L)
    engine = Engine(model, V)
    engine(*walk(0)[0])
    longer = torch.randint(0, V, (2, 2 * L), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([2 * L, 3])
    with pytest.warns(UserWarning, match="window of 16 tokens"):
        found = engine(longer, lengths)
    torch.testing.assert_close(found, logits_of(model, longer, lengths), atol=1e-5, rtol=1e-5)


def test_a_table_is_no_decoder_and_nobody_is_warned() -> None:
    engine = Engine(load_task("toy15").reference, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = engine(torch.tensor([[0, 1, 1, 0]]), torch.tensor([3]))
    # cos(1 + 2 + 2v + 6), the reference after (1, 1)
    torch.testing.assert_close(logits, torch.tensor([[-0.9111303, 0.0044257, 0.9074468]]))


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_extended_texts_cost_their_new_tokens_and_answer_like_whole_ones(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows grow by other numbers of tokens, by one, not at all, or begin anew."""
    model, draw = build(), torch.Generator().manual_seed(0)
    engine = Engine(model, V)
    engine.extends = True
    widths: list[int] = []
    run = engine._run
    monkeypatch.setattr(
        engine,
        "_run",
        lambda memory, rows, tokens, positions, is_new: (
            widths.append(int(is_new.sum())) or run(memory, rows, tokens, positions, is_new)
        ),
    )
    tokens = torch.randint(V, (5, 40), generator=draw)
    lengths = torch.tensor([3, 5, 4, 6, 2])
    engine(tokens, lengths)
    for growth in ([4, 1, 0, 7, 2], [0, 0, 3, 0, 0], [1, 1, 1, 1, 1], [2, 5, 1, 4, 3]):
        widths.clear()
        lengths = lengths + torch.tensor(growth)
        answer = engine(tokens, lengths)
        assert torch.allclose(answer, logits_of(model, tokens, lengths), atol=1e-5)
        assert sum(widths) == sum(growth)
    # Another text in a slot is read from its start.
    tokens[1, 0] = (tokens[1, 0] + 1) % V
    widths.clear()
    answer = engine(tokens, lengths + 1)
    assert torch.allclose(answer, logits_of(model, tokens, lengths + 1), atol=1e-5)
    assert sum(widths) == 4 + int(lengths[1]) + 1


def test_a_forgotten_text_leaves_no_trace() -> None:
    """A text that begins like the one before it is read as if there had been none."""
    tokens, lengths = torch.randint(V, (2, L)), torch.tensor([5, 5])
    fresh, used = Engine(tiny_llama(), V), Engine(tiny_llama(), V)
    fresh.extends = used.extends = True
    for length in (2, 3):
        used(tokens, torch.tensor([length, length]))
    for row in range(2):
        used.forget_row(row)
    assert torch.equal(used(tokens, lengths), fresh(tokens, lengths))
