"""Finished episodes of a rollout as recorded lines."""

from __future__ import annotations

from pathlib import Path

from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from wrappers.episode_record import Episode, append_episode


def record_rollout(rollout: Rollout, task: Task, path: Path) -> None:
    """Append every episode of a rollout to a file.

    Args:
        rollout: paid episodes.
        task: whose tokenizer turns ids into text.
        path: of the file.
    """
    for row in range(len(rollout)):
        append_episode(path, _episode(rollout, task, row))


def _episode(rollout: Rollout, task: Task, row: int) -> Episode:
    at = rollout.is_action[row]
    response = rollout.tokens[row, at]
    prompt = rollout.tokens[row, : int(rollout.prompt_lengths[row])]
    return Episode(
        prompt_ids=prompt.tolist(),
        response_ids=response.tolist(),
        prompt=task.decode(prompt),
        text=task.decode(response),
        rewards=rollout.rewards[row, at].tolist(),
        reward_terms={name: term[row, at].tolist() for name, term in rollout.reward_terms.items()},
        ref_logprobs=rollout.ref_logprobs[row, at].tolist(),
        logprobs=rollout.logprobs[row, at].tolist(),
        score=float(rollout.score[row]),
        finish_reason="eos" if int(response[-1]) == task.eos_id else "length",
        terminated=bool(rollout.terminated[row]),
        prompt_index=int(rollout.prompt_index[row]),
        seed=None,
    )
