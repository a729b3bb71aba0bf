"""Who wins each pair of responses: by a score, by a judge, or by people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from agents.preference.labels import as_judge, win_probabilities
from rlhf_env import Task
from rlhf_env.rollout import Rollout
from rlhf_env.statistics import Floats
from studies.experiment.references import import_object
from studies.feedback_rounds.labels import read_all_choices, write_pairs
from studies.feedback_rounds.pairs import Pair

# What a vote gives to side a; a skip is no vote.
_SIDE_A = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


def check_judge(by: str, task: Task) -> None:
    """Refuse a judge that cannot be used, before anybody answers.

    Args:
        by: "auto", "gold", "score", "people", or ``module:name``.
        task: whose gold reward may be asked for.

    Raises:
        ValueError: if there is no such judge.
    """
    if by == "gold" and task.gold is None:
        raise ValueError(
            f"--by gold needs a task with a gold reward, got {task.name!r} without one; "
            "leave it out, or name a judge"
        )
    if by not in ("auto", "gold", "score", "people"):
        import_object(by, "--by")


def by_score(first: Floats, second: Floats) -> Floats:
    """Return 1, 0 or 0.5 for each pair of numbers, [N]."""
    return (np.sign(first - second) + 1.0) / 2.0


def by_judge(reference: str, task: Task, first: Rollout, second: Rollout) -> Floats:
    """Return the probability that the first response wins, [N], as a judge has it.

    Each pair is shown in both orders, and the mean counts: a judge may prefer a place.

    Args:
        reference: ``module:name`` of ``f(prompts, a, b)`` on texts, or of an object with
            ``compare``, such as `rlhf_env.rewards.PairwiseJudge`.
        task: whose tokenizer makes texts.
        first: N responses.
        second: the other ones, to the same prompts.

    Raises:
        ValueError: if there is no such judge, or it answers with something else.
    """
    judge = as_judge(import_object(reference, "--by"), task.tokenizer)
    prompts, ours, theirs = first.prompts(), first.responses(), second.responses()
    forwards = win_probabilities(judge, prompts, ours, theirs)
    backwards = win_probabilities(judge, prompts, theirs, ours)
    return ((forwards + 1.0 - backwards) / 2.0).numpy()


def by_people(path: Path, task: Task, first: Rollout, second: Rollout, seed: int) -> Floats:
    """Return who wins, [N], as people have labeled the pairs of a file.

    The file is written where it does not exist, and then waits for its labels. Sides are put in
    random order, which the seed decides, so that nobody knows which is whose. The votes of several
    people on a pair are averaged. Pairs of equal texts, which nobody is asked about, and pairs that
    all skipped are ties.

    Raises:
        ValueError: if the file holds other pairs, or cannot be read.
        studies.feedback_rounds.labels.LabelsMissing: if labels are missing.
    """
    texts = _texts(task, first), _texts(task, second)
    prompts = [task.decode(ids) for ids in first.prompts()]
    is_swapped = np.random.default_rng([seed, len(prompts)]).random(len(prompts)) < 0.5
    asked = [i for i, (a, b) in enumerate(zip(*texts, strict=True)) if a != b]
    pairs = [
        Pair(
            prompt=prompts[i],
            response_a=texts[int(is_swapped[i])][i],
            response_b=texts[1 - int(is_swapped[i])][i],
        )
        for i in asked
    ]
    if not path.exists():
        write_pairs(path, pairs, [None] * len(pairs))
    wins = np.full(len(prompts), 0.5)
    for i, choices in zip(asked, read_all_choices(path, pairs), strict=True):
        votes = [_SIDE_A[choice] for choice in choices if choice in _SIDE_A]
        # Side a is the first agent's unless the pair was swapped.
        share = sum(votes) / len(votes) if votes else 0.5
        wins[i] = 1.0 - share if is_swapped[i] else share
    return wins


def _texts(task: Task, rollout: Rollout) -> Sequence[str]:
    return [_text(task, ids) for ids in rollout.responses()]


def _text(task: Task, ids: Tensor) -> str:
    return task.decode(ids[:-1] if len(ids) and int(ids[-1]) == task.eos_id else ids)
