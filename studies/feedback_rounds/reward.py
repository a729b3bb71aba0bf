"""The reward of a round: learned from all labels so far, in units of the reference's responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_env.rewards.ensemble import Ensemble
from rlhf_env.rewards.feedback.data import PreferenceData
from rlhf_env.rewards.feedback.prompt_and_response import Prompt
from rlhf_env.rewards.feedback.records import Comparison
from rlhf_env.rewards.protocol import Reward, score
from rlhf_env.rewards.training.elements import prompt_ids
from rlhf_env.rewards.training.settings import RewardSettings
from rlhf_env.rewards.training.train import train
from rlhf_env.rewards.training.trained import TrainedReward
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.text.responses import response_ids
from studies.feedback_rounds.settings import Settings

LearnedReward = TrainedReward | Ensemble


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardFit:
    """A learned reward and what it was not fitted to."""

    reward: LearnedReward
    """Mean 0 and standard deviation 1 on the reference's responses, each member."""
    train_pairs: int
    """How many pairs it was fitted to."""
    held_out: list[Comparison]
    """The pairs of other prompts."""


def check_learnable(task: Task) -> None:
    """Raise ValueError if no reward can be learned on a task's reference."""
    trunk = cast(PreTrainedModel, task.reference).base_model
    if not isinstance(trunk, PreTrainedModel):
        raise ValueError(
            f"--task must have a transformer as its reference, got {task.name!r} with "
            f"{type(task.reference).__name__}; choose another, such as reviews"
        )


def fit_reward(
    task: Task, labels: Sequence[Comparison], reference: Rollout, settings: Settings, seed: int
) -> RewardFit:
    """Learn a reward whose trunk starts as the reference's, and bring it to scale.

    Args:
        task: supplies trunk and tokenizer.
        labels: all labeled pairs so far; a tenth of the prompts is held out.
        reference: responses of the reference, on which the scores get mean 0 and spread 1.
        settings: epochs, step size, members and their rule.
        seed: of first weights and order.

    Raises:
        ValueError: if there are too few labels to learn from.
    """
    training = train(
        cast(PreTrainedModel, task.reference),
        PreferenceData(records=tuple(labels), kind="comparisons"),
        tokenizer=task.tokenizer,
        settings=RewardSettings(
            epochs=settings.reward_epochs,
            learning_rate=settings.reward_learning_rate,
            members=settings.reward_members,
            seed=seed,
        ),
    )
    for member in training.members:
        member.normalize(reference.prompts(), reference.responses())
    several = len(training.members) > 1
    return RewardFit(
        reward=Ensemble(training.members, settings.reward_rule) if several else training.members[0],
        train_pairs=len(training.train),
        held_out=list(training.held_out.pairs),
    )


def accuracy(
    reward: Reward, comparisons: Sequence[Comparison], tokenizer: PreTrainedTokenizerBase
) -> float | None:
    """Return how often a reward prefers what people did; equal scores count half.

    Returns:
        A share of the pairs that are not ties; None if all are.
    """
    decided = [pair for pair in comparisons if pair.is_decided]
    if not decided:
        return None
    prompts = [pair.prompt for pair in decided]
    chosen = _scores(reward, prompts, [pair.chosen for pair in decided], tokenizer)
    rejected = _scores(reward, prompts, [pair.rejected for pair in decided], tokenizer)
    return float(np.heaviside((chosen - rejected).numpy(), 0.5).mean())


def _scores(
    reward: Reward, prompts: list[Prompt], texts: list[str], tokenizer: PreTrainedTokenizerBase
) -> Tensor:
    pairs = list(zip(prompts, texts, strict=True))
    asked = [prompt_ids(prompt, "prompt", tokenizer) for prompt, _ in pairs]
    said = [response_ids(text, "response", tokenizer, prompt) for prompt, text in pairs]
    return score(reward, asked, said)
