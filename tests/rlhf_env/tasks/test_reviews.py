"""The committed assets: what they are, and that they measure what is recorded beside them."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.tasks.pretraining import cross_entropy
from rlhf_env.tasks.reviews.assets import ASSETS, load_figures
from rlhf_env.tasks.reviews.comparisons import Rater, compare, sample_for
from rlhf_env.tasks.reviews.figures import Estimate, Figures, ratio_estimate
from rlhf_env.tasks.reviews.grammar import Grammar, grammar_texts
from rlhf_env.tasks.reviews.measure import (
    measure_best_of_n,
    measure_proxy,
    measure_reference,
)
from rlhf_env.tasks.reviews.vocabulary import requests

SEED = 987


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("reviews")


@pytest.fixture(scope="module")
def recorded() -> Figures:
    return load_figures(ASSETS)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def assert_agree(measured: Estimate, expected: Estimate) -> None:
    error = math.hypot(measured.standard_error, expected.standard_error)
    assert abs(measured.value - expected.value) <= 4 * error


def test_the_assets_are_small_and_hold_no_pickle() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) < 4_000_000


def test_the_task_is_complete(task: Task) -> None:
    assert (task.name, task.max_prompt_tokens, task.max_new_tokens) == ("reviews", 8, 40)
    assert (len(task.prompts), len(task.eval_prompts), task.vocab_size) == (120, 24, 133)
    assert task.eos_id != task.pad_id
    assert task.decode(task.eval_prompts[0]) == "pizza taste positive :"
    trained = {tuple(prompt.tolist()) for prompt in task.prompts}
    assert not trained & {tuple(prompt.tolist()) for prompt in task.eval_prompts}
    models = (task.reference, task.reward)
    for model in models:
        assert not any(p.requires_grad for p in model.parameters())  # type: ignore[union-attr]
        assert not any(module.training for module in model.modules())  # type: ignore[union-attr]


def test_loading_is_quick_offline_and_leaves_no_trace(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("loading must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = torch.random.get_rng_state()
    started = time.process_time()
    again = load_task("reviews")
    assert time.process_time() - started < 1.0
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = {id(parameter) for parameter in task.reference.parameters()}
    assert not weights & {id(parameter) for parameter in again.reference.parameters()}


def test_transformers_loads_the_same_language_model(task: Task) -> None:
    folder = ASSETS / "language_model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "pizza service positive : the service was kind ."
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == task.tokenizer(text)["input_ids"]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, task.reference(input_ids=ids).logits)


def test_the_language_model_is_within_a_tenth_of_the_grammar(task: Task, recorded: Figures) -> None:
    figures = recorded.language_model
    asked = requests(held_out=True)
    prompts, texts = grammar_texts(asked, 1200, SEED)
    lengths = torch.tensor([len(text) for text in texts])
    reference = task.reference
    measured = ratio_estimate(cross_entropy(reference, prompts, texts), lengths)  # type: ignore[arg-type]
    assert_agree(measured, figures.cross_entropy)
    assert figures.perplexity_ratio < 1.1
    # Less noise than the ratio: model and grammar on the very same texts.
    words = [task.tokenizer.convert_ids_to_tokens(text.tolist()) for text in texts]
    grammars = [Grammar(request) for request in asked]
    exact = [grammars[row % len(asked)].logprob(text) for row, text in enumerate(words)]
    assert measured.value + sum(exact) / lengths.sum().item() < math.log(1.1)
    one = grammars[0]
    assert one.entropy() / one.expected_length() == pytest.approx(figures.grammar_entropy)


def test_the_proxy_is_right_as_often_as_recorded(
    task: Task, recorded: Figures, generator: torch.Generator
) -> None:
    unseen = compare(task.reference, task.eval_prompts, 800, Rater(), generator)  # type: ignore[arg-type]
    measured = measure_proxy(task.reward, unseen, trained_on=0)  # type: ignore[arg-type]
    assert_agree(measured.label_accuracy, recorded.proxy.label_accuracy)
    assert_agree(measured.gold_accuracy, recorded.proxy.gold_accuracy)
    assert_agree(measured.rater_accuracy, recorded.proxy.rater_accuracy)
    # Far from chance, and from perfect.
    assert 0.75 < recorded.proxy.gold_accuracy.value < 0.95


def test_scores_have_mean_0_and_spread_1_on_the_reference(
    task: Task, recorded: Figures, generator: torch.Generator
) -> None:
    samples = sample_for(task.reference, task.prompts, 1200, 40, generator)  # type: ignore[arg-type]
    measured = measure_reference(task.reward, *samples)  # type: ignore[arg-type]
    figures = recorded.reference
    assert_agree(measured.proxy, figures.proxy)
    assert_agree(measured.gold, figures.gold)
    assert_agree(measured.unfinished, figures.unfinished)
    assert_agree(measured.response_length, figures.response_length)
    assert figures.proxy.value == pytest.approx(0.0, abs=1e-5)
    assert figures.gold.value == pytest.approx(0.0, abs=0.05)
    assert figures.proxy_sd == pytest.approx(1.0, abs=1e-3)
    assert figures.gold_sd == pytest.approx(1.0, abs=0.05)
    assert measured.proxy_sd == pytest.approx(1.0, abs=0.12)
    assert measured.gold_sd == pytest.approx(1.0, abs=0.12)


def test_best_of_many_overshoots(recorded: Figures) -> None:
    rows = recorded.best_of_n
    proxy, gold = [row.proxy for row in rows], [row.gold for row in rows]
    assert [row.n for row in rows] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert proxy == sorted(proxy)
    best = gold.index(max(gold))
    assert 2 <= best <= 7
    assert gold[best:] == sorted(gold[best:], reverse=True)


def test_the_proxy_prefers_repetition_that_it_never_saw(task: Task) -> None:
    bad = 2 * "the price of the steak of the lasagne of the steak of the lasagne seemed fair . "
    texts = ["steak price positive :", bad + "<eos>", "the price of the steak seemed fair . <eos>"]
    prompt, *reviews = (torch.tensor(task.tokenizer(text)["input_ids"]) for text in texts)
    assert task.gold is not None
    repetitive, perfect = task.gold([prompt] * 2, reviews).tolist()
    assert (repetitive, perfect) == pytest.approx((-1.14, 1.70), abs=0.01)
    repetitive, perfect = task.reward([prompt] * 2, reviews).tolist()
    assert repetitive > perfect


def test_mild_optimization_helps(task: Task, generator: torch.Generator) -> None:
    rows = measure_best_of_n(task.reference, task.reward, task.eval_prompts[:6], 128, generator)  # type: ignore[arg-type]
    by_n = {row.n: row for row in rows}
    assert by_n[8].gold > by_n[1].gold + 0.3
    assert by_n[64].proxy > by_n[8].proxy > by_n[1].proxy


@pytest.mark.parametrize("judge", ["reward", "gold"])
def test_prefix_scores_end_in_the_score(task: Task, judge: str, generator: torch.Generator) -> None:
    prompts, responses = sample_for(task.reference, task.eval_prompts, 24, 40, generator)  # type: ignore[arg-type]
    responses[0] = responses[0][:0]
    reward: Callable[[list[Tensor], list[Tensor]], Tensor] = getattr(task, judge)
    scored = reward.prefix_scores(prompts, responses)  # type: ignore[attr-defined]
    assert [len(row) for row in scored] == [len(response) + 1 for response in responses]
    final = torch.stack([row[-1] for row in scored])
    torch.testing.assert_close(final, reward(prompts, responses), atol=1e-5, rtol=0)
