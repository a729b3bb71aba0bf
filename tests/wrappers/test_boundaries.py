from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.mdp.mdp import TokenMDP
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import tiny_llama_task
from tests.wrappers.episodes import TOY15, as_rollout, transformed
from wrappers.macro.boundary import Boundary

TASK = tiny_llama_task(vocab_size=8, horizon=6)
# Entropies of the reference of "toy15" in nats, from scipy.stats.entropy over its formula.
TOY15_ENTROPIES = {
    (1,): 0.931176,
    (2,): 0.880114,
    (1, 1): 0.871279,
    (1, 2): 0.895274,
    (2, 1): 0.895274,
    (2, 2): 0.830202,
}


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("reviews")


@pytest.fixture(scope="module")
def pieces() -> Task:
    """A task whose tokens are pieces of words, spaces in front, as GPT-2's are."""
    words = ["<eos>", "Ġa", "b", "Ġcd", ".", "Ġ(", "âĢ", "Ķ"]
    vocab = {word: i for i, word in enumerate(words)}
    model = Tokenizer(models.WordLevel(vocab, unk_token="<eos>"))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<eos>")
    return Task(
        name="pieces",
        tokenizer=tokenizer,
        reference=TASK.reference,
        reward=TASK.reward,
        prompts=[torch.tensor([1])],
        max_prompt_tokens=1,
        max_new_tokens=8,
    )


def ends(boundary: Any, ids: list[int], task: Task) -> list[bool]:
    """After which tokens of a response a boundary that is a function ends an action."""
    return [boundary(torch.tensor(ids[: t + 1]), task) for t in range(len(ids))]


def stepped_decisions(task: Task, boundary: Boundary, response: list[int], index: int) -> list[int]:
    """The decision of each token if a response is written by macro actions."""
    env = wrappers.MacroAction(RLHFEnv(task), boundary=boundary)
    mdp = env.unwrapped.mdp  # type: ignore[attr-defined]
    env.reset(options={"prompt_index": index})
    decisions: list[int] = []
    while len(decisions) < len(response):
        plan = response[len(decisions) :]
        env.step([*plan, *[0] * (mdp.max_new_tokens - len(plan))])
        number = decisions[-1] + 1 if decisions else 0
        decisions += [number] * (int(mdp.response_lengths[0]) - len(decisions))
    return decisions


def test_a_clause_ends_with_punctuation(reviews: Task) -> None:
    ids = reviews.tokenizer("the soup was great . we loved it !")["input_ids"]
    expected = [False, False, False, False, True, False, False, False, True]
    assert ends(wrappers.punctuation, ids, reviews) == expected
    assert stepped_decisions(reviews, wrappers.punctuation, [*ids, 1], 0) == [0] * 5 + [1] * 4 + [2]


def test_punctuation_of_several_tokens_ends_at_its_last(pieces: Task) -> None:
    # An em dash is the bytes e2 80 94, here two tokens.
    assert pieces.tokenizer.decode([1, 6, 7]) == " a—"
    assert ends(wrappers.punctuation, [1, 2, 6, 7, 3, 4], pieces) == [
        False,
        False,
        False,
        True,
        False,
        True,
    ]


def test_an_action_reaches_into_the_next_word(pieces: Task) -> None:
    assert pieces.tokenizer.decode([1, 2, 2, 3, 4]) == " abb cd."
    assert ends(wrappers.space_led, [1, 2, 2, 3, 4], pieces) == [True, False, False, True, False]
    assert ends(wrappers.space_led, [2, 5, 0], pieces) == [False, True, False]
    assert stepped_decisions(pieces, wrappers.space_led, [1, 2, 2, 3, 4, 1, 2, 2], 0) == [
        *(0, 1, 1, 1, 2, 2, 3, 3)
    ]


def test_where_tokens_are_words_each_is_an_action(reviews: Task, toy15: Task) -> None:
    ids = reviews.tokenizer("the soup was great .")["input_ids"]
    assert ends(wrappers.space_led, ids, reviews) == [True] * 5
    assert stepped_decisions(toy15, wrappers.space_led, [1, 2, 0], 0) == [0, 1, 2]


@pytest.mark.parametrize("threshold", [0.85, 0.875, 0.89, 0.9, 0.95])
def test_an_action_ends_where_the_reference_is_in_doubt(toy15: Task, threshold: float) -> None:
    boundary = wrappers.high_reference_entropy(threshold)
    for response in TOY15:
        expected = [0]
        for t in range(1, len(response)):
            expected.append(expected[-1] + (TOY15_ENTROPIES[response[:t]] >= threshold))
        assert stepped_decisions(toy15, boundary, list(response), 0) == expected
        env = wrappers.MacroAction(RLHFEnv(toy15), boundary=boundary)
        rollout = transformed(env, as_rollout(toy15, [(0, response)]))
        assert rollout.decision.tolist() == [[-1, *expected]]


def test_doubts_of_the_reference_of_reviews(reviews: Task) -> None:
    # Nats after each token of an uncached pass, from scipy.stats.entropy: the 1.803, soup 1.397,
    # was 2.820, great 1.099, "." 1.683, we 1.408, loved 0.014, it 1.936, "!" 1.793.
    ids = reviews.tokenizer("the soup was great . we loved it !")["input_ids"]
    response = [*ids, reviews.eos_id]
    expected = [0, 1, 1, 2, 2, 2, 2, 2, 3, 4]
    boundary = wrappers.high_reference_entropy(1.75)
    assert stepped_decisions(reviews, boundary, response, 0) == expected
    for env in (
        wrappers.MacroAction(RLHFEnv(reviews), boundary=boundary),
        wrappers.vector.MacroAction(RLHFVectorEnv(2, reviews), boundary=boundary),
    ):
        rollout = transformed(env, as_rollout(reviews, [(0, response)]))
        assert rollout.decision[rollout.is_action].tolist() == expected


def test_entropy_is_that_of_the_temperature(toy15: Task) -> None:
    # After 1 and after 2 at temperature 0.5: 0.696065 and 0.491736 nats.
    env = wrappers.MacroAction(RLHFEnv(toy15), boundary=wrappers.high_reference_entropy(0.6))
    env.unwrapped.mdp.temperature = 0.5  # type: ignore[attr-defined]
    rollout = transformed(env, as_rollout(toy15, [(0, [1, 0]), (0, [2, 0])]))
    assert rollout.decision.tolist() == [[-1, 0, 1], [-1, 0, 0]]
    for token, written in ((1, [1]), (2, [2, 0])):
        env.reset(seed=0)
        env.step([token, 0, 0])
        assert env.unwrapped.mdp.response(0).tolist() == written  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["punctuation", "space_led", "entropy"])
@pytest.mark.parametrize("which", ["tiny", "reviews"])
def test_stepped_and_decoded_episodes_fall_into_the_same_decisions(
    reviews: Task, name: str, which: str
) -> None:
    task = {"tiny": TASK, "reviews": reviews}[which]
    boundary = {
        "punctuation": wrappers.punctuation,
        "space_led": wrappers.space_led,
        "entropy": wrappers.high_reference_entropy(1.7),
    }[name]
    generator = np.random.default_rng(3)
    others = [token for token in range(2, task.vocab_size) if token != task.eos_id]
    episodes = [
        (index, [*generator.choice(others, size=size).tolist(), task.eos_id])
        for index, size in ((0, 0), (1, 3), (2, 5), (0, 5), (1, 4))
    ]
    rollout = as_rollout(task, episodes)
    vector = wrappers.vector.MacroAction(RLHFVectorEnv(2, task), boundary=boundary)
    decision = transformed(wrappers.MacroAction(RLHFEnv(task), boundary=boundary), rollout).decision
    assert torch.equal(transformed(vector, rollout).decision, decision)
    for row, (index, response) in enumerate(episodes):
        expected = stepped_decisions(task, boundary, response, index)
        assert decision[row, rollout.is_action[row]].tolist() == expected
    # Some episodes are one action and some are not, or nothing would be shown.
    if name == "entropy":
        assert len(decision.amax(dim=1).unique()) > 1


def test_rows_of_a_vector_are_asked_at_once(toy15: Task) -> None:
    asked: list[list[int]] = []

    class Whole:
        """One action per response, which tells whom it was asked about."""

        def ends_now(self, mdp: TokenMDP, rows: list[int]) -> list[bool]:
            asked.append([int(mdp.response_lengths[row]) for row in rows])
            return [False] * len(rows)

        def ends(self, rollout: Rollout, mdp: TokenMDP) -> Tensor:
            return torch.zeros_like(rollout.is_action)

    envs = wrappers.vector.MacroAction(RLHFVectorEnv(3, toy15), boundary=Whole())
    envs.reset(seed=0)
    envs.step(np.array([[1, 1, 1], [0, 0, 0], [2, 0, 0]]))
    assert asked == [[1, 1], [2]]


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf"), "1", None, True])
def test_a_threshold_must_be_a_number(threshold: object) -> None:
    with pytest.raises(ValueError, match="threshold must be a finite number >= 0, got"):
        wrappers.high_reference_entropy(threshold)  # type: ignore[arg-type]
