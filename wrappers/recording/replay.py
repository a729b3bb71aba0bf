"""Recorded episodes, stepped again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

from wrappers.recording.episode import Episode, read_episodes
from wrappers.recording.recorder import EpisodeRecorder, action_logprob
from wrappers.stack.order import TOKEN_STEPS, check_order, token_mdp


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
    terminated = truncated = False
    for action in _actions(env, recorded, number):
        _, reward, terminated, truncated, info = env.step(action)
        recorder.record(float(reward), info, action_logprob(action))
        if terminated or truncated:
            break
    response, has_ended = mdp.response(0), terminated or truncated
    if len(response) != len(recorded.response_ids) or not has_ended:
        raise ValueError(
            f"episode {number} has {len(recorded.response_ids)} tokens, but this environment "
            f"{'ended it' if has_ended else 'continues it'} after {len(response)}; replay it with "
            "its own max_new_tokens"
        )
    return recorder.episode(mdp.task, mdp.tokens[0, : mdp.prompt_lengths[0]], response, terminated)


def _actions(env: gym.Env[Any, Any], recorded: Episode, number: int) -> list[Any]:
    if not isinstance(env.action_space, gym.spaces.Dict):
        return list(recorded.response_ids)
    if recorded.logprobs is None:
        raise ValueError(
            f"episode {number} holds no log-probabilities, but the environment's actions do; "
            'replay it with kl_penalty="reference"'
        )
    pairs = zip(recorded.response_ids, recorded.logprobs, strict=True)
    return [{"token": token, "logprob": logprob} for token, logprob in pairs]
