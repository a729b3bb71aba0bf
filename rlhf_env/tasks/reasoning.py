"""Tasks for a model of one's own from reasoning-gym: its generators ask, its verifiers score."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from rlhf_env.checks import check_count, did_you_mean
from rlhf_env.extras import importing
from rlhf_env.task import Task

EVAL_SEED = 1_000_000
"""How far the seed of the questions to evaluate on is from that of those to train on. Most
generators take seed + i for question i, so two seeds near each other ask the same."""

_TAG = "answer"


def tagged_or_all(response: str) -> str:
    """Return what stands in the last ``<answer>...</answer>``, or the whole text where none does.

    Example:
        >>> tagged_or_all("It is <answer> 7 </answer>."), tagged_or_all(" 7 ")
        ('7', '7')
    """
    _, found, rest = response.rpartition(f"<{_TAG}>")
    answer, closed, _ = rest.partition(f"</{_TAG}>")
    return (answer if found and closed else response).strip()


def task_from_reasoning_gym(
    name: str,
    model: str | nn.Module,
    *,
    prompts: int = 256,
    eval_prompts: int = 64,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    to_prompt: Callable[[str], Any] = str,
    to_answer: Callable[[str], str] = tagged_or_all,
    **options: Any,
) -> Task:
    """Return a task whose prompts are generated questions and whose reward is their verifier.

    A question that comes twice is asked once, and one to train on is not evaluated on; a warning
    counts what is left out. The reward finds a question's entry by its prompt. An answer that the
    verifier cannot read, so that it raises an error, scores 0.

    Args:
        name: of the data set, such as "chain_sum".
        model: as in `rlhf_env.task.Task.from_pretrained`.
        prompts: how many questions to train on.
        eval_prompts: how many to evaluate on, of a seed of their own; 0 evaluates on those to train
            on.
        seed: of the questions to train on; those to evaluate on have ``seed + EVAL_SEED``.
        settings: of the generator, such as ``{"max_terms": 3}``.
        to_prompt: the prompt for a question, a text or a chat's messages; the question itself by
            default.
        to_answer: the answer in a response's text.
        options: of `rlhf_env.task.Task.from_pretrained`, such as ``tokenizer``.

    Raises:
        MissingExtraError: if the package reasoning-gym is not installed.
        ValueError: if there is no such data set, or an option cannot be used.
    """
    with importing("reasoning"):
        from reasoning_gym.factory import (  # type: ignore[import-not-found]
            DATASETS,
            create_dataset,
        )

    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS) or f"; there are {sorted(DATASETS)}"
        raise ValueError(f"reasoning-gym has no data set {name!r}{hint}")
    check_count("prompts", prompts)
    check_count("eval_prompts", eval_prompts, minimum=0)
    check_count("seed", seed, minimum=0)
    try:
        train = create_dataset(name, seed=seed, size=prompts, **(settings or {}))
        # Some generators refuse a size of 0.
        held_out = create_dataset(
            name, seed=seed + EVAL_SEED, size=max(eval_prompts, 1), **(settings or {})
        )
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(
            f"reasoning-gym refuses the settings {dict(settings or {})} of {name!r}: {error}"
        ) from error

    def verified(prompts: list[str], responses: list[str], entry: list[Any]) -> list[float]:
        answers = [to_answer(response) for response in responses]
        return [_score(train, *pair) for pair in zip(answers, entry, strict=True)]

    asked: set[str] = set()
    kinds = ((train, prompts), (held_out, eval_prompts))
    rows = [_rows((data[i] for i in range(size)), asked, to_prompt) for data, size in kinds]
    if left_out := prompts + eval_prompts - len(asked):
        warnings.warn(
            f"left out {left_out} of {prompts + eval_prompts} questions of {name!r} that had been "
            "asked before",
            stacklevel=2,
        )
    if eval_prompts and not rows[1]:
        raise ValueError(
            f"{name!r} has no question to evaluate on that is not trained on; lower prompts, or "
            "choose settings with more questions"
        )
    given = {"name": name, **options}
    return Task.from_pretrained(
        model, prompts=rows[0], eval_prompts=rows[1], reward=verified, **given
    )


def _rows(
    entries: Iterable[Mapping[str, Any]], asked: set[str], to_prompt: Callable[[str], Any]
) -> list[dict[str, Any]]:
    """Return a row for each question that has not been asked, which it is then."""
    rows = []
    for entry in entries:
        question = entry["question"]
        if question not in asked:
            asked.add(question)
            rows.append({"prompt": to_prompt(question), "entry": dict(entry)})
    return rows


def _score(data: Any, answer: str, entry: dict[str, Any]) -> float:
    try:
        return float(data.score_answer(answer, entry))
    except Exception:
        # Some verifiers raise on answers that are malformed, as those of an untrained policy are.
        return 0.0
