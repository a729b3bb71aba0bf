"""Old episodes in experiments: the buffer of a run, and which grids may ask for one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from studies.experiment.agent_names import SAMPLING, learns_off_policy
from studies.experiment.axes import Axes
from studies.experiment.further_settings import assignments
from studies.experiment.grid import RunSettings, choices

if TYPE_CHECKING:
    from agents import Replay

CAPACITY = 4096
"""Episodes that a buffer keeps where nobody says how many."""


def old_episodes(run: RunSettings) -> dict[str, Replay]:
    """Return an agent's argument: its buffer, empty; nothing where fresh episodes are all."""
    if not run.replay_ratio:
        return {}
    import agents

    return {"replay": agents.Replay(capacity=CAPACITY, ratio=run.replay_ratio)}


def check_old_episodes(axes: Axes) -> None:
    """Refuse a grid with old episodes that no agent takes, or that one takes for its own.

    Raises:
        ValueError: with the agent.
    """
    check_named_once(axes.set, {name: getattr(axes, name) for name in SAMPLING})
    ratio = max(axes.replay_ratio, default=0.0)
    if not ratio:
        return
    varied = {agent: choices(axes, agent) for agent in axes.agent}
    takers = [agent for agent in axes.agent if varied[agent]["replay_ratio"] != (None,)]
    if not takers:
        raise ValueError(
            f"replay_ratio needs an agent that may learn from old episodes, got {ratio:g} for "
            f"{', '.join(axes.agent)}; add one, or leave the option out"
        )
    for agent in takers:
        for further, importance in itertools.product(
            varied[agent]["set"], varied[agent]["importance"]
        ):
            correction = assignments(further).get("importance", importance)
            if not learns_off_policy(agent, correction):
                raise not_corrected("replay_ratio", f"{ratio:g}", agent)


def check_named_once(texts: Iterable[str], named: Mapping[str, object]) -> None:
    """Refuse a setting that is given by its own option and by ``set`` too.

    Args:
        texts: of ``set``.
        named: the values of the options, by name; nothing that is false was given.

    Raises:
        ValueError: with the setting.
    """
    for text in texts:
        for name in SAMPLING:
            if name in assignments(text) and named[name] not in (None, ()):
                raise ValueError(
                    f"set must leave out {name}, which --{name} gives too, got {text!r}; leave "
                    "one of the two out"
                )


def not_corrected(option: str, got: str, agent: str) -> ValueError:
    """Return the error of old episodes for an agent that takes them for its policy's own.

    Args:
        option: that asks for old episodes.
        got: its value.
        agent: its name.
    """
    return ValueError(
        f"{option} needs an agent that corrects for old episodes, got {got} for {agent} without a "
        "correction; add --importance sequence, or choose another agent"
    )
