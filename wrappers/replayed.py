"""Recorded episodes, stepped again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

from wrappers.episode_record import Episode, read_episodes
from wrappers.episode_tape import Tape
from wrappers.order import check_token_steps, token_mdp


def replay(path: str | Path, env: gym.Env[Any, Any]) -> Iterator[Episode]:
    """Step the recorded ids through an environment, and yield what it makes of them.

    With the task, options and wrappers of the recording the rewards are the recorded ones.

    Args:
        path: a file of `RecordEpisodes`.
        env: a single ``RLHF-v0``, wrapped or not, whose actions are token ids.

    Raises:
        ValueError: if the file cannot be read, the actions are not token ids, or an episode has
            another prompt or end than the recorded one.
    """
    mdp = token_mdp(env, "replay")
    check_token_steps(env, "replay")
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


def carried_logprob(action: Any) -> float | None:
    """Return log pi(a|s) if an action carries it."""
    return float(action["logprob"]) if isinstance(action, dict) else None


def _stepped(env: gym.Env[Any, Any], recorded: Episode, number: int) -> Episode:
    """Return a recorded episode as an environment pays it, whose prompt is set."""
    mdp, tape = token_mdp(env, "replay"), Tape()
    tape.begin(recorded.seed)
    terminated = truncated = False
    for action in _actions(env, recorded, number):
        _, reward, terminated, truncated, info = env.step(action)
        tape.record(float(reward), info, carried_logprob(action))
        if terminated or truncated:
            break
    response, has_ended = mdp.response(0), terminated or truncated
    if len(response) != len(recorded.response_ids) or not has_ended:
        raise ValueError(
            f"episode {number} has {len(recorded.response_ids)} tokens, but this environment "
            f"{'ended it' if has_ended else 'goes on'} after {len(response)}; replay it with its "
            "own max_new_tokens"
        )
    return tape.episode(mdp.task, mdp.tokens[0, : mdp.prompt_lengths[0]], response, terminated)


def _actions(env: gym.Env[Any, Any], recorded: Episode, number: int) -> list[Any]:
    if not isinstance(env.action_space, gym.spaces.Dict):
        return list(recorded.response_ids)
    if recorded.logprobs is None:
        raise ValueError(
            f"episode {number} holds no log-probabilities, but the environment's actions carry "
            'them; replay it with kl_penalty="reference"'
        )
    pairs = zip(recorded.response_ids, recorded.logprobs, strict=True)
    return [{"token": token, "logprob": logprob} for token, logprob in pairs]
