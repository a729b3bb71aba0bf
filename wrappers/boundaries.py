"""Named boundaries for `wrappers.MacroAction`: where a macro action of variable length ends.

All of them end an action *after* a token and depend on the text so far; none looks ahead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Categorical

from rlhf_env.checks import check_number
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from wrappers.macro.boundary import StateBoundary

__all__ = [
    "HighReferenceEntropy",
    "StateBoundary",
    "high_reference_entropy",
    "next_entropies",
    "punctuation",
    "space_led",
]

# A character has at most four bytes, and a token at least one of them.
_TOKENS_PER_CHARACTER = 4


def punctuation(prefix_ids: Tensor, task: Task) -> bool:
    """Return whether the response so far ends with punctuation: an action is a clause.

    Punctuation is any character of Unicode's category P; spaces after it do not matter.

    Args:
        prefix_ids: [t] the response so far.
        task: gives the tokenizer.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import MacroAction, punctuation
        >>> env = MacroAction(gym.make("RLHF-v0", task="reviews"), boundary=punctuation)
        >>> task = env.unwrapped.task
        >>> ids = task.tokenizer("the soup was great .")["input_ids"]
        >>> [punctuation(task.prompts[0].new_tensor(ids[:t]), task) for t in (2, 4, 5)]
        [False, False, True]
    """
    text = task.decode(prefix_ids[-_TOKENS_PER_CHARACTER:]).rstrip()
    return bool(text) and unicodedata.category(text[-1]).startswith("P")


def space_led(prefix_ids: Tensor, task: Task) -> bool:
    """Return whether the last token begins with a space: an action reaches into the next word.

    An action holds the rest of a word and the first piece of the next one, since that piece
    shows that the word is over. Where every token is a word, each is an action of its own.

    Args:
        prefix_ids: [t] the response so far.
        task: gives the tokenizer.

    Example:
        >>> import torch, rlhf_env
        >>> from wrappers import space_led
        >>> space_led(torch.tensor([1, 2]), rlhf_env.load_task("toy15"))
        True
    """
    # Some tokenizers drop a space that begins a text, so the token is decoded after another one.
    once, twice = task.decode(prefix_ids[-1:]), task.decode(prefix_ids[-1:].repeat(2))
    return twice[len(once) :].startswith(" ")


def high_reference_entropy(threshold: float) -> HighReferenceEntropy:
    """Return the boundary that ends an action where the reference is uncertain of the next token.

    An action then begins with an uncertain token, and continues while the reference is certain of
    what follows.

    Args:
        threshold: in nats, >= 0; an action ends where the entropy is at least this.

    Raises:
        ValueError: if the threshold is out of range.

    Example:
        >>> import gymnasium as gym, rlhf_env
        >>> from wrappers import MacroAction, high_reference_entropy
        >>> boundary = high_reference_entropy(0.9)
        >>> env = MacroAction(gym.make("RLHF-v0", task="toy15"), boundary=boundary)
        >>> _ = env.reset(seed=0)
        >>> _, _, terminated, _, _ = env.step([1, 2, 1])
        >>> env.unwrapped.mdp.response(0).tolist(), terminated
        ([1], False)
    """
    check_number("threshold", threshold, minimum=0.0)
    return HighReferenceEntropy(threshold=float(threshold))


@dataclass(frozen=True, kw_only=True)
class HighReferenceEntropy:
    """A boundary where the entropy of the reference's next-token distribution is high.

    The distribution is the one after prompt and response so far, at the temperature of the MDP.
    Stepping reads it from the cached logits that the next step needs anyway, a rollout from one
    teacher-forced pass; the two agree within rounding.
    """

    threshold: float
    """In nats; an action ends where the entropy is at least this."""

    def ends_now(self, mdp: TokenMDP, rows: Sequence[int]) -> list[bool]:
        """Return for some rows whether the reference is uncertain of their next token."""
        logits = mdp.reference.next_logits(mdp.tokens, mdp.lengths)[list(rows)]
        entropies = Categorical(logits=logits / mdp.temperature).entropy()
        return (entropies >= self.threshold).tolist()

    def ends(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
        """Return [B, L] after which actions the reference is uncertain of the next token."""
        entropies = next_entropies(
            mdp.reference, rollout.tokens, rollout.is_action, mdp.temperature
        )
        return rollout.is_action & (entropies >= self.threshold)


@torch.no_grad()
def next_entropies(
    model: LanguageModel, tokens: Tensor, is_queried: Tensor, temperature: float
) -> Tensor:
    """Return the entropy of the next token after some positions of finished texts.

    Args:
        model: gives the distribution.
        tokens: [B, L] int64, padded on the right.
        is_queried: [B, L] bool, the positions.
        temperature: divides the logits.

    Returns:
        [B, L] in nats, float32; 0 elsewhere.
    """
    entropies = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
    for rows, width in length_batches(is_queried):
        texts, queried = tokens[rows, :width], is_queried[rows, :width]
        hidden = model.hidden(texts)[queried]
        _, entropy = model.logprob_and_entropy(hidden, texts[queried], temperature)
        entropies[rows, :width] = torch.zeros_like(queried, dtype=entropy.dtype).masked_scatter(
            queried, entropy
        )
    return entropies
