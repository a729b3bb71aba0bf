"""Checks of tasks and rewards: built-in ones pass, and each wrong one fails at its own check."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlhf_env import load_task, rewards
from rlhf_env.task import Task
from rlhf_env.testing import check_reward, check_task, checks, results
from tests.toys import FavoriteTokenReward, tiny_gpt2, tiny_llama_task, tiny_tokenizer

BUILT_IN = ["toy15", "reviews", "chain-8", "delay-16", "needles-8", "lock-8", "brackets-8"]


def task() -> Task:
    """Three prompts; two others to evaluate on."""
    made = tiny_llama_task(horizon=4)
    held_out = [torch.tensor([4]), torch.tensor([4, 3])]
    return dataclasses.replace(made, eval_prompts=held_out, gold=FavoriteTokenReward())


def with_forward(change: Callable[[Tensor, Any], Tensor]) -> Task:
    """A task whose reference's logits are changed by ``change(logits, inputs)``."""
    made = task()
    inner = made.reference.forward

    def forward(*args: Any, **inputs: Any) -> Any:
        answer = inner(*args, **inputs)
        answer.logits = change(answer.logits, inputs)
        return answer

    made.reference.forward = forward  # type: ignore[method-assign]
    return made


def sees_padding(logits: Tensor, inputs: Any) -> Tensor:
    """Only where there is more padding than text is something wrong, as without position ids."""
    mask = inputs.get("attention_mask")
    return logits if mask is None else logits + 0.1 * (mask == 0).sum(1)[:, None, None]


def meets_other_rows(logits: Tensor, inputs: Any) -> Tensor:
    return logits - logits.mean(0) if len(logits) == 2 else logits


def changed(make: Callable[[], Task], change: Callable[[Task], Any]) -> Task:
    made = make()
    change(made)
    return made


def shares_its_weights(made: Task) -> None:
    made.reference.__deepcopy__ = lambda memo: made.reference  # type: ignore[method-assign]


def short_window() -> Task:
    made = task()
    made.reference.config.max_position_embeddings = 8  # type: ignore[union-attr]
    return made


def narrow_output() -> Task:
    """A tokenizer of 40 tokens beside a model of 32."""
    made = task()
    object.__setattr__(made, "tokenizer", tiny_tokenizer(40))
    return made


def two_starts() -> Task:
    made = task()
    made.tokenizer.bos_token = "w2"
    object.__setattr__(made, "prompts", (torch.tensor([2, 2, 3]), *made.prompts))
    return made


def unknown_ids() -> Task:
    made = task()
    object.__setattr__(made, "eval_prompts", (torch.tensor([4, 32]),))
    return made


def leaked() -> Task:
    made = task()
    object.__setattr__(made, "eval_prompts", (made.prompts[0], torch.tensor([9])))
    return made


def with_reward(reward: Any, make: Callable[[], Task] = task) -> Task:
    made = make()
    object.__setattr__(made, "reward", reward)
    return made


def pays_silence(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.tensor([5.0 if len(ids) == 1 else 0.1 * float(ids[0]) for ids in responses])


class PaysMoreNow:
    """Each time that a response of three tokens comes alone it is paid otherwise."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.calls = 0

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        self.calls += 1
        scores = self.inner(prompts, responses)
        return scores + (1.0 if self.calls > 3 and len(responses) == 1 else 0.0)


def gold_is_reward() -> Task:
    made = task()
    object.__setattr__(made, "gold", made.reward)
    return made


TASK_FAULTS: dict[str, Callable[[], Task]] = {
    "the_reference_is_in_eval_mode": lambda: changed(task, lambda made: made.reference.train()),
    "the_reference_is_frozen": lambda: changed(
        task, lambda made: made.reference.requires_grad_(True)
    ),
    "a_copy_of_the_reference_is_another_model": lambda: changed(task, shares_its_weights),
    "the_reference_has_a_logit_for_every_token": narrow_output,
    "the_reference_does_not_see_padding": lambda: with_forward(sees_padding),
    "rows_of_the_reference_do_not_meet": lambda: with_forward(meets_other_rows),
    "an_episode_fits_the_context_window": short_window,
    "prompts_begin_once": two_starts,
    "prompts_hold_known_tokens": unknown_ids,
    "evaluation_prompts_are_others": leaked,
    "the_gold_is_not_the_reward": gold_is_reward,
    "scores_differ": lambda: with_reward(lambda p, r: torch.zeros(len(r))),
    "to_say_nothing_is_not_best": lambda: with_reward(pays_silence),
    "the_exact_optimum_is_the_tilted_reference": lambda: with_reward(
        PaysMoreNow(load_task("toy15").reward), lambda: load_task("toy15")
    ),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_task_passes_and_its_reward(name: str) -> None:
    made = load_task(name)
    check_task(made)
    check_reward(made.reward, task=made)
    if made.gold is not None:
        check_reward(made.gold, task=made)


@pytest.mark.parametrize("name", TASK_FAULTS)
def test_the_task_s_fault_is_caught_by_its_check_alone(name: str) -> None:
    found = results("task", TASK_FAULTS[name]())
    assert [result.check.name for result in found if result.status == "fail"] == [name]


def test_a_task_without_faults_passes() -> None:
    check_task(task())


class Faulty:
    """A right reward, changed."""

    def __init__(self, change: Callable[..., Any]) -> None:
        self.change = change
        self.calls = 0

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Any:
        self.calls += 1
        return self.change(self, FavoriteTokenReward()(prompts, responses).double(), responses)


def no_number(_: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    if len(scores) == 8:
        scores[5] = torch.nan
    return scores


def no_score_of_nothing(_: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    lengths = torch.tensor([float(len(ids) - 1) for ids in responses])
    return scores / lengths * lengths


def by_the_batch(_: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    return scores - scores.mean()


def moody(reward: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    return scores + (1e-6 * reward.calls)


def writing(_: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    responses[0][0] = 0
    return scores


def with_graph(_: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    return scores * torch.ones(1, dtype=torch.float64, requires_grad=True)


def rolling_dice(_: Any, scores: Tensor, responses: list[Tensor]) -> Tensor:
    torch.rand(1)
    return scores


class Awake(FavoriteTokenReward):
    def __init__(self) -> None:
        self.model = tiny_gpt2(dropout=0.1).train()


class CutPrefixes(FavoriteTokenReward):
    """The score of the first token is missing in what the last prefix has."""

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        return super().__call__(prompts, responses) + 0.5


class SeesTheEnd(FavoriteTokenReward):
    """Knows at every token but the last how long the response will be."""

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        found = super().prefix_scores(prompts, responses)
        ahead = [torch.full_like(scores, 0.01 * len(scores)) for scores in found]
        for part in ahead:
            part[-1] = 0.0
        return [scores + part for scores, part in zip(found, ahead, strict=True)]


REWARD_FAULTS: dict[str, Callable[[], Any]] = {
    "every_response_has_one_finite_score": lambda: Faulty(no_number),
    "an_empty_response_has_a_score": lambda: Faulty(no_score_of_nothing),
    "the_same_response_has_the_same_score": lambda: Faulty(moody),
    "neighbors_do_not_change_a_score": lambda: Faulty(by_the_batch),
    "it_does_not_write_into_the_ids": lambda: Faulty(writing),
    "scores_carry_no_gradient": lambda: Faulty(with_graph),
    "global_generators_stay_as_they_are": lambda: Faulty(rolling_dice),
    "its_models_are_in_eval_mode": Awake,
    "prefix_scores_end_in_the_score": CutPrefixes,
    "prefix_scores_do_not_see_the_future": SeesTheEnd,
}


@pytest.mark.parametrize("name", REWARD_FAULTS)
def test_the_reward_s_fault_is_caught_by_its_check_alone(name: str) -> None:
    found = results("reward", REWARD_FAULTS[name](), task=task())
    assert [result.check.name for result in found if result.status == "fail"] == [name]


def test_every_check_has_its_fault() -> None:
    assert {check.name for check in checks("task")} == set(TASK_FAULTS)
    assert {check.name for check in checks("reward")} == set(REWARD_FAULTS)


def test_functions_of_texts_and_ensembles_pass() -> None:
    def letters(prompts: list[str], responses: list[str]) -> list[float]:
        return [float(len(text)) for text in responses]

    made = load_task("reviews")
    check_reward(letters)
    members = [made.reward, copy.copy(made.reward)]
    check_reward(rewards.Ensemble(members, rule="worst"), task=made)
