"""A task for a model of one's own from an OpenEnv environment that somebody serves."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from rlhf_env.checks import check_count
from rlhf_env.extras import importing
from rlhf_env.task import Task
from rlhf_env.tasks.openenv_game import Ids, OpenEnvGame


def text_action(text: str) -> dict[str, Any]:
    """Return the action of an environment that reads the field "text"."""
    return {"text": text}


def text_of(observation: dict[str, Any]) -> str:
    """Return the field "text" of an observation.

    Raises:
        ValueError: if it has none.
    """
    if not isinstance(observation.get("text"), str):
        raise ValueError(
            f'an observation has no text in the field "text", got {sorted(observation)}; '
            "pass to_text="
        )
    return observation["text"]


def task_from_openenv(
    url: str,
    model: str | nn.Module,
    *,
    prompts: int = 64,
    eval_prompts: int = 16,
    seed: int = 0,
    to_action: Callable[[str], dict[str, Any]] = text_action,
    to_text: Callable[[dict[str, Any]], str] = text_of,
    sessions: int = 1,
    end_of_turn_id: int | None = None,
    max_turns: int | None = None,
    max_environment_tokens: int = 256,
    **options: Any,
) -> Task:
    """Return a task whose prompts, answers and reward are an OpenEnv environment's.

    The prompts are its first observations under the seeds ``seed``, ``seed + 1``, ...; the score
    after a turn is the sum of its rewards so far. What it says must follow from seed and turns.
    Since answers and reward of a task are functions of the prompt, of two seeds with the same first
    observation the second is left out, with a warning. ``task.reward.close()`` disconnects.

    Args:
        url: where it is served, such as "http://localhost:8000".
        model: as in `rlhf_env.task.Task.from_pretrained`.
        prompts: how many to train on.
        eval_prompts: how many more to evaluate on; 0 evaluates on those to train on.
        seed: of the first prompt.
        to_action: what is sent for the text of a turn; ``{"text": text}`` by default.
        to_text: the text of an observation, which is a dictionary; its field "text" by default.
        sessions: how many to keep open, at most as many as the server allows. With fewer than there
            are conversations at a time, turns are said again to a session that is reset.
        end_of_turn_id: of the task, as the next two are.
        max_turns: likewise.
        max_environment_tokens: likewise.
        options: of `rlhf_env.task.Task.from_pretrained`, such as ``tokenizer``.

    Raises:
        MissingExtraError: if the package openenv is not installed.
        ValueError: if an option cannot be used.
        ConnectionError: if nobody serves there.
    """
    with importing("openenv"):
        from openenv.core import GenericEnvClient  # type: ignore[import-not-found]

    check_count("prompts", prompts)
    check_count("eval_prompts", eval_prompts, minimum=0)
    check_count("sessions", sessions)
    client = GenericEnvClient(base_url=url).sync()
    client.connect()
    try:
        rows = _rows(client, range(seed, seed + prompts + eval_prompts), to_text)
        base = Task.from_pretrained(
            model,
            prompts=[row for row in rows if row["seed"] < seed + prompts],
            eval_prompts=[row for row in rows if row["seed"] >= seed + prompts],
            reward=_unscored,
            **options,
        )
        game = OpenEnvGame(
            client,
            base.tokenizer,
            (base.eos_id, base.eos_id if end_of_turn_id is None else end_of_turn_id),
            _seeds(base),
            to_action=to_action,
            to_text=to_text,
            sessions=sessions,
        )
        return dataclasses.replace(
            base,
            reward=game,
            respond=game.respond,
            step_scores=game,
            end_of_turn_id=end_of_turn_id,
            max_turns=max_turns,
            max_environment_tokens=max_environment_tokens,
        )
    except BaseException:
        client.close()
        raise


def _rows(
    client: Any, seeds: range, to_text: Callable[[dict[str, Any]], str]
) -> list[dict[str, Any]]:
    """Return the different first observations, each with the first seed that gives it."""
    first: dict[str, int] = {}
    for seed in seeds:
        first.setdefault(to_text(client.reset(seed=seed).observation), seed)
    if left_out := len(seeds) - len(first):
        warnings.warn(
            f"left out {left_out} of {len(seeds)} seeds, whose first observation another one gives",
            stacklevel=3,
        )
    return [{"prompt": text, "seed": seed} for text, seed in first.items()]


def _unscored(prompts: list[str], responses: list[str]) -> list[float]:
    return [0.0] * len(prompts)


def _seeds(task: Task) -> dict[Ids, int]:
    """Return the seed of each prompt's ids."""
    if reason := task.rows.ambiguous.get("seed"):
        raise ValueError(
            f"the tokenizer reads two first observations as the same, of the seeds {reason}; "
            "choose other seeds"
        )
    rows = ((ids, task.rows.of(ids)) for ids in (*task.prompts, *task.eval_prompts))
    return {tuple(ids.tolist()): row.columns["seed"] for ids, row in rows if row is not None}
