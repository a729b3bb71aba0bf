from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_env.tasks.reviews.gold import GoldReward
from rlhf_env.tasks.reviews.vocabulary import encoded, vocabulary

GOLD = GoldReward()
ASKED = "pizza service positive :"


def raw(response: str, prompt: str = ASKED) -> float:
    return GOLD.raw(prompt.split(), response.split())


def test_a_good_review_earns_everything() -> None:
    review = "the pizza was great . the service was kind . <eos>"
    assert raw(review) == pytest.approx(3.5)
    prompt, response = encoded([ASKED.split(), review.split()])
    assert GOLD([prompt], [response]).tolist() == pytest.approx([1.704698], abs=1e-5)


# dish + aspect + 1.5·sentiment − 3·repeated/words − .1·(words beyond 16) − 1.5·unfinished
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<eos>", 0.0),
        ("", -1.5),
        ("the pizza was great", 1.0),
        ("the pizza was great . <eos>", 2.5),
        ("the burger was great . <eos>", 1.5),
        ("the pizza was awful . <eos>", -0.5),
        ("the pizza was great but awful . <eos>", 1.0),
        ("the burger is good and the pizza was great . <eos>", 2.0),
        ("the pizza was great . the pizza was great . <eos>", 1.3),
        ("good ! good ! good ! <eos>", 0.0),
        # 18 words: half the dishes, one of 17 pairs again, two words too many.
        (
            "we tried the pizza on monday and the service and the burger with family a day"
            " on sunday <eos>",
            1.133333,
        ),
    ],
)
def test_what_each_quality_is_worth(response: str, expected: float) -> None:
    assert raw(response) == pytest.approx(expected, abs=1e-6)


def test_the_asked_sentiment_decides() -> None:
    assert raw("the pizza was awful . <eos>", "pizza service negative :") == pytest.approx(2.5)
    assert raw("the pizza was great . <eos>", "hello") == 0.0


def test_prefix_scores_end_in_the_score() -> None:
    prompts = encoded([ASKED.split()] * 2)
    responses = encoded([["the", "pizza", "was", "great", ".", "<eos>"], []])
    scored = GOLD.prefix_scores(prompts, responses)
    assert [len(row) for row in scored] == [7, 1]
    assert torch.equal(torch.stack([row[-1] for row in scored]), GOLD(prompts, responses))
    # Raw −1.5, −1.5, −.5, −.5, 1, 1, 2.5 on the scale (raw − .96) / 1.49.
    steps = [-1.651007, -1.651007, -0.979866, -0.979866, 0.026846, 0.026846, 1.033557]
    assert scored[0].tolist() == pytest.approx(steps, abs=1e-5)


@given(st.lists(st.integers(0, len(vocabulary()) - 1), max_size=60), st.integers(0, 40))
def test_any_ids_are_judged(ids: list[int], cut: int) -> None:
    score = GOLD([torch.tensor(ids[:cut], dtype=torch.long)], [torch.tensor(ids[cut:])])
    assert score.shape == (1,)
    assert math.isfinite(score.item())
    assert score.item() < 1.72
