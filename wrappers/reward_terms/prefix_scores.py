"""Scores of unfinished responses: which function computes them, and the check of its answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlhf_env.rewards.protocol import PrefixReward, Reward, reward_name
from wrappers.reward_terms.reward_term import Responses

PrefixScorer = Callable[[list[Tensor], list[Tensor]], list[Tensor]]
StateScorer = Callable[[Responses], list[Tensor]]
"""``f(responses) -> B vectors [actions + 1]``, float64 on the CPU: the score of the state in which
each token was chosen, and of the end."""


def prefix_scorer(reward: Reward, wrapper: str) -> PrefixScorer:
    """Return a reward's ``prefix_scores``.

    Args:
        reward: the reward of a task.
        wrapper: the name of the wrapper that needs it, for the error.

    Raises:
        ValueError: if the reward has no such method.
    """
    if not isinstance(reward, PrefixReward):
        raise ValueError(
            f"{wrapper} needs a reward that can score prefixes, got {reward_name(reward)}; give it "
            "a method prefix_scores(prompts, responses), or use TerminalReward"
        )
    return reward.prefix_scores


def prefix_state_scores(score_prefixes: PrefixScorer, given: Responses) -> list[Tensor]:
    """Return the scores of all that was said where each token was chosen, and at the end.

    Args:
        score_prefixes: scores all prefixes of B responses.
        given: B responses.

    Returns:
        B vectors [actions + 1] float64 on the CPU.

    Raises:
        ValueError: if there are too few or too many scores, or one is not finite.
    """
    scores = checked_prefix_scores(score_prefixes, given.prompts, given.responses)
    pairs = zip(scores, given.is_action, strict=True)
    return [row[_states(is_action.cpu())] for row, is_action in pairs]


def _states(is_action: Tensor) -> Tensor:
    """Return how much was said where each token was chosen, and at the end, [actions + 1].

    Args:
        is_action: [H] bool, the tokens that the agent chose of all that was said.
    """
    chosen_at = is_action.nonzero().flatten()
    return torch.cat([chosen_at, chosen_at.new_tensor([len(is_action)])])


def checked_prefix_scores(
    score_prefixes: PrefixScorer, prompts: list[Tensor], responses: list[Tensor]
) -> list[Tensor]:
    """Return for each response the finite scores of its prefixes, [len + 1] float64 on the CPU.

    The scorer gets copies, so that it may write into its arguments.

    Raises:
        ValueError: if there are too few or too many scores, or one is not finite.
    """
    answer = score_prefixes([ids.clone() for ids in prompts], [ids.clone() for ids in responses])
    if len(answer) != len(responses):
        raise ValueError(
            f"prefix_scores must return {len(responses)} vectors, one per response, "
            f"got {len(answer)}"
        )
    scores = [torch.as_tensor(row).detach().to("cpu", torch.float64) for row in answer]
    for index, (row, ids) in enumerate(zip(scores, responses, strict=True)):
        if row.shape != (len(ids) + 1,) or not row.isfinite().all():
            raise ValueError(
                f"prefix_scores must return {len(ids) + 1} finite numbers for response {index} of "
                f"{len(ids)} tokens, got {row.flatten().tolist()[:8]} of shape {list(row.shape)}"
            )
    return scores
