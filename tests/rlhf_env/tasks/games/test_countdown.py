"""The rules of countdown, its perfect process reward, and the optimum of the small version."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rlhf_env.exact import solve
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.tasks.games.countdown import countdown_task
from rlhf_env.tasks.games.countdown.judge import Judge, lines_of
from rlhf_env.tasks.games.countdown.puzzles import WORDS, puzzle_of, puzzles
from rlhf_env.tasks.games.countdown.rules import Puzzle, legal_lines, targets
from rlhf_env.tasks.games.countdown.small import WORDS as SMALL_WORDS
from rlhf_env.tasks.games.countdown.small import countdown_small_task
from rlhf_env.tasks.games.words import EOS, Words


def ids(text: str, words: Words = WORDS) -> Tensor:
    """One line of the text is one line of the response; a dot is EOS."""
    found = text.replace("/", " \n ").replace(".", f" {EOS} ").split(" ")
    return words.encode([word for word in found if word])


# What is said of 2, 3, 5 = 4, whether that solves it, and its step score.
SAID = [
    ("2 + 5 = 7/7 - 3 = 4.", 1, 1),
    ("2 + 5 = 7/7 - 3 = 4/.", 1, 1),
    ("2 + 5 = 7/7 - 3 = 4/", 1, 1),
    ("5 + 2 = 7/", 0, 1),
    ("5 - 3 = 2/", 0, 1),
    ("3 - 2 = 1/", 0, 1),
    ("2 + 3 = 5/", 0, 0),
    ("5 - 2 = 4/4 - 3 = 1.", 0, 0),
    ("5 + 5 = 10/", 0, 0),
    ("2 + 5 = 7/7 - 3 = 4/4 + 3 = 7.", 0, 0),
    ("2 + 5 = 7/7 - 3 =.", 0, 0),
    ("2 + 5 7/", 0, 0),
    ("/", 0, 0),
    (".", 0, 0),
    ("2 + 5 = 7//7 - 3 = 4.", 0, 0),
]


@pytest.mark.parametrize(("said", "solves", "step"), SAID)
def test_scores_of_responses_and_of_lines(said: str, solves: int, step: int) -> None:
    task = load_task("countdown")
    asked = ids("2 3 5 = 4 :")
    assert task.reward([asked], [ids(said)]).tolist() == [solves]
    assert task.step_scores is not None
    assert task.step_scores([asked], [ids(said)]).tolist() == [step]


def test_targets_are_all_signs_that_can_be_had_without_negative_numbers() -> None:
    assert targets((2, 3, 5), 36) == {0, 4, 6, 10}
    assert targets((1, 1, 4), 36) == {2, 4, 6}
    assert targets((3,), 36) == {3}
    # Bounds hold for results on the way, too.
    assert 10 not in targets((2, 3, 5), 9)
    assert len(legal_lines((2, 3), 36)) == 3


def test_puzzles_to_evaluate_on_are_held_out() -> None:
    for numbers in (3, 4):
        known, unknown = (set(puzzles(numbers, held_out=held)) for held in (False, True))
        assert not known & unknown
        assert len(unknown) == pytest.approx(0.1 * len(known | unknown), abs=1)
        task = countdown_task(numbers)
        asked = {puzzle_of(WORDS.decode(prompt)) for prompt in task.prompts}
        held_out = {puzzle_of(WORDS.decode(prompt)) for prompt in task.eval_prompts}
        assert asked <= known and held_out <= unknown


def test_what_is_no_prompt_is_refused() -> None:
    for text in ("2 3 5 4 :", "2 + 5 = 4 :", "= 4 :"):
        with pytest.raises(ValueError, match="a prompt of countdown must be"):
            puzzle_of(WORDS.decode(ids(text)))
    with pytest.raises(ValueError, match=r"numbers must be one of \[3, 4\], got 5"):
        countdown_task(5)


def test_lines() -> None:
    assert lines_of(["1", "\n", EOS]) == [["1"]]
    assert lines_of(["1", "\n", "\n", EOS]) == [["1"], []]
    assert lines_of([EOS]) == [[]]


def soft_value_by_responses(task: Task, judge: Judge, beta: float) -> float:
    """J* = beta log Σ pi_ref(y) exp(score(y) / beta) over every response, one by one."""
    prompt = task.prompts[0]
    totals: list[float] = []

    def extend(said: list[int], logprob: float) -> None:
        if said[-1:] == [task.eos_id] or len(said) == task.max_new_tokens:
            totals.append(logprob + float(judge([prompt], [torch.tensor(said)])) / beta)
            return
        text = torch.cat([prompt, torch.tensor(said, dtype=torch.int64)])[None]
        with torch.no_grad():
            row = task.reference(input_ids=text).logits[0, -1].double().log_softmax(0)
        for token, more in enumerate(row.tolist()):
            extend([*said, token], logprob + more)

    extend([], 0.0)
    return beta * float(torch.tensor(totals, dtype=torch.float64).logsumexp(0))


def test_the_optimum_of_one_line_is_that_of_all_responses() -> None:
    """The rules on words judge them, which know nothing of the automaton."""
    words = Words((EOS, "\n", "=", "+", "1", "2", "3"))
    puzzle = Puzzle((1, 2), 3)
    task = countdown_small_task([puzzle], horizon=5, words=words)
    found = solve(task, 0.1).objective
    by_responses = soft_value_by_responses(task, Judge(words, lambda prompt: puzzle, 3), 0.1)
    assert found == pytest.approx(by_responses, abs=1e-6)
    assert 0 < by_responses < 1


def test_step_scores_are_what_is_left_of_the_optimum_where_the_kl_costs_nothing() -> None:
    """V* after a line tends to 1 where the step score is 1, and to 0 where it is 0."""
    task = load_task("countdown-small")
    assert task.step_scores is not None
    said = {"1 + 3 = 4/": 0.0, "1 + 2 = 3/": 1.0, "3 - 1 = 2/": 1.0, "2 + 3 = 5/": 0.0}
    # Puzzle 0 is 1, 2, 3 = 0.
    prompt = task.prompts[0]
    for text, expected in said.items():
        history = ids(text, SMALL_WORDS)
        assert task.step_scores([prompt], [history]).tolist() == [expected]
        best = solve(task, 1e-4, prompt_index=0).values[tuple(history.tolist())]
        assert float(best) == pytest.approx(expected, abs=0.01)


def test_the_optimum_of_the_small_version_solves_every_puzzle() -> None:
    task = load_task("countdown-small")
    for index in range(len(task.prompts)):
        best = solve(task, task.kl_coef, prompt_index=index)
        assert best.reward > 0.999
        assert math.isclose(best.objective, best.reward - task.kl_coef * best.kl, abs_tol=1e-6)
