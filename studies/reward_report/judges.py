"""The reward and a baseline fitted to the same data, judged by the same tests."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_env.rewards.ensemble import Ensemble
from rlhf_env.rewards.evaluation import (
    Figures,
    evaluate_marks,
    evaluate_scores,
    text_scores,
    token_suspicions,
)
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.rated_texts import RatedTexts
from rlhf_env.rewards.feedback.records import MarkedResponse, Rating, Thumb
from rlhf_env.rewards.metrics.baselines import NeighborMarks, WordScores
from rlhf_env.rewards.metrics.pair import TextScores
from rlhf_env.rewards.text_regression import TextRegressionReward
from rlhf_env.rewards.training.trained import TrainedReward
from studies.reward_report.inputs import first_member

MODEL = "model"


def judged(
    reward: TrainedReward | Ensemble, data: PreferenceData, tests: Mapping[str, PreferenceData]
) -> dict[str, dict[str, Figures]]:
    """Return the figures of the reward and of a baseline on each test.

    Args:
        reward: what the report is about; of an ensemble on marks, the first member.
        data: what the baseline is fitted to.
        tests: data of the same kind by their names.

    Raises:
        ValueError: if the data cannot be fitted to or judged by.
    """
    tokenizer = first_member(reward).tokenizer
    if data.kind == "spans":
        marked = [record for record in data.records if isinstance(record, MarkedResponse)]
        suspicions = {
            MODEL: token_suspicions(first_member(reward)),
            "token and neighbors": NeighborMarks.fit(marked, tokenizer),
        }
        return {
            test: {name: evaluate_marks(own, rows, tokenizer) for name, own in suspicions.items()}
            for test, rows in tests.items()
        }
    name, baseline = word_baseline(data)
    scores = {MODEL: text_scores(reward, tokenizer), name: baseline}
    neutral = _rated(data).neutral if data.kind == "ratings" else 0.0
    return {
        test: {judge: evaluate_scores(own, rows, neutral) for judge, own in scores.items()}
        for test, rows in tests.items()
    }


def word_baseline(data: PreferenceData) -> tuple[str, TextScores]:
    """Return the name of a judge that knows words only, and the judge, fitted to the data.

    Raises:
        ValueError: if there is too little to fit to.
    """
    if data.kind == "ratings":
        ridge = TextRegressionReward.fit(_rated(data))
        return "ridge on words", lambda prompts, responses: ridge.predict(responses).tolist()
    if data.kind == "thumbs":
        thumbs = [record for record in data.records if isinstance(record, Thumb)]
        return "bag of words", WordScores.of_thumbs(thumbs)
    return "bag of words", WordScores.of_pairs(data.pairs)


def _rated(data: PreferenceData) -> RatedTexts:
    records = [record for record in data.records if isinstance(record, Rating)]
    return RatedTexts(
        texts=[record.response for record in records],
        ratings=[float(record.rating) for record in records],
    )
