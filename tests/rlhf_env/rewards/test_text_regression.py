from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from rlhf_env.rewards.feedback.rated_texts import RatedTexts, is_held_out, read_rated_texts
from rlhf_env.rewards.metrics.held_out import held_out_figures
from rlhf_env.rewards.protocol import PrefixReward, as_reward
from rlhf_env.rewards.text_regression import TextRegressionReward
from tests.toys import tiny_tokenizer

REAL = Path(__file__).parents[3].parent / "shared/data/sentiment_ratings"


def by_hand(**changes: object) -> TextRegressionReward:
    fields: dict[str, object] = {
        "terms": ("bad", "good"),
        "idf": np.array([1.0, 1.0]),
        "weights": np.array([-1.0, 2.0]),
        "intercept": 0.5,
        "alpha": 1.0,
        "neutral": 0.0,
    }
    return TextRegressionReward(**{**fields, **changes})  # type: ignore[arg-type]


def rated_meals(count: int = 60) -> RatedTexts:
    """Good soups are worth 2, bad ones -2; the dish does not matter."""
    dishes = ("soup", "bread", "salad", "cake", "rice")
    words = {2.0: "good", -2.0: "bad"}
    rows = [
        (f"table {i // 10} had {words[rating]} {dishes[i % 5]}", rating)
        for i in range(count)
        for rating in (2.0, -2.0)
    ]
    return RatedTexts(texts=[text for text, _ in rows], ratings=[rating for _, rating in rows])


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("good", 2.5),
        ("bad", -0.5),
        ("", 0.5),
        ("unknown words", 0.5),
        # Two counted words of length one: (2 - 1) / sqrt(2).
        ("good bad", 1.207107),
        # A word said twice counts 1 + ln 2 = 1.693147, and (1, 1.693147) is 1.966405 long.
        ("Good, good, BAD", 1.713532),
    ],
)
def test_a_rating_is_worked_out_by_hand(text: str, rating: float):
    assert by_hand().predict([text])[0] == pytest.approx(rating, abs=1e-6)


def test_it_learns_what_people_like():
    reward = TextRegressionReward.fit(rated_meals())
    good, bad = reward.score(["", ""], ["table 9 had good soup", "table 9 had bad soup"])
    assert good > 1.5
    assert bad < -1.5
    assert reward.neutral == 0.0


def test_the_prompt_is_not_judged():
    assert by_hand().score(["good", "bad"], ["good", "good"]) == [2.5, 2.5]


def test_no_texts_have_no_scores():
    assert by_hand().score([], []) == []


def test_it_serves_as_a_reward_of_token_ids_and_of_their_prefixes():
    words = by_hand(terms=("w3", "w5"))
    tokenizer = tiny_tokenizer()
    reward = as_reward(words.score, tokenizer)
    prompts, responses = [tokenizer("w7")["input_ids"]], [tokenizer("w5 w9 w3")["input_ids"]]
    ids = [np.asarray(row) for row in responses]
    assert reward(prompts, ids).tolist() == pytest.approx([1.207107])  # type: ignore[arg-type]
    assert isinstance(reward, PrefixReward)
    (prefixes,) = reward.prefix_scores(prompts, ids)  # type: ignore[arg-type]
    assert prefixes.tolist() == pytest.approx([0.5, 2.5, 2.5, 1.207107])


def test_it_survives_a_file(tmp_path: Path):
    path = tmp_path / "reward.safetensors"
    reward = TextRegressionReward.fit(rated_meals())
    reward.save(path)
    loaded = TextRegressionReward.load(path)
    texts = ["good soup", "bad cake!", "", "table 3"]
    assert loaded.predict(texts).tolist() == reward.predict(texts).tolist()
    assert (loaded.alpha, loaded.neutral, loaded.terms) == (reward.alpha, 0.0, reward.terms)
    assert [file.name for file in tmp_path.iterdir()] == ["reward.safetensors"]


def damaged(header: dict[str, object], weights: list[float]) -> bytes:
    whole = {"format": "text_regression/1", "terms": ["a"], "intercept": 0, "alpha": 1}
    text = json.dumps({**whole, "neutral": 0, **header})
    tensors = {"idf": np.ones(1), "weights": np.array(weights)}
    return save(tensors, metadata={"text_regression": text})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "header"),
        (b"\x80\x04pickle", "header"),
        (damaged({}, [1.0])[:-4], "Error"),
        (damaged({"format": "text_regression/2"}, [1.0]), "format must be text_regression/1"),
        (damaged({"terms": ["a", "b"]}, [1.0]), "2 words"),
        (damaged({"intercept": None}, [1.0]), "TypeError"),
        (damaged({}, [math.nan]), "must be finite"),
        (save({"idf": np.ones(1)}), "text_regression"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "reward.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a file that save\(\) wrote") as caught:
        TextRegressionReward.load(path)
    assert reason in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"must be a file that save\(\) wrote"):
        TextRegressionReward.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("texts", "ratings", "message"),
    [
        ([], [], "at least one rated text, got none"),
        (["a", "b"], [1.0], "equally many, got 2 and 1"),
        (["a", "b"], [1.0, math.nan], "row 2 of the ratings must have a finite number, got nan"),
        (["a", "b"], [math.inf, 1.0], "row 1 of the ratings must have a finite number, got inf"),
        (["a", "b"], [1.0, "3"], "row 2 of the ratings must have a finite number, got '3'"),
        (["a", "b"], [1.0, True], "row 2 of the ratings must have a finite number, got True"),
        (["a", " "], [1.0, 2.0], "row 2 of the ratings must have a text, got ' '"),
        (["a", 5], [1.0, 2.0], "row 2 of the ratings must have a text, got 5"),
    ],
)
def test_rows_that_are_no_rated_texts_are_refused(texts: list, ratings: list, message: str):
    with pytest.raises(ValueError, match=message):
        RatedTexts(texts=texts, ratings=ratings)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (RatedTexts(texts=["good", "bad"], ratings=[1, -1]), "at least 10 different texts, got 2"),
        (RatedTexts(texts=rated_meals().texts, ratings=[3.0] * 120), "must differ, got 3 for all"),
        (
            RatedTexts(texts=[f"word{i}" for i in range(12)], ratings=list(range(12))),
            "must share words",
        ),
    ],
)
def test_too_little_to_learn_from_is_refused(ratings: RatedTexts, message: str):
    with pytest.raises(ValueError, match=message):
        TextRegressionReward.fit(ratings)


def test_held_out_texts_are_a_tenth_and_never_seen_in_fitting():
    texts = [f"text number {i}" for i in range(2000)] * 2
    kept, held_out = RatedTexts(texts=texts, ratings=list(range(4000))).split()
    assert not set(kept.texts) & set(held_out.texts)
    assert len(kept) + len(held_out) == 4000
    assert 0.08 < len(held_out) / 4000 < 0.12


def test_equal_texts_fare_alike_whatever_their_case_and_spaces():
    assert [is_held_out(f"A soup, {i}") for i in range(50)] == [
        is_held_out(f" a  SOUP, {i}\n") for i in range(50)
    ]


def test_a_scale_without_negative_ratings_is_neutral_at_its_mean():
    texts = ["a", "b", "c"]
    assert RatedTexts(texts=texts, ratings=[1, 2, 6]).neutral == 3.0
    assert RatedTexts(texts=texts, ratings=[-4, 2, 4]).neutral == 0.0


def test_held_out_figures_by_hand():
    # r = 8 / 10; Fisher: tanh(artanh 0.8 -+ 1.959964 / sqrt(2)). Three of four signs, the rating
    # of 0 has none; Wilson's interval for 3 of 4.
    figures = held_out_figures(
        np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.array([-1.0, -2.0, 1.0, 0.0, 2.0])
    )
    assert figures.pearson_r == pytest.approx(0.8)
    assert figures.pearson_interval == pytest.approx((-0.2797, 0.9862), abs=1e-4)
    assert figures.sign_accuracy == 0.75
    assert figures.sign_interval == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert "right sign 75.0% [30.1%, 95.4%]" in str(figures)


def test_equal_forecasts_correlate_with_nothing():
    figures = held_out_figures(np.full(5, 0.3), np.array([-1.0, -2.0, 1.0, 1.0, 2.0]))
    assert (figures.pearson_r, figures.pearson_interval) == (0.0, (-1.0, 1.0))
    assert figures.sign_accuracy == pytest.approx(0.6)


@pytest.mark.parametrize("ratings", [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
def test_figures_of_too_few_or_equal_ratings_are_refused(ratings: list[float]):
    with pytest.raises(ValueError, match="at least 4 and differ"):
        held_out_figures(np.zeros(len(ratings)), np.array(ratings))


def test_a_file_is_read_by_the_names_of_its_fields(tmp_path: Path):
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"review": "good", "stars": 5}\n\n{"review": "bad", "stars": 1}\n')
    rated = read_rated_texts(path, "review", "stars")
    assert (list(rated.texts), list(rated.ratings)) == (["good", "bad"], [5, 1])
    with pytest.raises(ValueError, match=r"column 'mean', got \['review', 'stars'\]"):
        read_rated_texts(path, "review", "mean")


def test_a_file_with_a_bad_row_names_file_and_row(tmp_path: Path):
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"text": "good", "mean": 5}\n{"text": "bad", "mean": NaN}\n')
    with pytest.raises(ValueError, match=r"--ratings: .*ratings\.jsonl': row 2 .* got nan"):
        read_rated_texts(path, "text", "mean", option="--ratings")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real ratings are not here")
def test_it_forecasts_the_ratings_of_real_sentences():
    reward = TextRegressionReward.fit(read_rated_texts(REAL / "train.jsonl.gz", "text", "mean"))
    unseen = read_rated_texts(REAL / "test.jsonl.gz", "text", "mean")
    figures = held_out_figures(reward.predict(unseen.texts), unseen.values)
    # Ridge regression on counts of 4,000 words reaches 0.64 and 76 %.
    assert figures.pearson_r > 0.68
    assert figures.sign_accuracy > 0.76
