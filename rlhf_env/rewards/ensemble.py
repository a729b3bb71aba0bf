"""Several rewards as one: their mean, their minimum, or their mean minus their disagreement.

Rules and their use against over-optimization: Coste et al., arXiv:2310.02743.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlhf_env.checks import check_choice, check_number
from rlhf_env.defaults import ENSEMBLE_RULES
from rlhf_env.rewards.protocol import (
    NeedsTokenizer,
    PrefixReward,
    Reward,
    as_reward,
    reward_name,
    score,
    takes_texts,
    with_rows,
)
from rlhf_env.text.prompt_rows import PromptRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Ensemble:
    """A reward made of others, each with its own tokenizer if it has one.

    It can score prefixes if all of its members can::

        task = Task(reward=Ensemble([first, second, third], rule="worst"), ...)
        spread = task.reward.disagreement(prompts, responses)
    """

    def __init__(self, members: Sequence[Any], rule: str = "mean", coef: float = 0.5) -> None:
        """Combine rewards.

        Args:
            members: rewards, or functions of texts.
            rule: "mean"; "worst", the least score; or "uncertainty", the mean less ``coef`` times
                the variance over the members (the population's: divided by their number).
            coef: the weight of the variance.

        Raises:
            ValueError: if there is no member, or a setting is out of its range.
        """
        if not members:
            raise ValueError("members must hold at least one reward, got none")
        check_choice("rule", rule, ENSEMBLE_RULES)
        check_number("coef", coef, minimum=0.0)
        self.members = tuple(members)
        self.rule = rule
        self.coef = coef
        if all(isinstance(member, PrefixReward) for member in self.members):
            # An attribute only where it works: wrappers ask for it before the first episode.
            self.prefix_scores = self._prefix_scores

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the combined score of each response, [B]."""
        return self._combined(self.member_scores(prompts, responses))

    def disagreement(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the population standard deviation over the members, [B]; 0 for a single one."""
        return self.member_scores(prompts, responses).std(dim=0, correction=0)

    def member_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return each member's scores, [M, B] float64.

        Raises:
            ValueError: if a member answers with the wrong number of scores or a non-finite one,
                naming it.
        """
        self._check_bound()
        named = zip(self.members, self._names(), strict=True)
        return torch.stack([score(one, prompts, responses, name).double() for one, name in named])

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Reward:
        """Return the ensemble of the members for ids of ``tokenizer``."""
        return self._with([as_reward(member, tokenizer) for member in self.members])

    def with_rows(self, rows: PromptRows) -> Reward:
        """Return the ensemble of the members for prompts of ``rows``."""
        return self._with([with_rows(member, rows) for member in self.members])

    def _with(self, members: Sequence[Any]) -> Reward:
        is_bound = all(new is old for new, old in zip(members, self.members, strict=True))
        return self if is_bound else type(self)(members, self.rule, self.coef)

    def _combined(self, scores: Tensor) -> Tensor:
        """Return the scores [M, ...] under the rule, [...]."""
        if self.rule == "worst":
            return scores.amin(dim=0)
        mean = scores.mean(dim=0)
        if self.rule == "uncertainty":
            return mean - self.coef * scores.var(dim=0, correction=0)
        return mean

    def _prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the combined score of every prefix, [len + 1] per response."""
        answers = [
            _checked(
                member.prefix_scores(
                    [ids.clone() for ids in prompts], [ids.clone() for ids in responses]
                ),
                responses,
                name,
            )
            for member, name in zip(self.members, self._names(), strict=True)
        ]
        return [self._combined(torch.stack(rows)) for rows in zip(*answers, strict=True)]

    def _names(self) -> list[str]:
        return [f"{reward_name(one)} (member {i})" for i, one in enumerate(self.members)]

    def _check_bound(self) -> None:
        for member, name in zip(self.members, self._names(), strict=True):
            if not isinstance(member, NeedsTokenizer) and takes_texts(member):
                raise ValueError(
                    f"{name} of the ensemble reads texts and knows no tokenizer; hand the ensemble "
                    "to a Task, or call its with_tokenizer(tokenizer)"
                )


def _checked(answer: Sequence[Any], responses: list[Tensor], name: str) -> list[Tensor]:
    """Return a member's prefix scores, [len + 1] float64 per response; raise if invalid."""
    rows = [torch.as_tensor(row).detach().to("cpu", torch.float64) for row in answer]
    wanted = [len(ids) + 1 for ids in responses]
    if [row.shape for row in rows] != [(length,) for length in wanted]:
        raise ValueError(
            f"prefix_scores of reward {name} must return vectors of {wanted[:8]} numbers, "
            f"got shapes {[list(row.shape) for row in rows[:8]]}"
        )
    for index, row in enumerate(rows):
        if not row.isfinite().all():
            raise ValueError(
                f"prefix_scores of reward {name} must return finite numbers, "
                f"got {row.tolist()[:8]} for response {index} of the batch"
            )
    return rows
