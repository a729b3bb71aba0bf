"""A task as an OpenEnv environment: clients reset it and say turns over a WebSocket."""

from __future__ import annotations

import uuid
from typing import Any

from rlhf_env.checks import check_count
from rlhf_env.env import RLHFEnv, make_task
from rlhf_env.extras import importing
from rlhf_env.mdp.options import make_options
from rlhf_env.task import Task
from wrappers.stack.order import token_mdp
from wrappers.turns.turn_text import TurnText

with importing("openenv"):
    from openenv.core.env_server import (  # type: ignore[import-not-found]
        Action,
        Environment,
        Observation,
        State,
        create_app,
    )


class Turn(Action):
    """What the agent says: a text or, where that would not encode to them, token ids."""

    text: str | None = None
    tokens: list[int] | None = None

    def said(self) -> str | list[int]:
        """Return the one that was given.

        Raises:
            ValueError: unless exactly one was.
        """
        given = [value for value in (self.text, self.tokens) if value is not None]
        if len(given) != 1:
            raise ValueError(
                "an action is either text or tokens, got "
                f"{'both' if given else 'neither'}; give one of them"
            )
        return given[0]


class Answer(Observation):
    """What the environment says, first the prompt, with the infos of `TurnText`.

    ``done`` and ``reward``, the sum of the turn's rewards, are of the base class.
    """

    text: str
    tokens: list[int]
    environment_tokens: list[int]
    reward_terms: dict[str, float]
    truncated: bool = False
    turn: int | None = None
    finish_reason: str | None = None
    score: float | None = None


class TurnState(State):
    """Where an episode stands; ``step_count`` is the number of turns."""

    task: str
    prompt_index: int | None = None
    text: str = ""


class TurnEnvironment(Environment):
    """`TurnText` as an OpenEnv environment."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env: TurnText) -> None:
        """Serve a view of turns, which no other session uses."""
        super().__init__()
        self.env, self._mdp = env, token_mdp(env)
        self._state = TurnState(task=self._mdp.task.name)

    @property
    def state(self) -> TurnState:
        """The conversation so far."""
        return self._state

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> Answer:
        """Start an episode; ``options`` are those of `rlhf_env.env.RLHFEnv.reset`."""
        prompt, info = self.env.reset(seed=seed, options=options)
        self._state = TurnState(
            task=self._mdp.task.name,
            episode_id=episode_id or str(uuid.uuid4()),
            prompt_index=int(info["prompt_index"]),
            text=prompt,
        )
        ids = info["environment_tokens"]
        return Answer(text=prompt, tokens=[], environment_tokens=ids, reward_terms={})

    def step(self, action: Turn, timeout_s: float | None = None, **options: Any) -> Answer:
        """Say a turn; a limit of time is ignored."""
        text, reward, terminated, truncated, info = self.env.step(action.said())
        self._state.step_count += 1
        self._state.text = self._mdp.task.decode(self._mdp.tokens[0, : self._mdp.lengths[0]])
        return Answer(
            text=text,
            reward=reward,
            done=terminated or truncated,
            truncated=truncated,
            turn=int(info["turn"]),
            finish_reason=info.get("finish_reason"),
            score=info.get("score"),
            **{name: info[name] for name in ("tokens", "environment_tokens", "reward_terms")},
        )

    def close(self) -> None:
        """Drop the session's caches."""
        self.env.close()


def openenv_app(task: str | Task, *, sessions: int = 8, **options: Any) -> Any:
    """Return the web application that serves a task; give it to ``uvicorn.run``.

    Each WebSocket connection is a session with an environment of its own; all of them share the
    task's models. OpenEnv's plain HTTP requests keep no state between ``/reset`` and ``/step``, so
    episodes need its client.

    Args:
        task: a `Task`, or the name of one.
        sessions: the most at a time.
        options: of ``gym.make("RLHF-v0")``.

    Returns:
        A ``fastapi.FastAPI``.

    Raises:
        ValueError: if an option cannot be used.
    """
    check_count("sessions", sessions)
    make_options(options)
    loaded = make_task(task)

    def session() -> TurnEnvironment:
        return TurnEnvironment(TurnText(RLHFEnv(loaded, **options)))

    session().close()
    return create_app(
        session, Turn, Answer, loaded.name, max_concurrent_envs=sessions, state_cls=TurnState
    )
