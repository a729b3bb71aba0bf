"""A base class for wrappers around a reward's calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from rlhf_env.rewards.protocol import PrefixReward, Reward, as_reward, reward_name, with_rows
from rlhf_env.text.prompt_rows import PromptRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class WrappedReward(ABC):
    """Forwards calls to a reward; it can score prefixes if the reward can.

    Attributes:
        reward: a `Reward`, or a function of texts until a `Task` tells the tokenizer.
    """

    def __init__(self, reward: Any) -> None:
        """Wrap a reward, or a function of texts."""
        self.reward = reward
        # Messages about a reward name it by this.
        self.__name__ = reward_name(reward)
        if isinstance(reward, PrefixReward):
            self.prefix_scores = self._prefix_scores

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the reward's scores, [B]."""
        return self._call(self.reward, prompts, responses)

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Reward:
        """Return this around the reward for ids of ``tokenizer``."""
        return self._with(as_reward(self.reward, tokenizer))

    def with_rows(self, rows: PromptRows) -> Reward:
        """Return this around the reward for prompts of ``rows``."""
        return self._with(with_rows(self.reward, rows))

    def _with(self, reward: Reward) -> Reward:
        return self if reward is self.reward else self._around(reward)

    def _prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        return self._call(self.reward.prefix_scores, prompts, responses)

    @abstractmethod
    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return ``function(*arguments)``, with the wrapper's extra steps around it."""

    @abstractmethod
    def _around(self, reward: Reward) -> Self:
        """Return a wrapper with the same settings around another reward."""
