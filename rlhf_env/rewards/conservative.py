"""A reward that is cautious about responses unlike those that its model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlhf_env.checks import check_number
from rlhf_env.rewards.out_of_distribution import OutOfDistribution
from rlhf_env.rewards.protocol import Reward, as_reward, score, with_rows
from rlhf_env.text.prompt_rows import PromptRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ConservativeReward:
    """A reward that takes off what it cannot know: score − coef · excess distance.

    It cannot score prefixes: an unfinished text lies far from finished ones by its nature.
    """

    def __init__(
        self, reward: Any, out_of_distribution: OutOfDistribution, coef: float = 1.0
    ) -> None:
        """Penalize a reward.

        Args:
            reward: a `Reward`, or a function of texts; it need not be the one whose hidden
                states are measured.
            out_of_distribution: measures how far a response is beyond the training texts.
            coef: what one standard deviation of excess distance costs, in the score's units.

        Raises:
            ValueError: if ``coef`` is negative or not a number.
        """
        check_number("coef", coef, minimum=0.0)
        self.reward = reward
        self.out_of_distribution = out_of_distribution
        self.coef = coef

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the penalized score of each response, [B]."""
        scores = score(self.reward, prompts, responses)
        return scores - self.coef * self.out_of_distribution.excess(prompts, responses)

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Reward:
        """Return the penalized reward for ids of ``tokenizer``."""
        return self._with(as_reward(self.reward, tokenizer))

    def with_rows(self, rows: PromptRows) -> Reward:
        """Return the penalized reward for prompts of ``rows``."""
        return self._with(with_rows(self.reward, rows))

    def _with(self, reward: Reward) -> Reward:
        same = reward is self.reward
        return self if same else type(self)(reward, self.out_of_distribution, self.coef)
