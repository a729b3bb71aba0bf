"""What an update learns from: fresh episodes and old ones, or old ones alone."""

from __future__ import annotations

from typing import Any

import torch

from agents.config import AgentConfig
from agents.replay.buffer import Replay
from agents.replay.rows import on_device, present_beta
from rlhf_env.rollout import Rollout, join


def old_episodes(
    replay: Replay, count: int, update: int, config: AgentConfig, kl_coef: float, again: int = 0
) -> tuple[Rollout | None, float]:
    """Return some old episodes, paid with the present beta, and their mean age in updates.

    Args:
        replay: what they are drawn from.
        count: how many, at most.
        update: how many updates there were before.
        config: of the agent, which draws whole groups where it compares responses to a prompt.
        kl_coef: beta.
        again: number of the draw, where an update makes several.
    """
    drawn = replay.draw(count, update, seed=config.seed, groups=config.group_size > 1, again=again)
    if drawn is None:
        return None, 0.0
    return present_beta(drawn.rollout, kl_coef), float(drawn.ages.double().mean())


def offline_rollout(
    replay: Replay, config: AgentConfig, update: int, draw: int, kl_coef: float, device: Any
) -> Rollout:
    """Return the rollout of an update that learns from old episodes alone.

    Raises:
        ValueError: if the buffer holds too few episodes.
    """
    count = config.episodes_per_update
    old, _ = old_episodes(replay, count, update, config, kl_coef, draw)
    if old is None or len(old) < count:
        raise ValueError(
            f"replay must hold the {count} episodes of an update, got {len(replay)}; fill it by "
            "Replay.from_episodes, or lower episodes_per_update"
        )
    return on_device(old, device)


def with_old(
    replay: Replay, fresh: Rollout, config: AgentConfig, update: int, kl_coef: float, pad_id: int
) -> tuple[Rollout, dict[str, float]]:
    """Return fresh episodes with old ones after them, and keep the fresh ones.

    Args:
        replay: an offline one adds nothing and keeps nothing.
        fresh: B episodes, all with their beta.
        config: of the agent.
        update: how many updates there were before.
        kl_coef: beta that the old ones are paid with.
        pad_id: fills up the shorter ones.

    Returns:
        The rows of the update; and ``replay_size``, the episodes stored, ``replay_fraction``, the
        share of the update's episodes that are old, and ``replay_age_mean``, their mean age in
        updates, which no offline update has.
    """
    if replay.is_offline:
        return fresh, {"replay_size": float(len(replay)), "replay_fraction": 1.0}
    count = round(replay.ratio * len(fresh))
    old, age = old_episodes(replay, count, update, config, kl_coef)
    replay.add(fresh, update, pad_id)
    figures = {"replay_size": float(len(replay)), "replay_fraction": 0.0, "replay_age_mean": age}
    if old is None:
        return fresh, figures
    rows = join([fresh, on_device(old, fresh.tokens.device)], pad_id)
    return rows, figures | {"replay_fraction": len(old) / len(rows)}


def check_replay_of(agent: Any, replay: Any, rule: Any) -> None:
    """Refuse a buffer that an agent cannot learn from.

    Args:
        agent: with its settings.
        replay: what was given; None is always right.
        rule: its learning rule.

    Raises:
        ValueError: if it is no buffer, the agent takes all episodes for its policy's own, a number
            does not fit, or the episodes stored lack what the agent needs.
    """
    if replay is None:
        return
    if not isinstance(replay, Replay):
        raise ValueError(
            f"replay must be an agents.Replay, got {type(replay).__name__}; make one, as in "
            "Replay(capacity=2048, ratio=1)"
        )
    name, config = type(agent).__name__, agent.config
    if not (config.learns_off_policy or getattr(rule, "learns_off_policy", False)):
        fix = (
            'set importance="sequence" or "token", or leave replay out'
            if hasattr(config, "importance")
            else "leave replay out"
        )
        raise ValueError(
            f"{name} takes every episode for its policy's own, got replay=, whose episodes are of "
            f"earlier policies; {fix}"
        )
    _check_numbers(replay, config)
    _check_stored(replay, config, name)


def _check_numbers(replay: Replay, config: AgentConfig) -> None:
    size, fresh = config.group_size, config.episodes_per_update
    if replay.capacity < size:
        raise ValueError(
            f"capacity must hold at least one group of {size}, got {replay.capacity}; raise it"
        )
    if replay.is_offline:
        if config.kl_target is not None:
            raise ValueError(
                f"kl_target is reached by the KL of fresh episodes, got {config.kl_target} with "
                "an offline replay; set kl_coef"
            )
    elif replay.ratio * fresh < size:
        raise ValueError(
            f"ratio must give at least one group of {size} old episodes for {fresh} fresh ones, "
            f"got {replay.ratio:g}; raise it to {size / fresh:g} or more"
        )


def _check_stored(replay: Replay, config: AgentConfig, name: str) -> None:
    stored = replay.episodes
    if stored is None:
        return
    unknown = int(stored.logprobs.isnan().any(dim=1).sum())
    if config.corrects_sampler and unknown:
        raise ValueError(
            f"importance={getattr(config, 'importance', None)!r} needs the log-probabilities of "
            f"the policy that sampled, which {unknown} of the replay's {len(stored)} episodes "
            "lack; record them, or take an off-policy agent"
        )
    sizes = stored.group.unique(return_counts=True)[1]
    if config.group_size > 1 and not torch.all(sizes == config.group_size):
        odd = int(sizes[sizes != config.group_size][0])
        raise ValueError(
            f"{name} compares within groups of {config.group_size}, got a replay with a group of "
            f"{odd}; make it with Replay.from_episodes(..., group_size={config.group_size})"
        )
