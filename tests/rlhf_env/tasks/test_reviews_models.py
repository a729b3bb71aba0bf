from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from rlhf_env.tasks.pretraining import (
    Training,
    batches,
    cross_entropy,
    draw_weights,
    sample_responses,
)
from rlhf_env.tasks.reviews.comparisons import Rater, compare
from rlhf_env.tasks.reviews.gold import GoldReward
from rlhf_env.tasks.reviews.language_model import new_language_model, train_language_model
from rlhf_env.tasks.reviews.vocabulary import EOS, encoded_prompts, requests, vocabulary

END = vocabulary().index(EOS)


def random_model() -> LlamaForCausalLM:
    model = new_language_model()
    draw_weights(model, torch.Generator().manual_seed(0))
    return model.eval()


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return random_model()


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = random_model(), random_model()
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_samples_follow_the_softmax_whatever_the_generation_config_says() -> None:
    model = random_model()
    model.generation_config.top_k = 1
    with torch.no_grad():
        model.lm_head.weight.mul_(20.0)
    count = 20_000
    prompt = encoded_prompts(requests(held_out=True)[:1])[0]
    generator = torch.Generator().manual_seed(0)
    drawn = sample_responses(model, prompt.expand(count, -1), 1, generator)
    observed = torch.bincount(torch.cat(drawn), minlength=133) / count
    with torch.no_grad():
        expected = model(input_ids=prompt[None]).logits[0, -1].softmax(dim=-1)
    errors = (expected * (1.0 - expected) / count).sqrt()
    assert expected.max() > 0.05
    assert ((observed - expected).abs() < 5 * errors + 1e-4).all()


def test_responses_stop_at_their_end_token_or_at_the_limit(model: LlamaForCausalLM) -> None:
    prompts = torch.stack(encoded_prompts(requests(held_out=True))).repeat(20, 1)
    drawn = sample_responses(model, prompts, 30, torch.Generator().manual_seed(1))
    again = sample_responses(model, prompts, 30, torch.Generator().manual_seed(1))
    lengths = {len(row) for row in drawn}
    assert max(lengths) == 30
    assert min(lengths) < 30
    for row, same in zip(drawn, again, strict=True):
        assert torch.equal(row, same)
        assert END not in row[:-1].tolist()
        assert len(row) == 30 or row[-1] == END


def test_cross_entropy_counts_response_tokens_only(model: LlamaForCausalLM) -> None:
    prompts = encoded_prompts(requests(held_out=True)[:3])
    texts = [torch.tensor([7, END]), torch.tensor([9, 0, END]), torch.tensor([END])]
    totals = cross_entropy(model, prompts, texts)
    with torch.no_grad():
        row = torch.cat([prompts[1], texts[1]])
        logprobs = model(input_ids=row[None]).logits[0].log_softmax(dim=-1)
    # Prompt of 4 tokens: the tokens 9, 0, END are predicted at the positions 3, 4, 5.
    by_hand = -(logprobs[3, 9] + logprobs[4, 0] + logprobs[5, END])
    assert totals.shape == (3,)
    assert totals[1].item() == pytest.approx(by_hand.item(), abs=1e-4)


def test_each_epoch_visits_every_row_once() -> None:
    training = Training(steps=6, batch_size=4, learning_rate=1.0)
    rows = list(batches(8, training, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in rows] == [4] * 6
    flat = [row for batch in rows for row in batch]
    assert all(sorted(flat[start : start + 8]) == list(range(8)) for start in (0, 8, 16))
    assert flat[:8] != flat[8:16]


def test_raters_are_noisy_and_impressed_by_length() -> None:
    rater = Rater(temperature=0.5, careless=0.1, length_bias=0.04)
    margin = torch.tensor([0.5, 0.0, -0.5, 100.0, 0.1])
    extra_length = torch.tensor([0, 0, 0, 0, 10])
    expected = [0.707953, 0.5, 0.292047, 0.95, 0.707953]
    assert rater.prefers_first(margin, extra_length).tolist() == pytest.approx(expected, abs=1e-6)


def test_pairs_are_finished_short_different_and_labeled(model: LlamaForCausalLM) -> None:
    prompts = encoded_prompts(requests(held_out=True)[:5])
    rater = Rater(temperature=1e-6, careless=0.0, length_bias=0.0, longest=100)
    pairs = compare(model, prompts, 10, rater, torch.Generator().manual_seed(2))
    assert len(pairs) == 10
    gold = GoldReward()
    margin = gold(pairs.prompts, pairs.chosen) - gold(pairs.prompts, pairs.rejected)
    torch.testing.assert_close(pairs.gold_margin, margin)
    # This rater never errs, so no margin is below 0.
    assert (margin >= 0.0).all()
    for chosen, rejected in zip(pairs.chosen, pairs.rejected, strict=True):
        assert not torch.equal(chosen, rejected)
        for row in (chosen, rejected):
            assert row[-1] == END
            assert len(row) <= 100


def test_training_learns_a_text_and_repeats_itself() -> None:
    prompts, texts = encoded_prompts(requests(held_out=True)[:1]), [torch.tensor([20, 30, 40, END])]
    training = Training(steps=30, batch_size=1, learning_rate=1e-2)
    first, second = (
        train_language_model(prompts, texts, training, torch.Generator().manual_seed(0))
        for _ in range(2)
    )
    assert cross_entropy(first, prompts, texts).item() < 0.5
    assert cross_entropy(random_model(), prompts, texts).item() > 10.0
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
