"""The settings of `scripts/check.py`. Nothing is imported here that takes long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from rlhf_env.checks import check_choice

KINDS = (
    "task",
    "reward",
    "env",
    "wrapper",
    "algorithm",
    "agent",
    "policy_loss",
    "kl",
    "gae",
    "group_advantages",
    "whiten",
    "value_loss",
    "token_logprobs",
    "pair_loss",
)


@dataclass(frozen=True, kw_only=True)
class Check:
    """Check whether what you wrote keeps its contract."""

    thing: Annotated[
        tyro.conf.Positional[str | None],
        tyro.conf.arg(
            metavar="THING",
            help="module:name or file.py:name of what is checked, or the name of a task or agent.",
        ),
    ] = None
    kind: str | None = None
    """What it is (none given: found out): task, reward, env, wrapper, algorithm, agent, or a
    function of tensors: policy_loss, kl, gae, group_advantages, whiten, value_loss,
    token_logprobs, pair_loss."""
    task: str | None = None
    """The task beside which a reward, a wrapper or an agent is checked."""
    form: str | None = None
    """What a function of tensors says of itself, as in token_mean, k3, leave_one_out or dpo."""
    names: list[str] = field(default_factory=list)
    """Renamed arguments of a function of tensors, as in logprobs=log_prob."""
    skip: list[str] = field(default_factory=list)
    """Names of checks to leave out."""
    shows_list: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Print all checks with their claims and sources, of --kind alone if given, and leave."""


def check_settings(settings: Check) -> None:
    """Refuse what cannot be checked, as far as the command line shows."""
    if settings.kind is not None:
        check_choice("--kind", settings.kind, KINDS)
    if settings.thing is None and not settings.shows_list:
        raise ValueError("name what is to be checked, as in module:name, or give --list")
    for pair in settings.names:
        if "=" not in pair:
            raise ValueError(f"--names must be given as ours=theirs, got {pair!r}")
