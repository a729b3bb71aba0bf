from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.evaluation import (
    evaluate_marks,
    evaluate_scores,
    text_scores,
    token_suspicions,
)
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.records import Comparison, MarkedResponse, Rating, Span, Thumb, Votes
from rlhf_env.rewards.metrics.baselines import NeighborMarks, WordScores
from rlhf_env.rewards.metrics.single import (
    MarkFigures,
    RatingFigures,
    ThumbFigures,
    response_marks,
)
from rlhf_env.rewards.training.fresh_model import byte_pair_tokenizer, make_fresh_model
from rlhf_env.rewards.training.settings import FreshModel
from rlhf_env.rewards.training.trained import TrainedReward
from tests.toys import tiny_llama, tiny_tokenizer

TOKENIZER = tiny_tokenizer(8)


def listed(*scores: float) -> Callable[[object, object], list[float]]:
    return lambda prompts, responses: list(scores)


def marked(*spans: tuple[int, int], prompt: str = "w2") -> MarkedResponse:
    return MarkedResponse(
        prompt=prompt,
        response="w2 w3 w4 w5",
        spans=tuple(Span(start=start, end=end) for start, end in spans),
    )


def test_ratings_by_hand() -> None:
    records = tuple(
        Rating(prompt="", response="x" * (number + 1), rating=rating)
        for number, rating in enumerate((-2.0, -1.0, 1.0, 3.0))
    )
    data = PreferenceData(records=records, kind="ratings")
    found = evaluate_scores(listed(-1.0, 1.0, 0.5, 2.0), data)
    assert isinstance(found, RatingFigures)
    # 6.875 / √(14.75 · 4.6875) and 1 − 6·2 / (4·15).
    assert found.pearson_r.value == pytest.approx(0.826810, abs=1e-6)
    assert found.spearman_r == pytest.approx(0.8)
    assert found.sign_accuracy.value == 0.75
    assert found.rating_length_correlation == pytest.approx(1.0)
    assert found.length_correlation == pytest.approx(0.8)


def test_thumbs_by_hand() -> None:
    records = tuple(
        Thumb(prompt=str(number), response="x", is_good=is_good)
        for number, is_good in enumerate((True, False, False, True))
    )
    found = evaluate_scores(
        listed(2.0, -1.0, 0.5, -0.5), PreferenceData(records=records, kind="thumbs")
    )
    assert isinstance(found, ThumbFigures)
    assert found.accuracy.value == 0.5
    assert found.auc.value == 0.75
    # (0.126928 + 0.313262 + 0.974077 + 0.974077) / 4
    assert found.loss == pytest.approx(0.597086, abs=1e-6)


def test_thumbs_that_all_point_one_way_judge_nothing() -> None:
    records = (Thumb(prompt="1", response="x", is_good=True),) * 3
    with pytest.raises(ValueError, match="both ways, got 3 that point one way"):
        evaluate_scores(listed(1.0, 1.0, 1.0), PreferenceData(records=records, kind="thumbs"))


def test_marks_by_hand() -> None:
    data = PreferenceData(records=(marked((3, 5)), marked((0, 2), prompt="w3")), kind="spans")
    suspicions = [[0.1, 0.9, 0.2, 0.3], [0.2, 0.5, 0.1, 0.0]]
    found = evaluate_marks(lambda prompts, responses: suspicions, data, TOKENIZER)
    assert isinstance(found, MarkFigures)
    assert (found.tokens, found.marked_share) == (8, 0.25)
    # 9.5 of 12 pairs of tokens; precision 1 and 2/5 where half and all of the marks are found.
    assert found.auc.value == pytest.approx(0.791667, abs=1e-6)
    assert found.average_precision.value == pytest.approx(0.7)
    assert found.auc.low <= found.auc.value <= found.auc.high


def test_suspicions_of_other_tokens_are_refused() -> None:
    data = PreferenceData(records=(marked((3, 5)),), kind="spans")
    with pytest.raises(ValueError, match="one per token of a response, got 3 for 4 tokens"):
        evaluate_marks(lambda prompts, responses: [[0.0] * 3], data, TOKENIZER)


def test_marks_everywhere_judge_nothing() -> None:
    data = PreferenceData(records=(marked((0, 11)),), kind="spans")
    with pytest.raises(ValueError, match="with and without mark, got 4 marked of 4"):
        evaluate_marks(lambda prompts, responses: [[0.0] * 4], data, TOKENIZER)


def test_each_kind_of_data_has_its_own_function() -> None:
    spans = PreferenceData(records=(marked((3, 5)),), kind="spans")
    with pytest.raises(ValueError, match="whole responses, got spans; use evaluate_marks"):
        evaluate_scores(listed(1.0), spans)
    ratings = PreferenceData(records=(Rating(prompt="", response="x", rating=1.0),), kind="ratings")
    with pytest.raises(ValueError, match="must be spans, got ratings; use evaluate_scores"):
        evaluate_marks(lambda prompts, responses: [], ratings, TOKENIZER)


def test_any_reward_scores_texts_in_the_order_given() -> None:
    def last_word(prompts: list[str], responses: list[str]) -> list[float]:
        return [float(text[-1]) for text in responses]

    scores = text_scores(last_word, TOKENIZER)
    responses = [f"w{2 + number % 6}" for number in range(70)]
    responses[3] = "w2 w2 w2 w7"
    found = scores(["w2"] * 70, responses)
    assert found == [float(text[-1]) for text in responses]


def test_suspicion_of_a_token_is_minus_its_log_probability_of_being_fine() -> None:
    model = ScalarRewardModel(tiny_llama(8).model)
    reward = TrainedReward(model, TOKENIZER, max_tokens=16, per_token=True)
    # An untrained head finds every token fine with probability 1/2.
    assert token_suspicions(reward)(["w2"], ["w3 w4"]) == [pytest.approx([0.693147] * 2, abs=1e-6)]
    whole = TrainedReward(model, TOKENIZER, max_tokens=16)
    with pytest.raises(ValueError, match="trained on marked responses"):
        token_suspicions(whole)


def test_the_end_token_is_no_part_of_the_marks() -> None:
    assert response_marks(marked((3, 8)), TOKENIZER).tolist() == [0.0, 1.0, 1.0, 0.0]


def test_words_that_win_get_the_higher_score() -> None:
    pairs = [
        Comparison(prompt=str(number), chosen=f"a kind {word}", rejected=f"a rude {word}")
        for number, word in enumerate(["man", "dog", "cat", "man", "dog", "cat"])
    ]
    words = WordScores.of_pairs(pairs)
    kind, rude, dog = words(["new"] * 3, ["kind", "rude", "dog"])
    assert kind > 0.1 > -0.1 > rude
    # Each word but those two stands on both sides.
    assert kind == pytest.approx(-rude)
    assert dog == pytest.approx(0.0)


def test_votes_weigh_in_the_bag_of_words() -> None:
    def weight(votes: Votes) -> float:
        pairs = [
            Comparison(prompt=str(number), chosen="kind", rejected="rude", votes=votes)
            for number in range(6)
        ]
        return WordScores.of_pairs(pairs)([""], ["kind"])[0]

    assert weight(Votes(chosen=3)) > weight(Votes(chosen=2, rejected=1)) > 0.0
    assert weight(Votes(chosen=1, tie=3, rejected=1)) == pytest.approx(0.0, abs=1e-6)


def test_words_of_thumbs_up_get_the_higher_score() -> None:
    records = [
        Thumb(prompt=str(number), response="kind" if number % 2 else "rude", is_good=number % 2 > 0)
        for number in range(12)
    ]
    kind, rude = WordScores.of_thumbs(records)(["", ""], ["kind", "rude"])
    assert kind > rude


def test_a_bag_of_words_needs_prompts_and_common_words() -> None:
    two = [Comparison(prompt=str(n), chosen="kind", rejected="rude") for n in range(2)]
    with pytest.raises(ValueError, match="at least 3 prompts, got 2"):
        WordScores.of_pairs(two)
    apart = [Comparison(prompt=str(n), chosen=f"c{n}", rejected=f"r{n}") for n in range(4)]
    with pytest.raises(ValueError, match="share words, got 8"):
        WordScores.of_pairs(apart)


def test_neighbors_tell_which_token_is_marked() -> None:
    records = [marked((3, 5), prompt=str(number)) for number in range(6)]
    judge = NeighborMarks.fit(records, TOKENIZER)
    suspicions = judge(["new"], ["w2 w3 w4 w5"])[0]
    assert int(np.argmax(suspicions)) == 1


def test_a_fresh_model_is_the_same_for_a_seed_and_leaves_the_global_generator_alone() -> None:
    shape = FreshModel(vocab_size=300, hidden_size=16, layers=1, window=32)
    before = torch.get_rng_state()
    (first, tokenizer), (second, _) = (
        make_fresh_model(shape, ["a text", "a test"], seed) for seed in (0, 0)
    )
    other, _ = make_fresh_model(shape, ["a text", "a test"], 1)
    assert torch.equal(torch.get_rng_state(), before)
    weights, same, differing = (m.embed_tokens.weight for m in (first, second, other))
    assert torch.equal(weights, same)
    assert not torch.equal(weights, differing)
    assert first.config.max_position_embeddings == 32
    assert first.config.vocab_size == len(tokenizer)


def test_the_tokenizer_starts_texts_and_spells_what_it_never_saw() -> None:
    tokenizer = byte_pair_tokenizer(["some words, some words"], 300)
    assert tokenizer("words")["input_ids"][0] == tokenizer.bos_token_id
    ids = tokenizer("Ünseen 🙂", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "Ünseen 🙂"
    assert len(tokenizer("some", add_special_tokens=False)["input_ids"]) == 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"hidden_size": 20}, "multiple of 8, got 20"),
        ({"vocab_size": 100}, "300, got 100"),
        ({"initial_spread": 0.0}, "initial_spread .* got 0"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FreshModel(**bad)
