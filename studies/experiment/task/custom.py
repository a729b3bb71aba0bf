"""A task made of the user's language model, prompts and reward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rlhf_env import Task
from rlhf_env.defaults import KL_COEF, MAX_NEW_TOKENS, MAX_PROMPT_TOKENS
from rlhf_env.engine.pretrained import ContextWindowError, ModelError
from rlhf_env.rewards.feedback.rated_texts import RatedTexts
from rlhf_env.rewards.training.trained import load_reward
from studies.experiment.inputs import TaskInputs
from studies.experiment.option_names import as_typed
from studies.experiment.task.spec import OwnTask

if TYPE_CHECKING:
    from rlhf_env.rewards.text_regression import TextRegressionReward


def load_custom_task(
    model: str,
    own: OwnTask,
    inputs: TaskInputs,
    learned: TextRegressionReward | None,
    kl_coef: float | None,
) -> Task:
    """Load a model and make its task.

    Args:
        model: folder or hub id.
        own: whose limits are kept.
        inputs: the prompts, and the reward where it is not learned.
        learned: the reward, where it is.
        kl_coef: beta; None takes the default.

    Raises:
        ValueError: if the model or all prompts cannot be used.
    """
    reward: Any = inputs.function if learned is None else learned.score
    if inputs.trained is not None:
        reward = load_reward(inputs.trained)
    with options_named():
        return Task.from_pretrained(
            model,
            reward=reward,
            prompts=inputs.prompts,
            eval_prompts=inputs.eval_prompts,
            max_prompt_tokens=own.max_prompt_tokens or MAX_PROMPT_TOKENS,
            max_new_tokens=own.max_new_tokens or MAX_NEW_TOKENS,
            kl_coef=KL_COEF if kl_coef is None else kl_coef,
        )


@contextmanager
def options_named() -> Iterator[None]:
    """Name in an error about a model the options that are wrong.

    Raises:
        ValueError: in place of the error.
    """
    try:
        yield
    except ModelError as error:
        raise ValueError(f"--model: {error}") from error
    except ContextWindowError as error:
        raise ValueError(as_typed(str(error))) from error


def learn_reward(ratings: RatedTexts) -> tuple[TextRegressionReward, RatedTexts]:
    """Learn a reward from nine tenths of rated texts; return it and the rest."""
    kept, held_out = ratings.split()
    # Only this needs scikit-learn, whose import takes a fifth of a worker's start.
    from rlhf_env.rewards.text_regression import TextRegressionReward

    return TextRegressionReward.fit(kept), held_out
