"""Recorded episodes, stepped again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from rlhf_env.episodes import Episode, read_episodes
from rlhf_env.task import Task
from wrappers.recording.recorder import EpisodeRecorder, action_logprob
from wrappers.stack.order import TOKEN_STEPS, check_order, token_mdp
from wrappers.stack.rows import open_text


def replay(path: str | Path, env: gym.Env[Any, Any]) -> Iterator[Episode]:
    """Step the recorded ids through an environment, and yield the resulting episodes.

    With the task, options and wrappers of the recording the rewards are the recorded ones.

    Args:
        path: a file written by `wrappers.RecordEpisodes`.
        env: a single ``RLHF-v0``, wrapped or not, whose actions are token ids.

    Raises:
        ValueError: if the file cannot be read, the actions are not token ids, or an episode has
            another prompt or end than the recorded one.
    """
    mdp = check_order(env, "replay", TOKEN_STEPS)
    if env.action_space != env.unwrapped.action_space:
        raise ValueError(
            f"replay steps token ids, got actions {env.action_space}; leave out the wrapper that "
            "has changed them"
        )
    for number, recorded in enumerate(read_episodes(path)):
        index = recorded.prompt_index
        prompt = {"prompt": list(recorded.prompt_ids)} if index < 0 else {"prompt_index": index}
        env.reset(options=prompt)
        if mdp.tokens[0, : mdp.prompt_lengths[0]].tolist() != list(recorded.prompt_ids):
            raise ValueError(
                f"episode {number} of {path} has another prompt than number {index} of task "
                f"{mdp.task.name!r}; replay it in its own task"
            )
        yield _stepped(env, recorded, number)


def _stepped(env: gym.Env[Any, Any], recorded: Episode, number: int) -> Episode:
    """Return a recorded episode with the rewards of an environment whose prompt is set."""
    mdp, recorder = token_mdp(env), EpisodeRecorder()
    recorder.begin(recorded.seed)
    if mdp.dialogue is not None:
        mdp.dialogue.script(0, recorded_answers(recorded, mdp.task))
    terminated = truncated = False
    for action in _actions(env, recorded, number):
        _, reward, terminated, truncated, info = env.step(action)
        recorder.record(float(reward), info, action_logprob(action))
        if terminated or truncated:
            break
    text, has_ended = open_text(mdp, 0), terminated or truncated
    response = text.response
    if len(response) != len(recorded.response_ids) or not has_ended:
        raise ValueError(
            f"episode {number} has {len(recorded.response_ids)} tokens, but this environment "
            f"{'ended it' if has_ended else 'continues it'} after {len(response)}; replay it with "
            "its own max_new_tokens"
        )
    return recorder.episode(mdp.task, text, terminated)


def recorded_answers(recorded: Episode, task: Task) -> list[Tensor | None]:
    """Return what the environment said after each turn of a recorded conversation.

    A turn after which the agent went on at once was answered with no tokens; after the last one
    the environment ended the episode.
    """
    ids = torch.tensor(recorded.response_ids)
    own = torch.ones(len(ids), dtype=torch.bool)
    if recorded.is_action is not None:
        own = torch.tensor(recorded.is_action)
    chosen_at = own.nonzero().flatten().tolist()
    answers: list[Tensor | None] = []
    for at, following in itertools.pairwise(chosen_at):
        if int(ids[at]) == task.turn_end_id:
            answers.append(ids[at + 1 : following])
    return [*answers, None]


def _actions(env: gym.Env[Any, Any], recorded: Episode, number: int) -> list[Any]:
    if not isinstance(env.action_space, gym.spaces.Dict):
        return _own_ids(recorded)
    if recorded.logprobs is None:
        raise ValueError(
            f"episode {number} holds no log-probabilities, but the environment's actions do; "
            'replay it with kl_penalty="reference"'
        )
    pairs = zip(_own_ids(recorded), recorded.logprobs, strict=True)
    return [{"token": token, "logprob": logprob} for token, logprob in pairs]


def _own_ids(recorded: Episode) -> list[int]:
    """Return the tokens that the agent chose."""
    ids = recorded.response_ids
    return list(ids if recorded.is_action is None else itertools.compress(ids, recorded.is_action))
