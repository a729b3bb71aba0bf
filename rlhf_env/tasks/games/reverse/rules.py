"""The rules of reverse: copy, reverse or sort letters, and pass over noise.

A prompt is letters with noise between them and a command, as in ``c ~ a b sort``. In a response
noise counts for nothing: its letters in order are compared with those asked for. Each that is right
earns one share of the score, so it is known which tokens the score comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rlhf_env.tasks.games.words import EOS, Words

COMMANDS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "copy": list,
    "reverse": lambda letters: list(letters)[::-1],
    "sort": sorted,
}
LETTERS = ("a", "b", "c", "d", "e", "f", "g", "h")
NOISE = ("~", "%", "#", "&")
# The first eight are the vocabulary of the small version.
WORDS = Words((EOS, *COMMANDS, *LETTERS[:3], NOISE[0], *LETTERS[3:], *NOISE[1:]))
SMALL_WORDS = WORDS.words[:8]


def asked_for(prompt: Sequence[str]) -> list[str]:
    """Return the letters that a prompt asks for.

    Raises:
        ValueError: if its last word is no command.
    """
    *given, command = prompt
    if command not in COMMANDS:
        raise ValueError(f"a prompt of reverse must end with {list(COMMANDS)}, got {command!r}")
    return COMMANDS[command]([word for word in given if word in LETTERS])


def earning(asked: Sequence[str], said: Sequence[str]) -> list[bool]:
    """Return of each word of a response whether it is a letter in its right place.

    Args:
        asked: k letters.
        said: the words of a response; letters after the k-th count for nothing.
    """
    found, place = [], 0
    for word in said:
        is_letter = word in LETTERS
        found.append(is_letter and place < len(asked) and word == asked[place])
        place += is_letter
    return found


def causal_tokens(prompt: Tensor, response: Tensor) -> Tensor:
    """Return True at the tokens that a response's score comes from, [L] bool.

    Args:
        prompt: [P] ids.
        response: [L] ids.
    """
    asked = asked_for(WORDS.decode(prompt))
    return torch.tensor(earning(asked, WORDS.decode(response)), dtype=torch.bool)


class RightLetters:
    """The share of the letters asked for that are in their places, in [0, 1]."""

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the scores, [B] float64."""
        scores = self.prefix_scores(prompts, responses)
        return torch.stack([row[-1] for row in scores]) if scores else torch.zeros(0).double()

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score of every prefix, [len + 1] float64 per response; index 0 is ()."""
        rows = zip(prompts, responses, strict=True)
        return [_earned(prompt, response) for prompt, response in rows]

    def causal_tokens(self, prompt: Tensor, response: Tensor) -> Tensor:
        """Return True at the tokens that a response's score comes from, [L] bool."""
        return causal_tokens(prompt, response)


def _earned(prompt: Tensor, response: Tensor) -> Tensor:
    shares = causal_tokens(prompt, response).double() / len(asked_for(WORDS.decode(prompt)))
    return torch.cat([shares.new_zeros(1), shares.cumsum(0)])
