"""The space of texts of so many tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium import spaces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenText(spaces.Text):
    """Texts of up to ``max_tokens`` tokens.

    The character set holds what single tokens decode to. A text of other characters, which a
    vocabulary of bytes spells with several tokens each, belongs to the space too. Samples are
    decoded tokens drawn at random, none of which ends a turn.
    """

    def __init__(
        self, max_tokens: int, tokenizer: PreTrainedTokenizerBase, turn_end_id: int
    ) -> None:
        """Make the space.

        Args:
            max_tokens: the most tokens of a text.
            tokenizer: whose tokens.
            turn_end_id: the token that samples are without.
        """
        self.max_tokens = max_tokens
        ids = [[token] for token in range(len(tokenizer))]
        pieces = tokenizer.batch_decode(ids, skip_special_tokens=True)
        self._end = pieces[turn_end_id]
        self._pieces = [
            token
            for token, piece in enumerate(pieces)
            if piece and not (self._end and self._end in piece)
        ]
        self._tokenizer = tokenizer
        # A tokenizer of words puts a space between two of them.
        longest = max(map(len, pieces)) + 1
        characters = frozenset("".join(pieces)) | {" "}
        super().__init__(max_tokens * longest, min_length=0, charset=characters)

    def contains(self, x: Any) -> bool:
        """Return whether something is a text that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a text of random tokens; with a mask or probabilities, of random characters."""
        if mask is not None or probability is not None:
            return super().sample(mask, probability)
        count = int(self.np_random.integers(self.max_tokens))
        if not self._pieces:
            return ""
        ids = self.np_random.choice(self._pieces, size=count).tolist()
        text = str(self._tokenizer.decode(ids, skip_special_tokens=True))
        return text.partition(self._end)[0] if self._end else text

    def __repr__(self) -> str:
        """Return the longest text's length; the characters may be thousands."""
        return f"{type(self).__name__}({self.max_tokens} tokens, {self.max_length} characters)"
