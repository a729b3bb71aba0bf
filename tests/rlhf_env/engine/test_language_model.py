"""Log-probabilities of finished texts: the same as step by step, whatever the padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertLMHeadModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from rlhf_env.engine import projection
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.engine.projection import logprob_and_entropy, statistics
from rlhf_env.engine.scoring import score_rollout
from tests.toys import tiny_gpt2, tiny_llama

V = 32
MODELS = {"absolute": tiny_gpt2, "rotary": tiny_llama}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest) -> nn.Module:
    return request.param()


def texts(rows: int = 6, width: int = 14, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random prompts and responses of different lengths; what follows them is random too."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, V, (rows, width), generator=generator)
    prompt_lengths = torch.randint(1, 6, (rows, 1), generator=generator)
    lengths = prompt_lengths + torch.randint(1, width - 5, (rows, 1), generator=generator)
    columns = torch.arange(width)
    return tokens, (columns >= prompt_lengths) & (columns < lengths)


def naive_logprobs(model: nn.Module, tokens: Tensor, is_action: Tensor) -> Tensor:
    """One row at a time, one prefix at a time, from the definition."""
    found = torch.zeros(tokens.shape)
    for row, column in is_action.nonzero().tolist():
        with torch.no_grad():
            logits = model(input_ids=tokens[row : row + 1, :column]).logits[0, -1, :V]
        found[row, column] = logits.double().softmax(0)[tokens[row, column]].log()
    return found


def test_teacher_forced_is_the_definition(model: nn.Module) -> None:
    """Traps A5, A7 and A8: positions, shift and mask."""
    tokens, is_action = texts()
    found = score_rollout(LanguageModel(model, V), tokens, is_action)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(
        found, naive_logprobs(model, tokens, is_action), atol=1e-5, rtol=1e-5
    )


def test_teacher_forced_is_stepping(model: nn.Module) -> None:
    tokens, is_action = texts(seed=1)
    lm = LanguageModel(model, V)
    expected = torch.zeros(tokens.shape)
    for column in range(1, tokens.shape[1]):
        logits = lm.next_logits(tokens, torch.full((len(tokens),), column))
        logprobs = logits.log_softmax(-1).gather(1, tokens[:, column, None])[:, 0]
        expected[:, column] = torch.where(is_action[:, column], logprobs, 0.0)
    torch.testing.assert_close(score_rollout(lm, tokens, is_action), expected, atol=1e-5, rtol=1e-5)


def test_padding_is_never_seen(model: nn.Module) -> None:
    """Trap A6: random ids behind the end and more columns of them change nothing."""
    tokens, is_action = texts()
    lm = LanguageModel(model, V)
    expected = score_rollout(lm, tokens, is_action)
    lengths = tokens.shape[1] - is_action.flip(1).int().argmax(1)
    padding = torch.arange(tokens.shape[1]) >= lengths[:, None]
    poisoned = torch.where(padding, (tokens + 13) % V, tokens)
    torch.testing.assert_close(
        score_rollout(lm, poisoned, is_action), expected, atol=1e-6, rtol=1e-6
    )
    wider = torch.nn.functional.pad(tokens, (0, 5), value=7)
    wider_action = torch.nn.functional.pad(is_action, (0, 5))
    torch.testing.assert_close(
        score_rollout(lm, wider, wider_action)[:, :-5], expected, atol=1e-6, rtol=1e-6
    )


def test_rows_do_not_meet(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap A14: batches of one row, of some and of all."""
    tokens, is_action = texts()
    lm = LanguageModel(model, V)
    whole = score_rollout(lm, tokens, is_action)
    for row in range(len(tokens)):
        alone = score_rollout(lm, tokens[row : row + 1], is_action[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], atol=1e-5, rtol=1e-5)


def test_batches_hold_every_row_once_and_are_bounded() -> None:
    _, is_action = texts(rows=20)
    batches = length_batches(is_action, max_tokens=30)
    assert sorted(row for rows, _ in batches for row in rows.tolist()) == list(range(20))
    lengths = is_action.shape[1] - is_action.flip(1).int().argmax(1)
    for rows, width in batches:
        assert width == int(lengths[rows].max())
        assert len(rows) * width <= 30


def test_known_numbers() -> None:
    """Trap A1: logits (2, 1, 0) at three temperatures, and the fp32 triple of trap A13."""
    lm = LanguageModel(tiny_llama(vocab_size=3), 3)
    with torch.no_grad():
        lm.model.lm_head.weight.zero_()
        lm.model.lm_head.weight[:, 0] = torch.tensor([2.0, 1.0, 0.0])
        lm.model.lm_head.weight[:, 1] = torch.tensor([12.3, 11.9, 3.0])
    hidden = torch.zeros(3, 32)
    hidden[:, 0] = 1.0
    every = torch.arange(3)
    for temperature, expected in (
        (1.0, [-0.407606, -1.407606, -2.407606]),
        (0.5, [-0.142932, -2.142932, -4.142932]),
        (2.0, [-0.680270, -1.180270, -1.680270]),
    ):
        logprobs, entropy = lm.logprob_and_entropy(hidden, every, temperature)
        assert logprobs.tolist() == pytest.approx(expected, abs=1e-6)
        assert entropy.dtype == logprobs.dtype == torch.float32
    logprobs, entropy = lm.logprob_and_entropy(hidden.roll(1, dims=1), every)
    assert logprobs.tolist() == pytest.approx([-0.513070, -0.913070, -9.813070], abs=1e-6)
    # 0.598654 * 0.513070 + 0.401290 * 0.913070 + 0.0000547 * 9.813070
    assert entropy.tolist() == pytest.approx([0.674095] * 3, abs=2e-6)


def test_entropy_of_a_uniform_policy() -> None:
    """Trap E17: ln 3 per token."""
    lm = LanguageModel(tiny_llama(vocab_size=3), 3)
    _, entropy = lm.logprob_and_entropy(torch.zeros(2, 32), torch.tensor([0, 2]))
    assert entropy.tolist() == pytest.approx([1.098612] * 2, abs=1e-6)


def test_log_softmax_is_in_fp32() -> None:
    """Trap A13: a bf16 model is normalized in fp32."""
    lm = LanguageModel(tiny_llama().to(torch.bfloat16), V)
    tokens, is_action = texts()
    hidden = lm.hidden(tokens)
    assert hidden.dtype == torch.bfloat16
    logprobs, _ = lm.logprob_and_entropy(hidden[0], tokens[0])
    assert logprobs.dtype == torch.float32
    every = torch.stack(
        [lm.logprob_and_entropy(hidden[0], torch.full((14,), v))[0] for v in range(V)]
    )
    # A bf16 normalizer would miss 1 by about 1 %.
    assert every.double().exp().sum(0).tolist() == pytest.approx([1.0] * 14, abs=1e-5)
    assert lm.next_logits(tokens, torch.full((6,), 5)).dtype == torch.float32
    assert score_rollout(lm, tokens, is_action).dtype == torch.float32


def hooked(lm: LanguageModel) -> LanguageModel:
    """A model whose output embedding does more than to project, so that it must be run itself."""
    lm.model.lm_head.register_forward_hook(lambda *_: None)
    return lm


def plain(lm: LanguageModel) -> LanguageModel:
    return lm


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("kind", [plain, hooked])
def test_chunks_are_the_whole(
    kind: Callable[[LanguageModel], LanguageModel],
    temperature: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values and gradients of the chunked projection, and of the output embedding run itself."""
    tokens, _ = texts()

    def answers(lm: LanguageModel) -> tuple[Any, ...]:
        lm.model.zero_grad()
        hidden = lm.hidden(tokens).flatten(0, 1)
        said = lm.statistics(hidden, tokens.flatten(), temperature)
        (said.logprobs.sin() + 0.1 * said.entropy + said.log_normalizer.cos()).sum().backward()
        return *(each.detach() for each in said), [p.grad.clone() for p in lm.model.parameters()]

    whole = answers(hooked(LanguageModel(tiny_gpt2().requires_grad_(True), V)))
    monkeypatch.setattr(projection, "_CHUNK_ELEMENTS", 5 * V)
    lm = kind(LanguageModel(tiny_gpt2().requires_grad_(True), V))
    torch.testing.assert_close(answers(lm), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wanted", ["logprobs", "entropy", "log_normalizer"])
@pytest.mark.parametrize("kind", [plain, hooked])
def test_one_of_three_answers_has_its_own_gradient(
    kind: Callable[[LanguageModel], LanguageModel], wanted: str
) -> None:
    """Double precision: no rounding hides a wrong slope."""
    lm = kind(LanguageModel(tiny_llama(vocab_size=7), 7))
    hidden = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 6, 3, 3])
    weight = lm.model.lm_head.weight.requires_grad_()
    leaf = hidden.clone().requires_grad_()
    said = lm.statistics(leaf, targets, 0.5)
    found = torch.autograd.grad(getattr(said, wanted).sum(), [leaf, weight])
    logits = leaf.double() @ weight.double().t() / 0.5
    logq = logits.log_softmax(-1)
    answers = {
        "logprobs": logq.gather(1, targets[:, None]),
        "entropy": -logq.exp() * logq,
        "log_normalizer": logits.logsumexp(-1),
    }
    expected = torch.autograd.grad(answers[wanted].sum(), [leaf, weight])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_chunks_bound_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_CHUNK_ELEMENTS", 10 * V)
    lm = LanguageModel(tiny_llama(), V)
    tokens, _ = texts()
    hidden = lm.hidden(tokens).flatten(0, 1)
    plainly, run = [], []
    original = projection.linear

    def record(states: Tensor, *others: Tensor) -> Tensor:
        plainly.append(len(states))
        return original(states, *others)

    monkeypatch.setattr(projection, "linear", record)
    lm.logprob_and_entropy(hidden, tokens.flatten())
    lm.model.lm_head.register_forward_hook(lambda *call: run.append(len(call[2])))
    lm.logprob_and_entropy(hidden, tokens.flatten())
    for rows in (plainly, run):
        assert max(rows) == 10
        assert sum(rows) == 6 * 14


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_a_model_wider_than_the_tokenizer(build: Callable[[], nn.Module]) -> None:
    """Trap A18: the last 4 ids get no probability, in every way of asking."""
    model, V_known = build(), V - 4
    lm = LanguageModel(model, V_known)
    tokens, is_action = texts()
    tokens %= V_known
    full = model(input_ids=tokens).logits[..., :V_known].log_softmax(-1)
    expected = full[:, :-1].gather(2, tokens[:, 1:, None])[..., 0] * is_action[:, 1:]
    found = score_rollout(lm, tokens, is_action)[:, 1:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert lm.next_logits(tokens, torch.full((6,), 3)).shape == (6, V_known)


def test_dropout_is_off() -> None:
    """Trap A4."""
    lm = LanguageModel(tiny_gpt2(dropout=0.5).train(), V)
    tokens, is_action = texts()
    first, second = (score_rollout(lm, tokens, is_action) for _ in range(2))
    assert torch.equal(first, second)


def t5() -> nn.Module:
    return T5ForConditionalGeneration(
        T5Config(vocab_size=V, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def bert() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    return BertLMHeadModel(BertConfig(vocab_size=V, num_hidden_layers=1, **sizes))


def gemma2() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=V, num_hidden_layers=1, num_key_value_heads=1, head_dim=8, **sizes
    )
    config.final_logit_softcapping = 0.01
    return Gemma2ForCausalLM(config)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tiny_llama(vocab_size=20), "20 logits, but the tokenizer has 32 tokens"),
        (lambda: nn.Linear(2, 2), "Linear is not a Hugging Face language model"),
        (t5, "T5ForConditionalGeneration is not a decoder-only language model"),
        (bert, "BertLMHeadModel is not a decoder-only language model"),
        (gemma2, "Gemma2ForCausalLM changes its logits after the output embedding"),
    ],
    ids=["narrow", "no model", "seq2seq", "encoder", "soft cap"],
)
def test_models_that_cannot_be_used(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModel(build(), V)


def test_statistics_and_gradients_are_those_of_the_definition() -> None:
    """At several temperatures, with more rows than are worked on at a time."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(300, 700, generator=generator)
    targets = torch.randint(0, 700, (300,), generator=generator)
    weights = torch.randn(3, 300, generator=generator)
    for temperature in (0.5, 1.0, 2.0):
        answers = []
        for dtype in (torch.float32, torch.float64):
            mine = logits.detach().to(dtype).requires_grad_()
            if dtype == torch.float32:
                said = list(statistics(mine, targets, temperature))
            else:
                found = torch.distributions.Categorical(logits=mine / temperature)
                normalizer = (mine / temperature).logsumexp(dim=1)
                said = [found.log_prob(targets), found.entropy(), normalizer]
            (weights * torch.stack(said)).sum().backward()
            assert mine.grad is not None
            answers.append([x.double() for x in (*said, mine.grad)])
        torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-5)


def test_a_token_of_probability_zero_has_no_gradient() -> None:
    """Of the other two, with 3/4 and 1/4: H = 0.562335, and ∂H/∂z = ∓3/16 ln 3."""
    logits = torch.tensor([[0.75, 0.25, 0.0]]).log().requires_grad_()
    _, entropy = logprob_and_entropy(logits, torch.tensor([0]), 1.0)
    entropy.sum().backward()
    assert entropy.item() == pytest.approx(0.562335, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([-0.205990, 0.205990, 0.0], abs=1e-6)
