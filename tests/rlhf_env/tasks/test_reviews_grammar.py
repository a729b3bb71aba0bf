from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_env.tasks.reviews.grammar import Grammar, grammar_texts
from rlhf_env.tasks.reviews.places import State, next_words
from rlhf_env.tasks.reviews.vocabulary import (
    ASPECTS,
    DISHES,
    EOS,
    NEGATIVE,
    POSITIVE,
    Request,
    build_tokenizer,
    encoded_prompts,
    opinion_words,
    requests,
    vocabulary,
)

REQUEST = Request("pizza", "service", POSITIVE)


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar(REQUEST)


def logprob_of(grammar: Grammar, text: str) -> float:
    return grammar.logprob([*text.split(), EOS])


def test_words_are_different_and_opinions_have_one_sentiment() -> None:
    words = vocabulary()
    assert len(set(words)) == len(words) == 133
    assert not set(opinion_words(POSITIVE)) & set(opinion_words(NEGATIVE))
    assert len(opinion_words(POSITIVE)) == len(opinion_words(NEGATIVE)) == 34


def test_prompts_are_held_out_by_combination() -> None:
    train, held_out = set(requests(held_out=False)), set(requests(held_out=True))
    assert (len(train), len(held_out), len(train & held_out)) == (120, 24, 0)
    for split in (train, held_out):
        assert {request.dish for request in split} == set(DISHES)
        assert {request.aspect for request in split} == set(ASPECTS)


def test_the_tokenizer_is_one_word_one_token() -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer("pizza service positive : the pizza was great .")["input_ids"]
    assert len(ids) == 9
    assert tokenizer.decode(ids) == "pizza service positive : the pizza was great ."
    assert tokenizer("spaceship")["input_ids"] == [tokenizer.unk_token_id]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, 1, 133)
    assert encoded_prompts([REQUEST])[0].tolist() == ids[:4]


def test_every_reachable_state_is_a_distribution_over_known_words() -> None:
    seen: set[State] = set()
    waiting = [State()]
    words = set(vocabulary())
    while waiting:
        state = waiting.pop()
        if state in seen or state.place == "end":
            continue
        seen.add(state)
        choices = next_words(REQUEST, state)
        assert sum(choice.probability for choice in choices) == pytest.approx(1.0, abs=1e-12)
        assert len({choice.word for choice in choices}) == len(choices)
        assert {choice.word for choice in choices} <= words
        waiting += [choice.state for choice in choices]
    assert len(seen) > 1000


# Products of the choices on the way, worked out by hand:
# i .18, will .25, return .7/2, stop, end .3;   good .12·.7/5, !, then .7·(.35 + .65·.12·.85/5),
# !, end .45;   we .1, ordered 1/4, the, pizza .75, stop .6, end .3.
@pytest.mark.parametrize(
    ("text", "probability"),
    [
        ("i will return .", 0.004725),
        ("good ! good !", 0.00192237192),
        ("we ordered the pizza .", 0.003375),
    ],
)
def test_likelihood_of_a_text(grammar: Grammar, text: str, probability: float) -> None:
    assert logprob_of(grammar, text) == pytest.approx(math.log(probability), abs=1e-9)


@pytest.mark.parametrize("text", ["", "pizza", "the was pizza .", "i will return", "good ! <eos>"])
def test_what_is_never_written_has_likelihood_0(grammar: Grammar, text: str) -> None:
    assert logprob_of(grammar, text) == -math.inf
    assert grammar.logprob(["i", "will"]) == -math.inf


def test_entropy_and_length_are_those_of_the_samples(grammar: Grammar) -> None:
    generator = np.random.default_rng(0)
    texts = [grammar.sample(generator) for _ in range(4000)]
    surprises = np.array([-grammar.logprob(text) for text in texts])
    lengths = np.array([len(text) for text in texts])
    for measured, exact in (
        (surprises, grammar.entropy()),
        (lengths, grammar.expected_length()),
    ):
        error = measured.std() / math.sqrt(len(measured))
        assert abs(measured.mean() - exact) < 4 * error
    assert 0.01 < (lengths > 40).mean() < 0.1


def test_reviews_are_imperfect(grammar: Grammar) -> None:
    generator = np.random.default_rng(1)
    texts = [grammar.sample(generator) for _ in range(500)]
    wrong_dish = [any(w in DISHES and w != "pizza" for w in text) for text in texts]
    bad_word = set(opinion_words(NEGATIVE))
    off_tone = [any(w in bad_word for w in text) for text in texts]
    unnamed = [not {"pizza", "service"} & set(text) for text in texts]
    for flaw in (wrong_dish, off_tone, unnamed):
        assert 0.1 < np.mean(flaw) < 0.7


def test_texts_are_those_of_the_seed() -> None:
    asked = requests(held_out=True)[:3]
    prompts, texts = grammar_texts(asked, 7, seed=3)
    again = grammar_texts(asked, 7, seed=3)[1]
    other = grammar_texts(asked, 7, seed=4)[1]
    assert [text.tolist() for text in texts] == [text.tolist() for text in again]
    assert [text.tolist() for text in texts] != [text.tolist() for text in other]
    assert prompts[0].tolist() == prompts[3].tolist() != prompts[1].tolist()
