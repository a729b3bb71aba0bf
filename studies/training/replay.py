"""The old episodes that a run learns from: checked, and made into the agent's buffer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agents.settings import BUILT_IN_AGENTS
from agents.settings.registry import compares_groups
from agents.settings.replay import PRIORITIES
from rlhf_env.checks import check_choice
from rlhf_env.files import sha256
from studies.experiment.agent_names import custom_class, is_custom, takes_replay
from studies.experiment.numbers import number, whole_number
from studies.experiment.old_episodes import CAPACITY, check_named_once, not_corrected
from studies.experiment.references import existing_file
from studies.training.settings import Learning

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

_WITH = ("replay_capacity", "replay_priority", "replay_max_age")


def check_replay(learning: Learning, config: Any) -> None:
    """Refuse options of a buffer that cannot be used, before anything is loaded.

    Args:
        learning: the options.
        config: the agent's settings; None for an agent of one's own that has no such class.

    Raises:
        ValueError: with the option.
    """
    named = {"importance": learning.importance, "staleness": learning.staleness}
    check_named_once(learning.set, named)
    ratio, path = learning.replay_ratio, learning.from_file
    if not is_asked(learning):
        for name in _WITH:
            if (value := getattr(learning, name)) is not None:
                raise ValueError(
                    f"{_option(name)} goes with --replay-ratio or --from, got {value} without; "
                    "give one of them, or leave it out"
                )
        return
    option, got = ("--from", repr(str(path))) if ratio is None else ("--replay-ratio", f"{ratio:g}")
    if not takes_replay(learning.agent):
        raise ValueError(
            f"{option} needs an agent that may learn from old episodes, got {got} for "
            f"{learning.agent}; leave it out or choose another agent"
        )
    if not getattr(config, "learns_off_policy", config is None):
        raise not_corrected(option, got, learning.agent)
    number("--replay-ratio", ratio, 0.0)
    if ratio == 0:
        raise ValueError(
            "--replay-ratio must be above 0, got 0; leave it out to learn from fresh episodes alone"
        )
    for name in ("replay_capacity", "replay_max_age"):
        if (value := getattr(learning, name)) is not None:
            whole_number(_option(name), value, 1)
    if learning.replay_priority is not None:
        check_choice("--replay-priority", learning.replay_priority, PRIORITIES)


def is_asked(learning: Learning) -> bool:
    """Return whether a run learns from old episodes."""
    return learning.replay_ratio is not None or learning.from_file is not None


def replay_digests(learning: Learning) -> dict[str, str]:
    """Return the SHA-256 of the file of episodes, if there is one.

    Raises:
        ValueError: if it is missing or empty.
    """
    if learning.from_file is None:
        return {}
    return {"from": sha256(existing_file(learning.from_file, "--from"))}


def replay_argument(learning: Learning, envs: VectorEnv[Any, Any, Any]) -> dict[str, Any]:
    """Return the agent's argument; nothing where it learns from fresh episodes alone.

    Args:
        learning: checked options.
        envs: the agent's environment, which pays recorded episodes.

    Raises:
        ValueError: if the file holds an episode that is not one of this environment.
    """
    if not is_asked(learning):
        return {}
    from agents import Replay

    given = {
        "capacity": learning.replay_capacity,
        "ratio": learning.replay_ratio,
        "priority": learning.replay_priority,
        "max_age": learning.replay_max_age,
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if learning.from_file is None:
        return {"replay": Replay(**{"capacity": CAPACITY, **settings})}
    replay = Replay.from_episodes(
        learning.from_file,
        envs,
        group_size=group_size_of(learning),
        temperature=learning.temperature,
        **settings,
    )
    if "capacity" not in settings and replay.ratio != math.inf:
        replay.capacity = max(CAPACITY, replay.capacity)
    return {"replay": replay}


def group_size_of(learning: Learning) -> int:
    """Return how many responses to a prompt the agent compares; 1 where it compares none."""
    if is_custom(learning.agent):
        kind = getattr(custom_class(learning.agent), "config_class", None)
        usual = kind().group_size if kind is not None and compares_groups(kind) else 1
    else:
        known = BUILT_IN_AGENTS[learning.agent]
        usual = known.defaults.group_size if known.compares_groups else 1
    return usual if learning.group_size is None else learning.group_size


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
