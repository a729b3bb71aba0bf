"""What the reviews grammar may write next: one small function for each kind of place in a text.

Reviews are imperfect by intention: another dish or aspect, mixed feelings, echoes, rambling,
run-on sentences. Every loop is counted, so every review ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlhf_env.tasks.reviews.vocabulary import (
    ASPECT_OPINIONS,
    ASPECTS,
    COMPANY,
    DAYS,
    DISHES,
    EOS,
    FEELINGS,
    GENERAL_OPINIONS,
    INTENSIFIERS,
    NEGATIVE,
    ORDERS,
    PLANS,
    POSITIVE,
    SENTIMENTS,
    VERBS,
    Request,
)

# Chance to stop before sentence 0, 1, 2, ...; the last entry bounds the number of sentences.
STOP = (0.0, 0.3, 0.45, 0.55, 0.55, 0.55, 0.55, 1.0)
ON_TOPIC = 0.75
DISH_SUBJECT = 0.45
MAX_INTENSIFIERS, MAX_CLAUSES, MAX_ECHOES, MAX_RAMBLES = 3, 3, 3, 3


class State(NamedTuple):
    """Where the writer is.

    Attributes:
        place: which kind of word comes next.
        sentence: finished sentences.
        subject: what the sentence is about, or the word just exclaimed.
        tone: sentiment of the last opinion, empty before the first.
        clause: clauses of this sentence joined so far.
        loops: repetitions in the present loop.
    """

    place: str = "start"
    sentence: int = 0
    subject: str = ""
    tone: str = ""
    clause: int = 0
    loops: int = 0

    def at(self, place: str) -> State:
        """Return this state at another place, its loop counter back at 0."""
        return self._replace(place=place, loops=0)

    def again(self, place: str) -> State:
        """Return this state at another place, one more time round its loop."""
        return self._replace(place=place, loops=self.loops + 1)

    def new_sentence(self) -> State:
        """Return the state after a sentence's end; only the tone is remembered."""
        return State(sentence=self.sentence + 1, tone=self.tone)


class Choice(NamedTuple):
    """One word that may come next, and where it leads."""

    word: str
    probability: float
    state: State


def next_words(request: Request, state: State) -> tuple[Choice, ...]:
    """Return the different words that may come next; their probabilities sum to 1."""
    merged: dict[str, Choice] = {}
    for choice in _PLACES[state.place](request, state):
        known = merged.get(choice.word)
        assert known is None or known.state == choice.state, "a word must fix the next state"
        before = 0.0 if known is None else known.probability
        if choice.probability > 0.0:
            merged[choice.word] = choice._replace(probability=before + choice.probability)
    return tuple(merged.values())


def _uniform(words: Sequence[str], probability: float, state: State) -> list[Choice]:
    return [Choice(word, probability / len(words), state) for word in words]


def _nouns(asked: str, nouns: Sequence[str], probability: float, state: State) -> list[Choice]:
    others = (1.0 - ON_TOPIC) / (len(nouns) - 1)
    return [
        Choice(
            noun,
            probability * (ON_TOPIC if noun == asked else others),
            state._replace(subject=noun),
        )
        for noun in nouns
    ]


def _tones(request: Request, state: State) -> list[tuple[str, float]]:
    asked = {"": 0.7, request.sentiment: 0.85}.get(state.tone, 0.45)
    return [(tone, asked if tone == request.sentiment else 1.0 - asked) for tone in SENTIMENTS]


def _opinions(request: Request, state: State, probability: float, place: str) -> list[Choice]:
    topic = ASPECT_OPINIONS.get("taste" if state.subject in DISHES else state.subject)
    choices: list[Choice] = []
    for tone, share in _tones(request, state):
        general = 1.0 if topic is None else 0.4
        after = state.at(place)._replace(tone=tone)
        choices += _uniform(GENERAL_OPINIONS[tone], probability * share * general, after)
        if topic is not None:
            choices += _uniform(topic[tone], probability * share * (1.0 - general), after)
    return choices


def _start(request: Request, state: State) -> list[Choice]:
    stop = STOP[state.sentence]
    echo = 0.35 if state.subject and state.loops < MAX_ECHOES else 0.0
    go_on = (1.0 - stop) * (1.0 - echo)
    fresh = State(sentence=state.sentence, tone=state.tone)
    choices = [
        Choice(EOS, stop, State(place="end")),
        Choice("the", 0.52 * go_on, fresh.at("subject")),
        Choice("i", 0.18 * go_on, fresh.at("person")),
        Choice("we", 0.10 * go_on, fresh.at("group")),
        Choice("well", 0.08 * go_on, fresh.at("ramble_comma")),
    ]
    for exclaimed in _opinions(request, fresh, 0.12 * go_on, "exclaim"):
        is_echo = exclaimed.word == state.subject
        loops = min(state.loops + 1, MAX_ECHOES) if is_echo else 0
        extra = (1.0 - stop) * echo if is_echo else 0.0
        after = exclaimed.state._replace(subject=exclaimed.word, loops=loops)
        choices.append(Choice(exclaimed.word, exclaimed.probability + extra, after))
    return choices


def _exclaim(request: Request, state: State) -> list[Choice]:
    after = state.new_sentence()._replace(subject=state.subject, loops=state.loops)
    return [Choice("!", 1.0, after)]


def _subject(request: Request, state: State) -> list[Choice]:
    dish = _nouns(request.dish, DISHES, DISH_SUBJECT, state.at("verb"))
    aspect = _nouns(request.aspect, ASPECTS, 1.0 - DISH_SUBJECT, state.at("aspect_verb"))
    return dish + aspect


def _aspect_verb(request: Request, state: State) -> list[Choice]:
    return [Choice("of", 0.25, state.at("of")), *_uniform(VERBS, 0.75, state.at("opinion"))]


def _of_dish(request: Request, state: State) -> list[Choice]:
    named = _nouns(request.dish, DISHES, 1.0, state.at("verb"))
    return [choice._replace(state=state.at("verb")) for choice in named]


def _opinion(request: Request, state: State) -> list[Choice]:
    more = (0.35, 0.3, 0.3, 0.0)[state.loops]
    return [
        *_uniform(INTENSIFIERS, more, state.again("opinion")),
        *_opinions(request, state, 1.0 - more, "after_opinion"),
    ]


def _after_opinion(request: Request, state: State) -> list[Choice]:
    join = 0.4 if state.clause < MAX_CLAUSES else 0.0
    joined = state._replace(clause=state.clause + 1)
    return [
        Choice(".", 1.0 - join, state.new_sentence()),
        Choice("and", 0.5 * join, joined.at("opinion")),
        Choice("but", 0.2 * join, joined.at("contrast")),
        Choice(",", 0.3 * join, joined.at("the_subject")),
    ]


def _contrast(request: Request, state: State) -> list[Choice]:
    other = NEGATIVE if state.tone == POSITIVE else POSITIVE
    after = state.at("after_opinion")._replace(tone=other)
    return _uniform(GENERAL_OPINIONS[other], 1.0, after)


def _person(request: Request, state: State) -> list[Choice]:
    choices = [
        Choice("thought", 0.25, state.at("the_subject")),
        Choice("will", 0.25, state.at("plan")),
    ]
    for tone, share in _tones(request, state):
        after = state.at("the_object")._replace(tone=tone)
        choices += _uniform(FEELINGS[tone], 0.5 * share, after)
    return choices


def _plan(request: Request, state: State) -> list[Choice]:
    choices: list[Choice] = []
    for tone, share in _tones(request, state):
        choices += _uniform(PLANS[tone], share, state.at("stop")._replace(tone=tone))
    return choices


def _object(request: Request, state: State) -> list[Choice]:
    dish = _nouns(request.dish, DISHES, DISH_SUBJECT, state.at("after_object"))
    return dish + _nouns(request.aspect, ASPECTS, 1.0 - DISH_SUBJECT, state.at("after_object"))


def _after_object(request: Request, state: State) -> list[Choice]:
    join = 0.2 if state.clause < MAX_CLAUSES else 0.0
    joined = state.at("the_subject")._replace(clause=state.clause + 1)
    return [Choice(".", 1.0 - join, state.new_sentence()), Choice(",", join, joined)]


def _after_order(request: Request, state: State) -> list[Choice]:
    return [
        Choice(".", 0.6, state.new_sentence()),
        Choice("with", 0.25, state.at("company")),
        Choice("on", 0.15, state.at("day")),
    ]


def _ramble(request: Request, state: State) -> list[Choice]:
    more = 0.5 if state.loops < MAX_RAMBLES else 0.0
    return [
        Choice("you", 0.6 * more, state.again("know")),
        Choice("anyway", 0.4 * more, state.again("ramble_comma")),
        Choice("it", 0.4 * (1.0 - more), state.at("it_was")),
        Choice("the", 0.6 * (1.0 - more), state.at("subject")),
    ]


def _words(words: Sequence[str], place: str) -> Callable[[Request, State], list[Choice]]:
    return lambda request, state: _uniform(words, 1.0, state._replace(place=place))


_PLACES: dict[str, Callable[[Request, State], list[Choice]]] = {
    "start": _start,
    "exclaim": _exclaim,
    "the_subject": _words(["the"], "subject"),
    "subject": _subject,
    "verb": _words(VERBS, "opinion"),
    "aspect_verb": _aspect_verb,
    "of": _words(["the"], "of_dish"),
    "of_dish": _of_dish,
    "opinion": _opinion,
    "after_opinion": _after_opinion,
    "contrast": _contrast,
    "person": _person,
    "plan": _plan,
    "the_object": _words(["the"], "object"),
    "object": _object,
    "after_object": _after_object,
    "group": _words(ORDERS, "the_order"),
    "the_order": _words(["the"], "order"),
    "order": lambda request, state: _nouns(request.dish, DISHES, 1.0, state.at("after_order")),
    "after_order": _after_order,
    "company": _words(COMPANY, "stop"),
    "day": _words(DAYS, "stop"),
    "ramble_comma": _words([","], "ramble"),
    "ramble": _ramble,
    "know": _words(["know"], "ramble_comma"),
    "it_was": _words(["was"], "a_day"),
    "a_day": _words(["a"], "day"),
    "stop": lambda request, state: [Choice(".", 1.0, state.new_sentence())],
}
