"""The units of the score: an affine map, and how its constants are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.mdp.reference_responses import sample_reference
from rlhf_env.mdp.transition import ends_text
from rlhf_env.rewards.protocol import score
from wrappers.reward_terms.prefix_scores import PrefixScorer

Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True, kw_only=True)
class ScoreScale:
    """The map score -> (score − mean) / sd."""

    mean: float
    """The score that becomes 0."""
    sd: float
    """The distance from it that becomes 1, > 0."""

    def of(self, score: Number) -> Number:
        """Return a score, or a tensor of them, in the new units."""
        return (score - self.mean) / self.sd


def measured_scale(mdp: TokenMDP, episodes: int, seed: int) -> ScoreScale:
    """Return the scale under which the reference's scores have mean 0 and spread 1.

    Episodes that ``length_limit="bootstrap"`` truncates have no score and do not count.

    Args:
        mdp: gives reference, reward, prompts and horizon.
        episodes: how many responses to draw, >= 2.
        seed: for the prompts and the tokens.

    Raises:
        ValueError: if all scores are equal, or there are none.
    """
    generator = np.random.default_rng(seed)
    task = mdp.task
    chosen = generator.integers(len(task.prompts), size=episodes).tolist()
    prompts = [task.prompts[index] for index in chosen]
    responses = sample_reference(mdp, prompts, generator)
    if mdp.options.length_limit == "bootstrap":
        is_finished = [bool(ends_text(response[-1], task)) for response in responses]
        prompts = [row for row, kept in zip(prompts, is_finished, strict=True) if kept]
        responses = [row for row, kept in zip(responses, is_finished, strict=True) if kept]
    scores = score(task.reward, prompts, responses).double() if responses else None
    if scores is None or float(scores.std(correction=0)) == 0.0:
        raise ValueError(
            f"the scores of {len(responses)} finished responses of the reference do not differ, so "
            "they give no sd to divide by; raise episodes, or give mean and sd"
        )
    return ScoreScale(mean=float(scores.mean()), sd=float(scores.std(correction=0)))


def scaled_prefix_scores(
    score_prefixes: PrefixScorer, scale: ScoreScale, prompts: list[Tensor], responses: list[Tensor]
) -> list[Tensor]:
    """Return prefix scores in the units of a scale."""
    return [scale.of(row) for row in score_prefixes(prompts, responses)]
