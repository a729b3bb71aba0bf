"""Minari's data sets as recorded episodes, and back (https://minari.farama.org)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from rlhf_env.episodes import Episode
from rlhf_env.extras import importing
from rlhf_env.rollout import Rollout
from rlhf_env.vector_env import RLHFVectorEnv

_LOGPROB, _SCORE, _PROMPT = "logprob", "score", "prompt_index"


def minari_episodes(dataset: Any, base: RLHFVectorEnv) -> Iterator[Episode]:
    """Yield the episodes of a data set that was recorded in ``RLHF-v0``.

    Its observations hold prompt and response; log-probabilities are those of its actions, or of
    "logprob" in its infos, score and prompt number those of its infos, where it has any.

    Args:
        dataset: a ``MinariDataset``, or the name of one on this machine.
        base: whose task decodes the ids.

    Raises:
        MissingExtraError: if a name is given and Minari is not installed.
        ValueError: if it holds observations or actions of another kind of environment.
    """
    if isinstance(dataset, str):
        with importing("minari"):
            import minari  # type: ignore[import-not-found]
        dataset = minari.load_dataset(dataset)
    for number, data in enumerate(dataset.iterate_episodes(), start=1):
        try:
            ids = np.asarray(data.observations["input_ids"])
            mask = np.asarray(data.observations["attention_mask"]).astype(bool)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(
                "the data set must hold observations with input_ids and attention_mask, got "
                f"others in episode {number}; record it in RLHF-v0"
            ) from error
        yield _episode(data, ids, mask, base, number)


def _episode(
    data: Any, ids: np.ndarray, mask: np.ndarray, base: RLHFVectorEnv, number: int
) -> Episode:
    actions, infos = data.actions, data.infos or {}
    told = infos[_LOGPROB][1:] if _LOGPROB in infos else None
    if isinstance(actions, dict):
        actions, told = actions["token"], actions[_LOGPROB]
    tokens = np.asarray(actions).reshape(-1)
    begun = int(mask[0].sum())
    text = ids[-1][mask[-1]]
    # Before the action of step t, the text has as many tokens as its observation shows.
    at = mask[:-1].sum(axis=1)
    if len(at) != len(tokens) or at.max() >= len(text) or (text[at] != tokens).any():
        raise ValueError(
            f"episode {number} of the data set must have one token a step, which the next "
            "observation shows, got others; record it with single tokens as actions"
        )
    is_action = np.zeros(len(text), dtype=bool)
    is_action[at] = True
    response, own = text[begun:], is_action[begun:]
    prompt_index = int(infos[_PROMPT][0]) if _PROMPT in infos else -1
    known = told is not None and np.isfinite(told).all()
    task = base.task
    return Episode(
        prompt_ids=text[:begun].tolist(),
        response_ids=response.tolist(),
        prompt="",
        text="",
        rewards=np.asarray(data.rewards).tolist(),
        reward_terms={},
        ref_logprobs=[],
        logprobs=np.asarray(told, dtype=float).reshape(-1).tolist() if known else None,
        score=float(infos[_SCORE][-1]) if _SCORE in infos else math.nan,
        finish_reason="eos" if int(text[-1]) == task.eos_id else "length",
        terminated=bool(np.asarray(data.terminations)[-1]),
        prompt_index=prompt_index,
        seed=None,
        is_action=None if own.all() else own.tolist(),
    )


def write_minari(rollout: Rollout, base: RLHFVectorEnv, name: str, **described: Any) -> Any:
    """Write episodes as a data set, and return it.

    Infos hold "logprob" of each action, the "score" at the end and "prompt_index".

    Args:
        rollout: paid episodes.
        base: whose spaces the data set gets.
        name: of the data set, such as "rlhf/toy15-v0".
        **described: of ``minari.create_dataset_from_buffers``, such as ``author``.

    Raises:
        MissingExtraError: if Minari is not installed.
        ValueError: if there is a data set of that name, as Minari says it.
    """
    with importing("minari"):
        import minari  # type: ignore[import-not-found]
        from minari.data_collector.episode_buffer import (  # type: ignore[import-not-found]
            EpisodeBuffer,
        )
    buffers = [
        EpisodeBuffer(id=row, **_steps(rollout.take(rollout.group.new_tensor([row])), base))
        for row in range(len(rollout))
    ]
    return minari.create_dataset_from_buffers(
        name,
        buffers,
        observation_space=base.single_observation_space,
        action_space=spaces.Discrete(base.task.vocab_size),
        **described,
    )


def _steps(episode: Rollout, base: RLHFVectorEnv) -> dict[str, Any]:
    """Return the observations, actions, rewards and infos of one episode, step by step."""
    own = episode.is_action[0].numpy()
    at = own.nonzero()[0]
    last = int(episode.lengths[0])
    shapes: Any = base.single_observation_space
    ids = np.full((len(at) + 1, *shapes["input_ids"].shape), base.task.pad_id)
    mask = np.zeros(ids.shape, dtype=shapes["attention_mask"].dtype)
    for step, shown in enumerate((*at.tolist(), last)):
        ids[step, :shown], mask[step, :shown] = episode.tokens[0, :shown].numpy(), 1
    steps = len(at)
    is_last = np.arange(steps + 1) == steps
    ended, terminated = is_last[1:], bool(episode.terminated[0])
    return {
        "observations": {
            "input_ids": ids.astype(shapes["input_ids"].dtype),
            "attention_mask": mask,
        },
        "actions": episode.tokens[0, own].numpy(),
        "rewards": episode.rewards[0, own].tolist(),
        "terminations": (ended & terminated).tolist(),
        "truncations": (ended & (not terminated)).tolist(),
        "infos": {
            _LOGPROB: np.concatenate([[0.0], episode.logprobs[0, own].double().numpy()]),
            _SCORE: np.where(is_last, float(episode.score[0]), 0.0),
            _PROMPT: np.full(steps + 1, float(episode.prompt_index[0])),
        },
    }
