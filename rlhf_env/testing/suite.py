"""The checks of every kind, found by name, and the functions that run all of a kind.

Kinds that need other packages are looked up when they are asked for, so that this one imports
neither of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from rlhf_env.testing.claims import Check, Result, raise_failures, run_checks
from rlhf_env.testing.losses.subject import INPUTS, TrainerLoss

# kind -> the module with its checks, the name of their list, and the function that makes a
# subject of what is checked.
_KINDS: dict[str, tuple[str, str, str | None]] = {
    "task": ("rlhf_env.testing.task", "CHECKS", "task_case"),
    "reward": ("rlhf_env.testing.reward", "CHECKS", "reward_case"),
    "env": ("rlhf_env.testing.env", "CHECKS", "env_case"),
    "wrapper": ("rlhf_env.testing.wrapper", "CHECKS", "wrapper_case"),
    "algorithm": ("agents.testing.algorithm", "CHECKS", "algorithm_case"),
    "agent": ("agents.testing.agent", "CHECKS", "agent_case"),
    "policy_loss": ("rlhf_env.testing.losses.policy_loss", "CHECKS", None),
    "kl": ("rlhf_env.testing.losses.kl", "CHECKS", None),
    "gae": ("rlhf_env.testing.losses.gae", "CHECKS", None),
    "group_advantages": ("rlhf_env.testing.losses.groups", "CHECKS", None),
    "whiten": ("rlhf_env.testing.losses.others", "WHITEN", None),
    "value_loss": ("rlhf_env.testing.losses.others", "VALUE_LOSS", None),
    "token_logprobs": ("rlhf_env.testing.losses.others", "TOKEN_LOGPROBS", None),
    "pair_loss": ("rlhf_env.testing.losses.pair_loss", "CHECKS", None),
}


def kinds() -> list[str]:
    """Return the kinds that `checks` knows."""
    return list(_KINDS)


def checks(kind: str) -> Sequence[Check]:
    """Return the checks of a kind, each callable with what it checks.

    For pytest, one test a check::

        @pytest.mark.parametrize("check", testing.checks("task"), ids=str)
        def test_my_task(check):
            check(testing.subject("task", my_task))

    Raises:
        ValueError: if the kind is unknown.
    """
    module, name, _ = _KINDS[_known(kind)]
    return getattr(importlib.import_module(module), name)


def subject(kind: str, thing: Any, **options: Any) -> Any:
    """Return what the checks of a kind are called with: ``thing`` and what it is checked beside.

    Args:
        kind: one of `kinds`.
        thing: what the ``check_`` function of that kind takes.
        **options: those of that function.
    """
    module, _, prepare = _KINDS[_known(kind)]
    if prepare is not None:
        return getattr(importlib.import_module(module), prepare)(thing, **options)
    if isinstance(thing, TrainerLoss):
        if options:
            raise ValueError(
                f"a TrainerLoss brings its own settings, got {next(iter(options))!r} too"
            )
        return thing
    return TrainerLoss(function=thing, kind=kind, **options)


def results(kind: str, thing: Any, *, skip: Collection[str] = (), **options: Any) -> list[Result]:
    """Return what became of every check of a kind, without raising."""
    return run_checks(checks(kind), subject(kind, thing, **options), skip)


def check_task(task: Any, *, skip: Collection[str] = ()) -> None:
    """Check a task: its prompts, reference, reward and, where it can be enumerated, its optimum.

    Args:
        task: a `Task`, the name of one, or a function that makes one.
        skip: names of checks to leave out.

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(results("task", task, skip=skip))


def check_reward(reward: Any, *, skip: Collection[str] = (), **options: Any) -> None:
    """Check a reward on responses of a task's reference.

    Args:
        reward: a `Reward`, or a function of texts.
        skip: names of checks to leave out.
        **options: ``task``, whose prompts, tokenizer and reference are used ("reviews").

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(results("reward", reward, skip=skip, **options))


def check_env(make: Callable[[], Any], *, skip: Collection[str] = ()) -> None:
    """Check an environment of the token MDP.

    Args:
        make: makes a new environment at every call; or the ``id`` of one.
        skip: names of checks to leave out.

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(results("env", make, skip=skip))


def check_wrapper(
    wrap: Callable[[Any], Any], *, skip: Collection[str] = (), **options: Any
) -> None:
    """Check a wrapper of the token MDP.

    Args:
        wrap: wraps an environment: a class, or a function that gives its settings too.
        skip: names of checks to leave out.
        **options: ``vector``, the same for vector environments; ``keeps_score=True`` where the
            score is only paid at other times; ``keeps_actions=False`` where the actions are others
            than tokens; ``task`` ("toy15").

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(results("wrapper", wrap, skip=skip, **options))


def check_algorithm(algorithm: Any, *, skip: Collection[str] = (), **options: Any) -> None:
    """Check a learning rule: ``targets`` and ``loss``.

    Args:
        algorithm: the object, a function that makes it, or an `agents.Agent` that holds it.
        skip: names of checks to leave out.
        **options: ``groups=False`` if it must not be given several responses to a prompt.

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(results("algorithm", algorithm, skip=skip, **options))


def check_agent(make: Callable[[Any], Any], *, skip: Collection[str] = (), **options: Any) -> None:
    """Check an agent: anything with ``act(observation)`` and ``update(rollout)``.

    Args:
        make: makes a new agent for a vector environment, ``make(envs)``; a class does.
        skip: names of checks to leave out.
        **options: ``task`` ("toy15"), ``episodes_per_update``.

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(results("agent", make, skip=skip, **options))


def check_trainer_loss(
    loss: TrainerLoss | Callable[..., Any],
    kind: str = "policy_loss",
    *,
    skip: Collection[str] = (),
    **settings: Any,
) -> None:
    """Check a function of plain tensors: a loss, advantages, a KL estimate, of any library.

    Args:
        loss: the function, or one described by `TrainerLoss`.
        kind: what it computes: a key of `rlhf_env.testing.INPUTS`, which are its arguments.
        skip: names of checks to leave out.
        **settings: the other fields of `TrainerLoss`.

    Raises:
        AssertionError: naming each check that failed, what it saw and its source.
    """
    raise_failures(trainer_loss_results(loss, kind, skip=skip, **settings))


def trainer_loss_results(
    loss: TrainerLoss | Callable[..., Any],
    kind: str = "policy_loss",
    *,
    skip: Collection[str] = (),
    **settings: Any,
) -> list[Result]:
    """Return what became of the checks of `check_trainer_loss`, without raising."""
    kind = loss.kind if isinstance(loss, TrainerLoss) else kind
    if kind not in INPUTS:
        raise ValueError(f"kind must be one of {', '.join(INPUTS)}, got {kind!r}")
    return results(kind, loss, skip=skip, **settings)


def _known(kind: str) -> str:
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {kind!r}")
    return kind
