from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_env.rewards.feedback.agreement import annotators, fleiss_kappa
from rlhf_env.rewards.feedback.records import Comparison, PairRecord, Ranking, Votes
from rlhf_env.rewards.metrics.calibration import calibration, pair_calibration
from rlhf_env.rewards.metrics.estimates import resampled, share
from rlhf_env.rewards.metrics.pair import TextScores, length_correlation, pair_figures
from rlhf_env.rewards.metrics.table import as_floats, markdown


def scorer(**scores: float) -> TextScores:
    return lambda prompts, responses: [scores[response] for response in responses]


def pair(prompt: str, chosen: str, rejected: str, votes: Votes | None = None) -> Comparison:
    return Comparison(prompt=prompt, chosen=chosen, rejected=rejected, votes=votes or Votes())


THREE = [pair("1", "aa", "bbbb"), pair("2", "cccccc", "d"), pair("3", "ee", "f")]
SCORES = scorer(aa=1.0, bbbb=0.2, cccccc=0.0, d=0.0, ee=-1.0, f=1.0)


def test_one_judgment_per_prompt_has_wilsons_interval() -> None:
    found = share(np.array([1.0] * 7 + [0.0] * 3), [str(i) for i in range(10)])
    assert found is not None
    assert found.value == pytest.approx(0.7)
    # Wilson (1927) for 7 of 10, as every table has it.
    assert (found.low, found.high) == pytest.approx((0.396778, 0.892209), abs=1e-6)


def test_half_a_judgment_widens_wilsons_interval_to_both_sides() -> None:
    found = share(np.array([1.0, 0.5]), ["a", "b"])
    assert found is not None
    # The lower end of 1 of 2, the upper of 2 of 2.
    assert (found.low, found.high) == pytest.approx((0.094531, 1.0), abs=1e-6)
    assert found.value == 0.75


def test_judgments_of_one_prompt_are_drawn_together() -> None:
    alike = share(np.array([1.0] * 50 + [0.0] * 50), ["a"] * 50 + ["b"] * 50)
    apart = share(np.array([1.0] * 50 + [0.0] * 50), [str(i) for i in range(100)])
    assert alike is not None and apart is not None
    # Two prompts, of which both, one or none of those drawn is the right one.
    assert (alike.value, alike.low, alike.high) == (0.5, 0.0, 1.0)
    assert (apart.low, apart.high) == pytest.approx((0.403832, 0.596168), abs=1e-6)


def test_prompts_that_all_agree_still_leave_doubt() -> None:
    found = share(np.ones(4), ["a", "a", "b", "b"])
    assert found is not None
    # 2 / (2 + 1.959964²)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.342380, 1.0), abs=1e-6)


def test_a_share_of_nothing_is_none() -> None:
    assert share(np.zeros(0), []) is None
    assert share(np.ones(1), ["a"], weights=np.zeros(1)) is None


def test_weights_count_judgments() -> None:
    found = share(np.array([1.0, 0.0]), ["a", "b"], weights=np.array([3.0, 1.0]))
    assert found is not None
    assert found.value == 0.75


def test_a_statistic_is_resampled_over_prompts() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0])
    found = resampled(lambda rows: float(values[rows].mean()), ["a", "a", "b", "b"])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_calibration_of_eight_forecasts() -> None:
    forecasts = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    found = calibration(forecasts, np.array([0, 0, 1, 0, 1, 1, 0, 1.0]), bins=4)
    assert found.forecasts == pytest.approx((0.15, 0.35, 0.65, 0.85))
    assert found.shares == pytest.approx((0.0, 0.5, 1.0, 0.5))
    assert found.counts == (2, 2, 2, 2)
    assert found.expected_error == pytest.approx(0.25)


def test_bins_of_unequal_size_weigh_by_their_outcomes() -> None:
    found = calibration(np.array([0.2, 0.2, 0.2, 1.0]), np.array([0, 0, 1, 1.0]), bins=2)
    assert found.counts == (3, 1)
    # 3/4 of the outcomes are off by 1/3 − 0.2, the rest by nothing.
    assert found.expected_error == pytest.approx(0.1)


def test_three_of_four_at_three_to_one_are_calibrated() -> None:
    third = np.log(3.0)
    found = pair_calibration(np.array([third, third, third, -third]))
    assert found.forecasts == pytest.approx((0.25, 0.75))
    assert found.shares == (0.25, 0.75)
    assert found.expected_error == pytest.approx(0.0, abs=1e-12)


def test_scores_that_say_nothing_are_calibrated_and_huge_ones_are_not() -> None:
    assert pair_calibration(np.zeros(5)).expected_error == 0.0
    assert pair_calibration(np.array([1e6, -1e6])).expected_error == 0.5


def test_figures_of_three_pairs_by_hand() -> None:
    found = pair_figures(SCORES, THREE)
    assert (found.pairs, found.decided_pairs, found.equal_scores) == (3, 3, 1)
    assert found.accuracy.value == 0.5
    # 0.371101 (TRAPS F10), ln 2 and ln(1 + e²).
    assert found.loss == pytest.approx((0.371101 + 0.693147 + 2.126928) / 3, abs=1e-6)
    assert found.longer_wins.value == pytest.approx(2 / 3)
    assert found.accuracy_where_shorter_preferred is not None
    assert found.accuracy_where_shorter_preferred.value == 1.0
    assert found.accuracy_where_longer_preferred is not None
    assert found.accuracy_where_longer_preferred.value == 0.25
    # Ranks by hand: −7 / √(17 · 17.5).
    assert found.length_correlation == pytest.approx(-0.405840, abs=1e-6)
    assert found.annotators is None
    assert found.ordering is None


def test_votes_and_not_the_order_of_the_sides_say_who_was_preferred() -> None:
    against = pair("1", "f", "ee", Votes(chosen=0, rejected=1))
    found = pair_figures(scorer(ee=2.0, f=0.0), [against])
    assert found.accuracy.value == 1.0
    assert found.longer_wins.value == 1.0
    assert found.loss == pytest.approx(0.126928, abs=1e-6)


def test_ties_and_equal_texts_are_counted_and_judge_no_accuracy() -> None:
    tie = pair("4", "aa", "f", Votes(chosen=0, tie=1))
    found = pair_figures(SCORES, [*THREE, tie, pair("5", "ee", "ee")])
    assert (found.pairs, found.decided_pairs) == (5, 3)
    assert found.accuracy.value == 0.5


def test_without_a_decided_pair_there_is_no_accuracy() -> None:
    with pytest.raises(ValueError, match="one side has more votes, got 1 without"):
        pair_figures(SCORES, [pair("1", "aa", "f", Votes(chosen=1, rejected=1))])


def test_length_correlation_of_equal_scores_is_zero() -> None:
    assert length_correlation(np.zeros(3), np.array([1.0, 2.0, 3.0])) == 0.0
    assert length_correlation(np.array([1.0, 2.0]), np.array([10.0, 20.0])) == pytest.approx(1.0)


def test_fleiss_kappa_of_a_published_table() -> None:
    # Fourteen raters, ten subjects, five categories; the table of Wikipedia's article.
    table = """0 0 0 0 14  0 2 6 4 2  0 0 3 5 6  0 3 9 2 0  2 2 8 1 1
               7 7 0 0 0  3 2 6 3 0  2 5 3 2 2  6 5 2 1 0  0 2 2 3 7"""
    votes = np.array(table.split(), dtype=float).reshape(10, 5)
    assert fleiss_kappa(votes) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([[3.0, 0, 0], [3.0, 0, 0]])) == 1.0


def test_agreement_of_three_pairs_by_hand() -> None:
    votes = np.array([[3, 0, 0], [2, 0, 1], [1, 1, 1.0]])
    found = annotators(votes, np.array([1.0, -1.0, 1.0]), ["1", "2", "3"])
    assert found is not None
    assert found.model_agreement is not None and found.annotator_agreement is not None
    assert found.model_agreement.value == pytest.approx(5 / 8)
    assert found.annotator_agreement.value == pytest.approx(4 / 8)
    # (5/9 − 4/9) / (1 − 4/9) and (4/9 − 132/324) / (1 − 132/324).
    assert found.model_kappa == pytest.approx(0.2)
    assert found.annotator_kappa == pytest.approx(0.0625)


def test_agreement_needs_two_votes_on_a_pair() -> None:
    assert annotators(np.array([[1.0, 0, 0]]), np.ones(1), ["1"]) is None


def test_order_of_two_prompts_by_hand() -> None:
    records = [
        Ranking(prompt="1", responses=("a", "b", "c"), ranks=(1, 2, 3)),
        Ranking(prompt="2", responses=("d", "e", "f"), ranks=(1, 1, 2)),
        Ranking(prompt="3", responses=("a", "f"), ranks=(1, 2)),
    ]
    found = pair_figures(scorer(a=3, b=1, c=2, d=0, e=1, f=1), records).ordering
    assert found is not None
    assert found.ordered_prompts == 2
    # Tau-b 1/3 and −1/2; the first's best wins, the second's two best scores hold one of the best.
    assert found.kendall_tau.value == pytest.approx(-1 / 12)
    assert found.top_one.value == 0.75
    assert found.top_one_by_chance == pytest.approx(0.5)


def test_constant_scores_order_nothing() -> None:
    record = Ranking(prompt="1", responses=("a", "b", "c"), ranks=(1, 2, 3))
    found = pair_figures(scorer(a=1, b=1, c=1), [record]).ordering
    assert found is not None
    assert found.kendall_tau.value == 0.0
    assert found.top_one.value == pytest.approx(1 / 3)


def test_figures_as_numbers_and_as_a_table() -> None:
    found = pair_figures(SCORES, THREE)
    floats = as_floats(found)
    assert floats["accuracy"] == 0.5
    assert floats["accuracy_low"] < 0.5 < floats["accuracy_high"]
    assert floats["longer_wins"] == pytest.approx(2 / 3)
    assert "model_kappa" not in floats
    lines = markdown({"model": found, "words": pair_figures(SCORES, THREE[:1])}).splitlines()
    assert lines[:3] == ["|  | model | words |", "| --- | --- | --- |", "| pairs | 3 | 1 |"]
    assert "| loss | 1.064 | 0.371 |" in lines
    assert any(line.endswith("| 0.250 [0.000, 0.905] | – |") for line in lines)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([0, 1, 2])),
        min_size=1,
        max_size=6,
    )
)
def test_naming_the_sides_the_other_way_round_changes_nothing(
    rows: Sequence[tuple[int, int, int]],
) -> None:
    def judged(swapped: bool) -> dict[str, float]:
        records: list[PairRecord] = []
        for number, (a, b, won) in enumerate(rows):
            votes = Votes(chosen=won, rejected=3 - won)
            sides = (f"{a} {'x' * a * a}", f"{b}")
            records.append(
                pair(str(number), sides[1], sides[0], Votes(chosen=3 - won, rejected=won))
                if swapped
                else pair(str(number), *sides, votes)
            )
        scores = pair_figures(
            lambda p, responses: [float(r.split()[0]) for r in responses], records
        )
        return as_floats(scores)

    assert judged(True) == pytest.approx(judged(False))
