"""Refusals of what a task is to be made of, once it is read and before the weights are loaded."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from rlhf_env.defaults import MAX_NEW_TOKENS, MAX_PROMPT_TOKENS
from rlhf_env.engine.pretrained import load_tokenizer
from rlhf_env.rewards.protocol import Reward, as_reward, score
from rlhf_env.text.prompt_rows import PromptRow, PromptRows
from rlhf_env.text.prompts import encode_prompt
from studies.experiment.inputs import TaskInputs
from studies.experiment.task.custom import options_named
from studies.experiment.task.spec import OwnTask
from studies.experiment.trained_reward import check_length

MAX_ERROR = 120


def check_custom_parts(model: str, own: OwnTask, inputs: TaskInputs) -> None:
    """Refuse a model, prompts or a function that no task can be made of.

    Everything about the model except its weights is checked, and the function is called on two
    responses.

    Raises:
        ValueError: one sentence with the option, what it got, and what would be right.
    """
    tokenizer = checked_tokenizer(model, own)
    hush()
    fitting = check_prompts(own, inputs, tokenizer)
    if inputs.function is not None:
        reward = as_reward(inputs.function, tokenizer, PromptRows(fitting))
        try_reward(reward, [ids for ids, _ in fitting], "--reward")
    if inputs.trained is not None:
        prompt, response = own.max_prompt_tokens, own.max_new_tokens
        check_length(inputs.trained, (prompt or MAX_PROMPT_TOKENS) + (response or MAX_NEW_TOKENS))


def hush() -> None:
    """Keep the libraries from writing between the lines of a report."""
    # Folders load in a moment.
    disable_progress_bar()
    # Texts that are too long for the model are counted or refused, by the prompts' own limit.
    logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)


def checked_tokenizer(model: str, own: OwnTask) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model that can be used, as far as that is seen at once.

    Raises:
        ValueError: with the option that is wrong.
    """
    longest = (own.max_prompt_tokens or MAX_PROMPT_TOKENS) + (own.max_new_tokens or MAX_NEW_TOKENS)
    with options_named():
        return load_tokenizer(model, longest)


def check_prompts(
    own: OwnTask, inputs: TaskInputs, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[Tensor, PromptRow]]:
    """Refuse prompts none of which is short enough.

    Returns:
        The first that is, of those to train on and of those to evaluate on, with its row.

    Raises:
        ValueError: with the options that help.
    """
    limit, found = own.max_prompt_tokens or MAX_PROMPT_TOKENS, []
    for rows in (inputs.prompts, inputs.eval_prompts):
        encoded = (encode_prompt(row.prompt, "a prompt", tokenizer) for row in rows)
        long = list(itertools.takewhile(lambda ids: len(ids) > limit, encoded))
        if len(long) == len(rows):
            shortest = min(map(len, long))
            cut = "" if own.prompt_sentences == 1 else "--prompt-sentences 1 or "
            raise ValueError(
                f"--prompts must hold one of at most {limit} tokens, got {len(rows):,} of which "
                f"the shortest has {shortest}; give {cut}--max-prompt-tokens {shortest} or more"
            )
        first = rows[len(long)]
        found.append((encode_prompt(first.prompt, "a prompt", tokenizer), first))
    return found


def try_reward(reward: Reward, prompts: Sequence[Tensor], option: str) -> None:
    """Ask a reward about a response to each prompt, so that a broken one is found at once.

    Args:
        reward: the judge.
        prompts: token ids; the last of each serves as a response.
        option: the one that named the reward.

    Raises:
        ValueError: if it raises, or does not answer with finite numbers.
    """
    asked: list[Any] = list(prompts)
    try:
        score(reward, asked, [ids[-1:] for ids in asked])
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_ERROR]
        raise ValueError(
            f"{option} must give a reward that can judge any response, got "
            f"{type(error).__name__}: {reason}; correct the function"
        ) from error
