"""The reviews task: short restaurant reviews, a learned proxy and the gold reward it approximates.

Loading opens only this package's own files; `build` makes them.
"""

from __future__ import annotations

from pathlib import Path

from rlhf_env.task import Task
from rlhf_env.tasks.reviews.assets import ASSETS, load_language_model, load_proxy
from rlhf_env.tasks.reviews.gold import GoldReward
from rlhf_env.tasks.reviews.language_model import MAX_NEW_TOKENS
from rlhf_env.tasks.reviews.vocabulary import build_tokenizer, encoded_prompts, requests

__all__ = ["reviews_task"]


def reviews_task(folder: Path = ASSETS) -> Task:
    """Return the task with new models at every call.

    Args:
        folder: assets of a build; the committed ones by default.
    """
    return Task(
        name="reviews",
        tokenizer=build_tokenizer(),
        reference=load_language_model(folder),
        reward=load_proxy(folder),
        prompts=encoded_prompts(requests(held_out=False)),
        eval_prompts=encoded_prompts(requests(held_out=True)),
        gold=GoldReward(),
        max_prompt_tokens=8,
        max_new_tokens=MAX_NEW_TOKENS,
        kl_coef=0.05,
    )
