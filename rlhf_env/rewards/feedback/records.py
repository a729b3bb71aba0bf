"""Human feedback on responses: one frozen record for each kind of question.

Collections of them and their split are in `rlhf_env.rewards.feedback.data`, reading files in
`rlhf_env.rewards.feedback.files`. This module knows neither tokens nor models.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TypeAlias

from rlhf_env.rewards.feedback.prompt_and_response import (
    Prompt,
    check_finite,
    check_prompt,
    check_response,
    check_several,
    is_finite,
)

# The kinds of feedback; a file holds records of one kind.
KINDS = ("comparisons", "rankings", "ratings", "thumbs", "spans")


@dataclass(frozen=True, kw_only=True)
class Votes:
    """The votes for each side of a pair: counts, shares or weights."""

    chosen: float = 1.0
    """For the first side."""
    tie: float = 0.0
    """For neither."""
    rejected: float = 0.0
    """For the other side."""

    def __post_init__(self) -> None:
        """Refuse votes that are negative, not numbers, or all zero."""
        for count in (self.chosen, self.tie, self.rejected):
            if not is_finite(count) or count < 0:
                raise ValueError(f"votes must be finite numbers >= 0, got {count!r:.60}")
        if self.total == 0:
            raise ValueError("votes must hold at least one vote, got none")

    @property
    def total(self) -> float:
        """All votes together."""
        return self.chosen + self.tie + self.rejected


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two responses to one prompt, and the votes for each."""

    prompt: Prompt
    """The prompt."""
    chosen: str
    """The first response: the preferred one, unless the votes show otherwise."""
    rejected: str
    """The other response."""
    votes: Votes = field(default_factory=Votes)
    """One vote for ``chosen`` by default; a tie is ``Votes(chosen=0, tie=1)``."""
    margin: float = 0.0
    """By how much the preferred should win, in units of the score."""

    def __post_init__(self) -> None:
        """Refuse a response or a margin that cannot be used."""
        check_prompt(self.prompt)
        check_response("chosen", self.chosen)
        check_response("rejected", self.rejected)
        check_finite("margin", self.margin)

    @property
    def pairs(self) -> tuple[Comparison, ...]:
        """The pairs of the record: itself."""
        return (self,)

    @property
    def responses(self) -> tuple[str, ...]:
        """Both responses."""
        return (self.chosen, self.rejected)

    @property
    def is_identical(self) -> bool:
        """Whether both responses are the same text: such a pair teaches nothing."""
        return self.chosen == self.rejected

    @property
    def is_decided(self) -> bool:
        """Whether one side has more votes than the other."""
        return self.votes.chosen != self.votes.rejected


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Several responses to one prompt in order of preference."""

    prompt: Prompt
    """The prompt."""
    responses: tuple[str, ...]
    """K >= 2 responses."""
    ranks: tuple[float, ...]
    """[K] one per response; 1 is the best, equal ranks are ties, gaps do not matter."""

    def __post_init__(self) -> None:
        """Refuse fewer than two responses, and ranks that are missing or not numbers."""
        check_prompt(self.prompt)
        check_several(self.responses)
        if len(self.ranks) != len(self.responses):
            raise ValueError(
                f"ranking must hold one rank per response, got {len(self.ranks)} ranks for "
                f"{len(self.responses)} responses"
            )
        for rank in self.ranks:
            check_finite("ranking", rank)

    @property
    def pairs(self) -> tuple[Comparison, ...]:
        """All K(K−1)/2 pairs, the better response first; equal ranks give a tie."""
        return tuple(
            Comparison(
                prompt=self.prompt,
                chosen=self.responses[first],
                rejected=self.responses[second],
                votes=Votes(chosen=0.0, tie=1.0)
                if self.ranks[first] == self.ranks[second]
                else Votes(),
            )
            for first, second in itertools.combinations(self._order(), 2)
        )

    def _order(self) -> list[int]:
        return sorted(range(len(self.ranks)), key=lambda index: self.ranks[index])


@dataclass(frozen=True, kw_only=True)
class ComparedResponses:
    """Several responses to one prompt, of which some pairs were compared, in whatever order."""

    prompt: Prompt
    """The prompt."""
    responses: tuple[str, ...]
    """K >= 2 responses."""
    pairs: tuple[Comparison, ...]
    """At least one comparison of two of the responses, with the same prompt."""

    def __post_init__(self) -> None:
        """Refuse no comparisons at all, and ones of other responses."""
        check_prompt(self.prompt)
        check_several(self.responses)
        if not self.pairs:
            raise ValueError("preferences must hold at least one comparison, got none")
        if any(pair.prompt != self.prompt for pair in self.pairs):
            raise ValueError("preferences must be about one prompt, got another's")
        if any(not set(pair.responses) <= set(self.responses) for pair in self.pairs):
            raise ValueError("preferences must compare the row's responses, got another text")


@dataclass(frozen=True, kw_only=True)
class Rating:
    """A response to a prompt, and the number that people gave it."""

    prompt: Prompt
    """The prompt; empty where texts were rated without one."""
    response: str
    """The rated response."""
    rating: float
    """Higher is better."""

    def __post_init__(self) -> None:
        """Refuse a response or a rating that cannot be used."""
        check_prompt(self.prompt)
        check_response("response", self.response)
        check_finite("rating", self.rating)

    @property
    def responses(self) -> tuple[str, ...]:
        """The one response."""
        return (self.response,)


@dataclass(frozen=True, kw_only=True)
class Thumb:
    """A response to a prompt, and whether an annotator approved of it."""

    prompt: Prompt
    """The prompt."""
    response: str
    """The judged response."""
    is_good: bool
    """True for a thumb up."""

    def __post_init__(self) -> None:
        """Refuse a response that cannot be used."""
        check_prompt(self.prompt)
        check_response("response", self.response)

    @property
    def responses(self) -> tuple[str, ...]:
        """The one response."""
        return (self.response,)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters of a response that an annotator marked as wrong."""

    start: int
    """The first of them."""
    end: int
    """One past the last."""
    type: str = "error"
    """What is wrong."""


@dataclass(frozen=True, kw_only=True)
class MarkedResponse:
    """A response to a prompt, and what in it is wrong; the rest was found to be fine."""

    prompt: Prompt
    """The prompt."""
    response: str
    """The judged response."""
    spans: tuple[Span, ...]
    """The marked parts; none if all of it is fine."""

    def __post_init__(self) -> None:
        """Refuse a response that cannot be used, and spans outside of it."""
        check_prompt(self.prompt)
        check_response("response", self.response)
        for span in self.spans:
            if not 0 <= span.start < span.end <= len(self.response):
                raise ValueError(
                    f"spans must lie in the response of {len(self.response)} characters with "
                    f"start < end, got {span.start} to {span.end}"
                )

    @property
    def responses(self) -> tuple[str, ...]:
        """The one response."""
        return (self.response,)


PairRecord: TypeAlias = Comparison | Ranking | ComparedResponses
Record: TypeAlias = PairRecord | Rating | Thumb | MarkedResponse
