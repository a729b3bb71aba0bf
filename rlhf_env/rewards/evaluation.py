"""How good a reward is, measured on held-out human feedback.

What is measured for each kind of data is in `pair_figures` (with `annotators` and
`ranking_figures`) and `single_figures`; what to compare it with, in `baselines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.prompt_and_response import Prompt, prompt_text
from rlhf_env.rewards.feedback.records import (
    MarkedResponse,
    PairRecord,
    Rating,
    Record,
    Thumb,
)
from rlhf_env.rewards.metrics.pair import PairFigures, TextScores, pair_figures
from rlhf_env.rewards.metrics.single import (
    MarkFigures,
    RatingFigures,
    ThumbFigures,
    TokenScores,
    mark_figures,
    rating_figures,
    thumb_figures,
)
from rlhf_env.rewards.protocol import as_reward, score
from rlhf_env.rewards.training.elements import prompt_ids
from rlhf_env.rewards.training.trained import TrainedReward
from rlhf_env.text.responses import response_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = TypeVar("Kind", bound=Record)
Figures: TypeAlias = PairFigures | RatingFigures | ThumbFigures | MarkFigures
BATCH_SIZE = 32


def evaluate_scores(scores: TextScores, data: PreferenceData, neutral: float = 0.0) -> Figures:
    """Judge scores of whole responses by held-out pairs, rankings, ratings or thumbs.

    Args:
        scores: a function of prompts and responses as texts; `text_scores` makes one of a reward.
        data: that nothing was fitted to, with prompts of their own.
        neutral: the rating that is neither good nor bad.

    Raises:
        ValueError: if the data are marks, which label tokens, or cannot be used to evaluate.
    """
    records = data.records
    if data.kind == "ratings":
        return rating_figures(scores, _of(records, Rating), neutral)
    if data.kind == "thumbs":
        return thumb_figures(scores, _of(records, Thumb))
    if data.kind == "spans":
        raise ValueError("data must be about whole responses, got spans; use evaluate_marks")
    return pair_figures(scores, [r for r in records if isinstance(r, PairRecord)])


def evaluate_marks(
    suspicions: TokenScores, data: PreferenceData, tokenizer: PreTrainedTokenizerBase
) -> MarkFigures:
    """Judge suspicions of single tokens by held-out marks.

    Args:
        suspicions: of each token of finished responses given as texts; `token_suspicions` makes
            them of a trained reward.
        data: that nothing was fitted to, with prompts of their own.
        tokenizer: splits responses into tokens.

    Raises:
        ValueError: if the data are not marks, or cannot be used to evaluate.
    """
    if data.kind != "spans":
        raise ValueError(f"data must be spans, got {data.kind}; use evaluate_scores")
    return mark_figures(suspicions, _of(data.records, MarkedResponse), tokenizer)


def text_scores(reward: Any, tokenizer: PreTrainedTokenizerBase) -> TextScores:
    """Return a function of texts that scores finished responses with any reward.

    Args:
        reward: a `Reward`, or a function of texts.
        tokenizer: of the policy whose responses the reward judges; an end token is appended.

    Raises:
        TypeError: if the reward cannot be called.
    """
    judge = as_reward(reward, tokenizer)

    def scores(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        found: list[float] = []
        # Rows of similar length together: less is padded.
        order = sorted(range(len(responses)), key=lambda row: _size(prompts[row], responses[row]))
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            asked = [prompt_ids(prompts[row], f"prompt {row}", tokenizer) for row in rows]
            said = [
                response_ids(responses[row], f"response {row}", tokenizer, prompts[row])
                for row in rows
            ]
            found += score(judge, asked, said).tolist()
        place = {row: number for number, row in enumerate(order)}
        return [found[place[row]] for row in range(len(responses))]

    return scores


def token_suspicions(reward: TrainedReward) -> TokenScores:
    """Return a function of texts that gives each token's suspicion, -ln P(fine).

    Args:
        reward: trained on marks.

    Raises:
        ValueError: if it was trained on anything else.
    """
    if not reward.per_token:
        raise ValueError("reward must be trained on marked responses, got one of whole responses")

    def suspicions(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[list[float]]:
        found = []
        for prompt, response in zip(prompts, responses, strict=True):
            asked = prompt_ids(prompt, "prompt", reward.tokenizer)
            said = response_ids(response, "response", reward.tokenizer, None)
            is_ended = reward.tokenizer.eos_token_id is not None
            scores = reward.token_scores([asked], [said])[0]
            found.append((-scores[: len(said) - is_ended]).tolist())
        return found

    return suspicions


def _size(prompt: Prompt, response: str) -> int:
    return len(prompt_text(prompt)) + len(response)


def _of(records: Sequence[Record], kind: type[Kind]) -> list[Kind]:
    return [record for record in records if isinstance(record, kind)]
