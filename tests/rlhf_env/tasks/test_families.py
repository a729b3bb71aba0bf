from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rlhf_env.exact import evaluate, solve
from rlhf_env.tasks import is_task_name, load_task, register_task, task_families, task_names

EMPTY = torch.tensor([0])
HORIZONS = (8, 32, 128)


def score(name: str, tokens: list[int], **options: int) -> float:
    return float(load_task(name, **options).reward([EMPTY], [torch.tensor(tokens)]))


def test_names() -> None:
    assert task_families() == ["brackets", "chain", "delay", "lock", "needles"]
    assert all(is_task_name(f"{family}-64") for family in task_families())
    assert not any(is_task_name(name) for name in ("delay", "delay-0", "delay-08", "delays-8"))
    assert is_task_name("toy15")
    assert "delay-64" not in task_names()
    task = load_task("delay-64")
    assert (task.name, task.max_new_tokens, task.vocab_size) == ("delay-64", 64, 8)


def test_chain_pays_every_right_token() -> None:
    assert score("chain-8", [1, 2, 3, 1, 2, 3, 1, 2]) == 1.0
    assert score("chain-8", [1, 4, 2, 2, 3, 0]) == 3 / 8
    assert score("chain-8", [2, 2, 3, 0]) == 0.0
    assert score("chain-8", [1, 1, 1, 0], symbols=1) == 3 / 8


def test_delay_looks_at_the_first_token() -> None:
    assert score("delay-8", [1, 5, 6, 0]) == 1.0
    assert score("delay-8", [2, 1, 1, 1, 1, 1, 1, 1]) == 0.0
    assert score("delay-8", [0]) == 0.0


def test_needles_are_found_in_order() -> None:
    assert score("needles-8", [7, 1, 7, 2, 2, 3, 6, 4]) == 1.0
    assert score("needles-8", [2, 1, 3, 2, 0]) == 0.5
    assert score("needles-8", [2, 1, 2, 0], needles=2) == 1.0


def test_a_lock_opens_at_once_or_not_at_all() -> None:
    assert score("lock-8", [1, 2, 4, 3, 0]) == 0.0
    assert score("lock-8", [1, 2, 1, 2, 3, 5, 5, 0]) == 1.0
    assert score("lock-8", [1, 2, 0]) == 0.0


def test_brackets_are_closed_at_the_end() -> None:
    assert score("brackets-8", [1, 3, 1, 2, 2, 0]) == 1.0
    assert score("brackets-8", [1, 1, 3, 0]) == pytest.approx(1 / 3)
    assert score("brackets-8", [2, 1, 2, 0]) == 0.0
    assert score("brackets-8", [1, 1, 1, 1, 2, 2, 2, 2]) == 0.0
    assert score("brackets-8", [0]) == 1.0


@pytest.mark.parametrize("family", task_families())
def test_difficulty_does_not_drift_with_the_horizon(family: str) -> None:
    """What is held: the reference's score; and, as nearly as a horizon allows, J*."""
    tasks = [load_task(f"{family}-{horizon}") for horizon in HORIZONS]
    references = [evaluate(task, task.reference, task.kl_coef).reward for task in tasks]
    optima = [solve(task, task.kl_coef).objective for task in tasks]
    spread = 2e-3 if family in ("chain", "delay") else 1e-5
    assert max(references) - min(references) < spread
    assert max(optima) - min(optima) < 0.12
    assert all(best - found > 0.2 for best, found in zip(optima, references, strict=True))


@pytest.mark.parametrize("family", task_families())
def test_as_many_responses_end_early(family: str) -> None:
    for horizon in HORIZONS:
        task = load_task(f"{family}-{horizon}")
        logits = task.reference(input_ids=torch.tensor([[0]])).logits[0, 0]
        base = 32 if family == "delay" else 8
        assert logits[0].item() == pytest.approx(-4 - math.log(horizon / base), abs=1e-6)


def test_logits_can_be_given() -> None:
    task = load_task("needles-32", eos_logit=-2.0, needle_logit=-1.5)
    logits = task.reference(input_ids=torch.tensor([[0]])).logits[0, 0]
    assert logits.tolist() == [-2.0, -1.5, *[0.0] * 6]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("delays-8", {}, "task must be one of .* with a horizon T, brackets-T, .*'delays-8'"),
        ("delay-8", {"needles": 3}, "delay tasks have no option 'needles'; there are"),
        ("toy15", {"policy": "table"}, "task 'toy15' has no options"),
        ("needles-3", {}, "needles must be at most the horizon 3, got 4"),
        ("needles-8", {"needles": 8}, "needles must be at most 7, the tokens beside EOS, got 8"),
        ("brackets-8", {"vocab_size": 3}, "vocab_size must be an integer >= 4, got 3"),
        ("delay-8", {"policy": "tree"}, "policy must be one of"),
        ("chain-9999999999999", {}, "horizon must be at most 1000000, got 1e"),
        (f"chain-{'9' * 5000}", {}, "task must be one of"),
        ("lock-8", {"vocab_size": 10**9}, "vocab_size must be at most 100000, got 1000000000"),
        ("lock-8", {"eos_logit": "a"}, "eos_logit must be a finite number"),
    ],
)
def test_what_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_task(name, **options)


def test_a_name_of_a_family_is_taken() -> None:
    with pytest.raises(ValueError, match="'lock-9' is registered already"):
        register_task("lock-9", lambda: load_task("toy15"))
