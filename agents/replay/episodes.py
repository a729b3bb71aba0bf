"""Recorded episodes as the rows of a buffer: offline data, whoever made them.

What a record gives is prompts, responses and, where it has them, the log-probabilities of the
policy that sampled. Everything else is what an agent's environment makes of these: reference,
rewards, the KL with today's beta, decisions and what wrappers add. So data of one reward density
and granularity serve an agent of another.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.rollouts.collect import base_environment, rollout_transforms, with_wrappers
from agents.rollouts.sampling_plan import SamplingPlan
from agents.rollouts.unpaid import unpaid_texts
from rlhf_env.checks import check_choice, check_count
from rlhf_env.episodes import Episode
from rlhf_env.mdp.transition import ends_text, paid_score
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv

SCORES = ("task", "recorded")
"""Whose scores episodes are paid by: the task's reward model's, or those of the record."""

# Scores that differ by less are the same but for rounding.
_SAME_SCORE = 1e-3


def rollout_of_episodes(
    episodes: Sequence[Episode],
    envs: VectorEnv[Any, Any, Any],
    group_size: int = 1,
    scores: str = "task",
    temperature: float | None = None,
    *,
    source: str = "the data",
) -> Rollout:
    """Return recorded episodes with everything that an environment pays for them.

    Args:
        episodes: at least one.
        envs: the agent's vector environment; its wrappers must be able to transform a rollout.
        group_size: episodes of one prompt that form a group, in their order; those that are left
            over are left out, with a warning.
        scores: of `SCORES`; where the recorded ones are not taken and differ, a warning says so.
        temperature: divides the reference's logits; the agent's. The environment's when None.
        source: where they come from, for messages.

    Returns:
        Rows whose ``logprobs`` are NaN where an episode has none.

    Raises:
        ValueError: if an episode is not one of this environment, there are none, or no group is
            complete.
    """
    check_count("group_size", group_size)
    check_choice("scores", scores, SCORES)
    if scores == "recorded" and any(math.isnan(episode.score) for episode in episodes):
        raise ValueError(
            f'scores="recorded" needs a score of every episode, got {source} with some that have '
            "none; leave scores out, or record infos too"
        )
    base, transforms = base_environment(envs), rollout_transforms(envs)
    if transforms is None:
        raise ValueError(
            "every wrapper must be able to transform finished episodes, got one without a "
            "rollout() method; leave it out, or give it one"
        )
    for number, episode in enumerate(episodes, start=1):
        _check(episode, base, f"episode {number} of {source}")
    chosen, group = _grouped(episodes, group_size, source)
    unpaid = _unpaid(chosen, group, base)
    with base.overridden(temperature=temperature):
        paid = base.evaluate(unpaid)
        told = torch.tensor([episode.score for episode in chosen], device=paid.score.device)
        if scores == "recorded":
            paid = _paid_by(paid, told, base)
        else:
            _warn_of_other_scores(paid, told, source)
        return with_wrappers(transforms, paid)


def _check(episode: Episode, base: RLHFVectorEnv, name: str) -> None:
    """Raise ValueError unless an environment could have made an episode."""
    task, mdp = base.task, base.mdp
    prompt, response = list(episode.prompt_ids), list(episode.response_ids)
    own = [True] * len(response) if episode.is_action is None else list(episode.is_action)
    if not 1 <= len(prompt) <= task.max_prompt_tokens:
        raise ValueError(
            f"{name} must have a prompt of 1 to {task.max_prompt_tokens} tokens, got "
            f"{len(prompt)}; take the task that it was recorded in"
        )
    outside = [i for i in (*prompt, *response) if not 0 <= i < task.vocab_size]
    if outside:
        raise ValueError(
            f"{name} must have ids of the task's vocabulary [0, {task.vocab_size}), got "
            f"{outside[0]}; take the task that it was recorded in"
        )
    if len(own) != len(response) or not any(own):
        raise ValueError(
            f"{name} must have at least one token that the agent chose, and is_action for each, "
            f"got {len(response)} tokens and {len(own)} entries of is_action"
        )
    _check_end(response, own, base, name)
    told = episode.logprobs
    if told is None:
        if mdp.options.includes_policy_logprob:
            raise ValueError(
                f"{name} has no log-probabilities, which the environment's KL is paid by; make "
                'the environment with kl_penalty="reference"'
            )
        return
    if len(told) != sum(own) or not all(-math.inf < number <= 1e-4 for number in told):
        raise ValueError(
            f"{name} must have a log-probability for each of its {sum(own)} actions, finite and "
            "at most 0; record them anew, or set them to null"
        )


def _check_end(response: list[int], own: list[bool], base: RLHFVectorEnv, name: str) -> None:
    task, most = base.task, base.mdp.max_new_tokens
    ends = ends_text(torch.tensor(response), task).tolist()
    is_conversation = task.respond is not None
    if not all(own) and not is_conversation:
        raise ValueError(f"{name} is of a conversation, got a task of single turns; take its own")
    room = base.mdp.max_tokens - task.max_prompt_tokens
    if sum(own) > most or len(response) > room:
        raise ValueError(
            f"{name} has {len(response)} tokens, expected at most {most}; raise max_new_tokens"
        )
    if any(ends[:-1]) and not is_conversation:
        raise ValueError(f"{name} goes on after its end-of-sequence token; cut it there")
    if not ends[-1] and sum(own) < most:
        raise ValueError(
            f"{name} stops after {sum(own)} tokens without an end, expected one, or "
            f"{most} tokens; leave it out, or set max_new_tokens to what it was recorded with"
        )


def _grouped(
    episodes: Sequence[Episode], group_size: int, source: str
) -> tuple[list[Episode], Tensor]:
    """Return the episodes of complete groups, group by group, and the number of each one's."""
    found: list[list[Episode]] = []
    open_groups: dict[tuple[int, ...], list[Episode]] = defaultdict(list)
    for episode in episodes:
        group = open_groups[tuple(episode.prompt_ids)]
        if not group:
            found.append(group)
        group.append(episode)
        if len(group) == group_size:
            del open_groups[tuple(episode.prompt_ids)]
    chosen = [episode for group in found if len(group) == group_size for episode in group]
    if not chosen:
        raise ValueError(
            f"{source} must hold at least one group of {group_size} episodes of one prompt, got "
            f"{len(episodes)} episodes without; lower group_size"
        )
    if len(chosen) < len(episodes):
        warnings.warn(
            f"{len(episodes) - len(chosen)} of {len(episodes)} episodes of {source} are left out: "
            f"there are not {group_size} of their prompt",
            stacklevel=5,
        )
    return chosen, torch.arange(len(chosen)) // group_size


def _unpaid(episodes: Sequence[Episode], group: Tensor, base: RLHFVectorEnv) -> Rollout:
    task = base.task
    shape = len(episodes), base.mdp.max_tokens
    tokens = torch.full(shape, task.pad_id, dtype=torch.int64)
    is_action, logprobs = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    for row, episode in enumerate(episodes):
        ids = torch.tensor([*episode.prompt_ids, *episode.response_ids])
        tokens[row, : len(ids)] = ids
        own = True if episode.is_action is None else torch.tensor(list(episode.is_action))
        is_action[row, len(episode.prompt_ids) : len(ids)] = own
        told = math.nan if episode.logprobs is None else torch.tensor(list(episode.logprobs))
        logprobs[row, is_action[row]] = told
    index = torch.tensor([_prompt_index(episode, task) for episode in episodes])
    plan = SamplingPlan(prompts=[], prompt_index=index, group=group, uniforms=None)
    device = base.mdp.device
    return unpaid_texts(tokens.to(device), is_action.to(device), logprobs.to(device), plan)


def _prompt_index(episode: Episode, task: Task) -> int:
    """Return the number of the prompt in the task; -1 if it is none of its prompts."""
    number = episode.prompt_index
    if 0 <= number < len(task.prompts):
        return number if task.prompts[number].tolist() == list(episode.prompt_ids) else -1
    return -1


def _paid_by(paid: Rollout, scores: Tensor, base: RLHFVectorEnv) -> Rollout:
    """Return paid episodes with other scores [B] in place of the reward model's."""
    is_finished = ends_text(paid.tokens[paid.last_action], base.task)
    term = paid.last_action * paid_score(scores, is_finished, base.mdp.options)[:, None]
    return paid.with_term("score", term).replace(score=torch.where(paid.terminated, scores, 0.0))


def _warn_of_other_scores(paid: Rollout, recorded: Tensor, source: str) -> None:
    gap = (paid.score - recorded).abs().masked_fill(~paid.terminated, 0.0)
    others = int((gap > _SAME_SCORE * (1 + recorded.abs())).sum())
    if others:
        warnings.warn(
            f"{others} of {len(gap)} episodes of {source} were recorded with another score than "
            f"the task's, which they are paid by, by up to {float(gap.max()):g}; "
            'scores="recorded" keeps theirs',
            stacklevel=5,
        )
