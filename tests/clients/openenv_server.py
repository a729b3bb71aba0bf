"""A real OpenEnv server in a thread, and an environment that is not ours."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from openenv.core import GenericEnvClient
from openenv.core.env_server import Action, Environment, Observation, State, create_app


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve on a free port of this machine; yields the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", ws="websockets-sansio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def connected(url: str) -> Iterator[Any]:
    """A client's session."""
    with GenericEnvClient(base_url=url).sync() as client:
        yield client


class Words(Action):
    message: str


class Echo(Observation):
    reply: str


class Repeat(Environment):
    """Say back the word that was said; a point where it is the one that the seed names.

    The third turn ends an episode, and word 9 does so at once.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True
    steps = 0
    """Over all episodes of all sessions."""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Echo:
        self.word, self.turns = f"w{2 + (seed or 0)}", 0
        return Echo(reply=self.word)

    def step(self, action: Words, timeout_s: float | None = None, **_: Any) -> Echo:
        type(self).steps += 1
        self.turns += 1
        said = action.message.split()[0]
        return Echo(
            reply=self.answer(said),
            reward=float(said == self.word),
            done=self.turns == 3 or said == "w9",
        )

    def answer(self, said: str) -> str:
        return f"{said} w{10 + self.turns}"

    @property
    def state(self) -> State:
        return State(step_count=self.turns)


class Forgetful(Repeat):
    """The same, but what it says depends on how often anybody has asked."""

    def answer(self, said: str) -> str:
        return f"w{10 + type(self).steps % 20}"


class Alike(Repeat):
    """The same, but the first observation does not tell the seed."""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Echo:
        super().reset(seed=seed)
        return Echo(reply="w2")


class Spaced(Repeat):
    """The same, but the first observation tells the seed by spaces alone."""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Echo:
        super().reset(seed=seed)
        return Echo(reply="w2" + " " * (seed or 0))


def app(kind: type[Environment], sessions: int = 4) -> Any:
    return create_app(kind, Words, Echo, "repeat", max_concurrent_envs=sessions)
