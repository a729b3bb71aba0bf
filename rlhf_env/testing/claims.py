"""What a check is: a claim with its source, that a thing keeps or does not.

A check is a function of the thing that is checked. It raises AssertionError with what it saw,
`NotApplicable` where the claim says nothing about this thing, and returns what it saw otherwise.
"""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CheckFunction = Callable[[Any], str | None]
Status = Literal["pass", "fail", "skip"]


class NotApplicable(unittest.SkipTest):
    """The claim says nothing about this thing; pytest and unittest count it as skipped."""


class ConformanceError(AssertionError):
    """One or more checks failed; the message names each and what it saw."""


@dataclass(frozen=True)
class Result:
    """What became of one check."""

    check: Check
    status: Status
    seen: str


@dataclass(frozen=True)
class Check:
    """One claim, callable with the thing that it is about."""

    kind: str
    """What it is about: "task", "reward", ..."""
    name: str
    claim: str
    """One sentence that holds for a thing without this fault."""
    source: str
    """The public issue or paper that shows the fault, or defines the right answer."""
    function: CheckFunction = field(repr=False)

    def __call__(self, subject: Any) -> None:
        """Raise ConformanceError unless the claim holds.

        Raises:
            NotApplicable: if the claim says nothing about this thing.
        """
        result = self.run(subject)
        if result.status == "skip":
            raise NotApplicable(result.seen)
        if result.status == "fail":
            raise ConformanceError(_sentence(result))

    def run(self, subject: Any) -> Result:
        """Return what became of the check; warnings of the thing are not shown."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seen = self.function(subject)
        except NotApplicable as reason:
            return Result(self, "skip", str(reason))
        except AssertionError as fault:
            return Result(self, "fail", str(fault) or "an assertion without words failed")
        except Exception as error:
            return Result(self, "fail", f"raised {type(error).__name__}: {error}")
        return Result(self, "pass", seen or "as claimed")

    def __str__(self) -> str:
        """Return the name, by which pytest tells parametrized checks apart."""
        return self.name


class CheckList(Sequence[Check]):
    """The checks of one kind, in the order in which they are written.

    A check is added by::

        @CHECKS.add("owner/repository#1")
        def name_of_the_check(subject):
            \"\"\"The claim.\"\"\"
            expect(subject.is_right, "got ...")
    """

    def __init__(self, kind: str) -> None:
        """Begin an empty list."""
        self.kind = kind
        self._checks: list[Check] = []

    def add(self, source: str) -> Callable[[CheckFunction], CheckFunction]:
        """Return the decorator that adds a check with its source; its docstring is the claim."""

        def added(function: CheckFunction) -> CheckFunction:
            claim = " ".join((function.__doc__ or "").split())
            self._checks.append(Check(self.kind, function.__name__, claim, source, function))
            return function

        return added

    def __getitem__(self, index: Any) -> Any:
        """Return a check by its place."""
        return self._checks[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._checks)

    def __iter__(self) -> Iterator[Check]:
        """Go through the checks."""
        return iter(self._checks)


def run_checks(checks: Sequence[Check], subject: Any, skip: Collection[str] = ()) -> list[Result]:
    """Return what became of each check.

    Args:
        checks: of the kind of thing that ``subject`` is.
        subject: what is checked.
        skip: names of checks that are left out.

    Raises:
        ValueError: if a name to be skipped is not one of the checks.
    """
    names = [check.name for check in checks]
    unknown = sorted(set(skip) - set(names))
    if unknown:
        raise ValueError(
            f"skip must name checks, got {unknown[0]!r}; choose from {', '.join(names)}"
        )
    return [check.run(subject) for check in checks if check.name not in skip]


def raise_failures(results: Sequence[Result]) -> None:
    """Raise ConformanceError that names every failed check and what it saw, if there is one."""
    failures = [result for result in results if result.status == "fail"]
    if failures:
        raise ConformanceError("\n".join(map(_sentence, failures)))


def expect(holds: Any, seen: str) -> None:
    """Raise AssertionError with what was seen unless a condition holds.

    Unlike ``assert`` it also works under ``python -O``.
    """
    if not bool(holds):
        raise AssertionError(seen)


def _sentence(result: Result) -> str:
    check = result.check
    return f"{check.kind}.{check.name}: {check.claim} Seen: {result.seen} (see {check.source})"
