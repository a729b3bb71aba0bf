"""Sampling and descriptions of a policy, against the model asked directly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlhf_env.engine.projection
from agents import PPO
from agents.policy import Policy, PolicyOutput
from rlhf_env.task import Task
from rlhf_env.tasks.table_lm import TableLM
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2, tiny_llama, tiny_llama_task

START = torch.zeros(1, 1, dtype=torch.int64)
ONE = torch.ones(1, dtype=torch.int64)


def table_policy(task: Task, logits: list[float], temperature: float = 1.0) -> Policy:
    """A policy whose first token has the given logits."""
    model = task.reference
    assert isinstance(model, TableLM)
    with torch.no_grad():
        model.lm_head.weight[:, 0] = torch.tensor(logits)
    return Policy(model, 3, temperature)


def draw(policy: Policy, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    count = len(uniforms)
    return policy.sample(START.expand(count, 1), ONE.expand(count), uniforms)


def ragged_batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Six texts of 12 columns: prompts of 1 to 4 tokens, responses of 2 to 8."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, 32, (6, 12), generator=generator)
    starts = torch.tensor([1, 2, 3, 4, 1, 2])[:, None]
    ends = starts + torch.tensor([2, 8, 5, 8, 3, 6])[:, None]
    columns = torch.arange(12)
    return tokens, (columns >= starts) & (columns < ends)


def test_draws_follow_the_softmax(toy15: Task) -> None:
    """Trap A2: the root's probabilities under the reference, within 4 standard errors."""
    policy = Policy(toy15.reference, 3)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    tokens, logprobs = draw(policy, uniforms)
    for token, probability in enumerate((0.502483, 0.108773, 0.388744)):
        error = math.sqrt(probability * (1 - probability) / 20_000)
        share = (tokens == token).double().mean().item()
        assert share == pytest.approx(probability, abs=4 * error)
        found = logprobs[tokens == token]
        assert found.tolist() == pytest.approx([math.log(probability)] * len(found), abs=1e-5)


def test_generation_settings_of_the_model_have_no_say() -> None:
    """Trap A2."""
    model = tiny_gpt2()
    model.generation_config.top_k = 1
    model.generation_config.repetition_penalty = 5.0
    uniforms = torch.rand(2000, generator=torch.Generator().manual_seed(1))
    prompt = torch.full((2000, 1), 2)
    tokens, _ = Policy(model, 32).sample(prompt, ONE.expand(2000), uniforms)
    assert len(tokens.unique()) > 10


@pytest.mark.parametrize("forbidden", [0, 1, 2])
def test_a_token_of_probability_zero_is_never_drawn(toy15: Task, forbidden: int) -> None:
    logits = [0.3, -0.4, 0.1]
    logits[forbidden] = -1e9
    policy = table_policy(toy15, logits)
    edge = 1.0 - 2.0**-24
    boundary = torch.tensor(logits).softmax(0).cumsum(0)
    uniforms = torch.cat([torch.linspace(0, edge, 10_001), boundary.clamp(max=edge)])
    tokens, logprobs = draw(policy, uniforms)
    assert forbidden not in tokens.tolist()
    assert logprobs.isfinite().all()
    assert tokens.min() >= 0
    assert tokens.max() <= 2


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, [-0.407606, -1.407606, -2.407606]),
        (0.5, [-0.142932, -2.142932, -4.142932]),
        (2.0, [-0.680270, -1.180270, -1.680270]),
    ],
)
def test_temperature_is_in_sampling_and_in_describing(
    toy15: Task, temperature: float, expected: list[float]
) -> None:
    """Trap A1."""
    policy = table_policy(toy15, [2.0, 1.0, 0.0], temperature)
    tokens, logprobs = draw(policy, torch.linspace(0, 0.999, 500))
    assert sorted(set(tokens.tolist())) == [0, 1, 2]
    assert torch.allclose(logprobs, torch.tensor(expected)[tokens], atol=1e-6)
    episodes = torch.tensor([[0, 0], [0, 1], [0, 2]])
    described = policy.evaluate_tokens(episodes, torch.tensor([[False, True]] * 3))
    assert described.logprobs[:, 1].tolist() == pytest.approx(expected, abs=1e-6)
    probabilities = policy.token_probabilities(START, ONE)[0]
    assert probabilities.log().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("model", [tiny_llama(), tiny_gpt2()], ids=["rotary", "absolute"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_describe_is_the_plain_forward_pass(model: Any, temperature: float) -> None:
    """Traps A7, A8 and E17: each row alone, token by token."""
    tokens, is_action = ragged_batch()
    policy = Policy(model, 32, temperature)
    found = policy.evaluate_tokens(tokens, is_action)
    for row in range(6):
        end = int(is_action[row].nonzero().max()) + 1
        with torch.no_grad():
            logits = model(input_ids=tokens[row : row + 1, :end]).logits[0] / temperature
        for position in range(12):
            if not is_action[row, position]:
                assert found.logprobs[row, position] == found.entropy[row, position] == 0
                continue
            expected = torch.distributions.Categorical(logits=logits[position - 1])
            token = tokens[row, position]
            assert found.logprobs[row, position].item() == pytest.approx(
                expected.log_prob(token).item(), abs=1e-4
            )
            assert found.entropy[row, position].item() == pytest.approx(
                expected.entropy().item(), abs=1e-4
            )


def test_uniform_logits_have_entropy_log_v(toy15: Task) -> None:
    """Trap E17."""
    policy = table_policy(toy15, [0.5, 0.5, 0.5])
    described = policy.evaluate_tokens(
        torch.tensor([[0, 1, 0]]), torch.tensor([[False, True, False]])
    )
    assert described.entropy[0].tolist() == pytest.approx([0.0, 1.098612, 0.0], abs=1e-6)


def test_flex_attention_is_switched_off_for_policy_and_critic() -> None:
    envs = make_envs(tiny_llama_task(), 4)
    assert PPO(envs).policy.lm.flex_attention
    for is_on in (True, False):
        policy = PPO(envs, critic="separate", flex_attention=is_on).policy
        assert policy._critic_lm is not policy.lm
        assert policy.lm.flex_attention == policy._critic_lm.flex_attention == is_on


def test_text_after_the_end_changes_nothing() -> None:
    """Trap B3."""
    tokens, is_action = ragged_batch()
    policy = with_random_values(Policy(tiny_gpt2(), 32))
    ends = is_action.flip(1).int().cummax(1).values.flip(1).bool()
    spoilt = torch.where(ends, tokens, 31)
    for clean, other in zip(
        fields(policy.evaluate_tokens(tokens, is_action)),
        fields(policy.evaluate_tokens(spoilt, is_action)),
        strict=True,
    ):
        assert torch.equal(clean, other)


def test_chunks_of_the_vocabulary_projection_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values and gradients of chunks of 5 positions, and of all at once."""
    tokens, is_action = ragged_batch()
    found = []
    for elements in (2**23, 5 * 32):
        monkeypatch.setattr(rlhf_env.engine.projection, "_CHUNK_ELEMENTS", elements)
        policy = Policy(tiny_gpt2(), 32)
        described = policy.evaluate_tokens(tokens, is_action)
        (described.logprobs.sum() + 0.1 * described.entropy.sum()).backward()
        gradients = [p.grad for p in policy.model.parameters() if p.grad is not None]
        found.append([described.logprobs, described.entropy, *gradients])
    assert len(found[0]) > 10
    for whole, chunked in zip(*found, strict=True):
        assert torch.allclose(whole, chunked, rtol=1e-4, atol=1e-5)


def test_batches_of_one_and_of_all_agree() -> None:
    """Trap A14."""
    tokens, is_action = ragged_batch()
    policy = with_random_values(Policy(tiny_llama(), 32))
    whole = policy.evaluate_episodes(tokens, is_action)
    rows = [policy.evaluate_tokens(tokens[i : i + 1], is_action[i : i + 1]) for i in range(6)]
    for field, parts in zip(fields(whole), zip(*map(fields, rows), strict=True), strict=True):
        assert torch.allclose(field, torch.cat(parts), atol=1e-5)


def test_dropout_stays_off() -> None:
    """Trap A4."""
    tokens, is_action = ragged_batch()
    policy = Policy(tiny_gpt2(dropout=0.1).train(), 32)
    assert policy.train() is policy
    assert not any(module.training for module in policy.modules())
    first, second = (policy.evaluate_tokens(tokens, is_action).logprobs for _ in range(2))
    assert torch.equal(first, second)


def test_a_value_does_not_see_the_token_it_precedes() -> None:
    """Trap C19: V(s_t) is said before token t, V(s_t+1) after."""
    policy = with_random_values(Policy(tiny_llama(), 32))
    tokens = torch.tensor([[2, 3, 4, 5, 6]])
    is_action = torch.tensor([[False, False, True, True, True]])
    before = policy.evaluate_tokens(tokens, is_action)
    tokens[0, 3] = 9
    after = policy.evaluate_tokens(tokens, is_action)
    assert torch.equal(before.values[0, :4], after.values[0, :4])
    assert before.values[0, 4] != after.values[0, 4]
    assert before.last_values != after.last_values
    tokens[0, 4] = 9
    last = policy.evaluate_tokens(tokens, is_action)
    assert torch.equal(after.values, last.values)
    assert after.last_values != last.last_values


def test_a_value_head_starts_at_zero() -> None:
    described = Policy(tiny_llama(), 32).evaluate_tokens(*ragged_batch())
    assert described.values.abs().sum() == 0
    assert described.last_values.abs().sum() == 0


def test_a_trunk_of_16_bits_is_described_in_32() -> None:
    tokens, is_action = ragged_batch()
    whole = Policy(tiny_llama(), 32).evaluate_tokens(tokens, is_action)
    half = Policy(tiny_llama().bfloat16(), 32).evaluate_tokens(tokens, is_action)
    assert {field.dtype for field in fields(half)} == {torch.float32}
    assert torch.allclose(half.logprobs, whole.logprobs, atol=0.3)


def test_logits_that_are_no_numbers_name_the_row(toy15: Task) -> None:
    """Trap A21."""
    policy = Policy(toy15.reference, 3)
    with torch.no_grad():
        next(policy.model.parameters())[0, 0] = math.nan
    with pytest.raises(ValueError, match="logits for row 0 are not finite"):
        draw(policy, torch.tensor([0.5]))


def with_random_values(policy: Policy) -> Policy:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        policy.value_head.weight.normal_(generator=generator)
    return policy


def fields(description: PolicyOutput) -> list[Tensor]:
    return [
        description.logprobs,
        description.entropy,
        description.values,
        description.last_values,
    ]
