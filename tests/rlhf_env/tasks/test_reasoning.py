"""Tasks of reasoning-gym's generators and verifiers."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import pytest
import torch

from agents import GRPO
from rlhf_env.env import RLHFEnv
from rlhf_env.extras import MissingExtraError
from rlhf_env.task import Task
from rlhf_env.tasks import task_from_reasoning_gym
from rlhf_env.tasks.reasoning import tagged_or_all
from tests.rlhf_env.text.test_text_ids import byte_tokenizer
from tests.toys import tiny_llama
from wrappers.turns import TurnText

NAMES = ("chain_sum", "spell_backward", "number_sorting")


@pytest.fixture(autouse=True)
def _needs_the_package(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("reasoning_gym")


def made(name: str, **options: Any) -> Task:
    tokenizer = byte_tokenizer(adds_start=False)
    given: dict[str, Any] = {"prompts": 6, "eval_prompts": 3, "max_prompt_tokens": 900, **options}
    return task_from_reasoning_gym(
        name,
        tiny_llama(len(tokenizer)),
        tokenizer=tokenizer,
        max_new_tokens=24,
        **given,
    )


def question_and_entry(task: Task, ids: torch.Tensor) -> tuple[str, dict[str, Any]]:
    row = task.rows.of(ids)
    assert row is not None
    return row.prompt, row.columns["entry"]


@pytest.mark.filterwarnings("ignore:left out")
@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_is_paid_and_a_wrong_one_is_not(name: str) -> None:
    task = made(name)
    assert (len(task.prompts), len(task.eval_prompts)) == (6, 3)
    assert task.name == name
    for ids in (*task.prompts, *task.eval_prompts):
        question, entry = question_and_entry(task, ids)
        assert task.decode(ids) == question == entry["question"]
        said = [entry["answer"], f"so <answer>{entry['answer']}</answer> it is", "?"]
        encoded = [torch.tensor(task.tokenizer(text)["input_ids"]) for text in said]
        assert task.reward([ids] * 3, encoded).tolist() == [1.0, 1.0, 0.0]


def test_an_episode_is_paid_through_the_environment() -> None:
    task = made("chain_sum", max_prompt_tokens=100)
    env = TurnText(RLHFEnv(task, kl_coef=0.0))
    question, _ = env.reset(options={"prompt_index": 2})
    terms = question.split(": ")[1].removesuffix(" =")
    # Plus and minus only, of numbers that the test reads itself.
    total = sum(int(term) for term in terms.replace("- ", "-").replace("+ ", "").split())
    _, reward, terminated, _, info = env.step(str(total))
    assert (reward, terminated, info["finish_reason"]) == (1.0, True, "eos")


def test_questions_follow_from_the_seed_and_those_to_evaluate_on_are_others() -> None:
    tasks = [made("chain_sum", seed=seed) for seed in (1, 1, 2)]
    asked = [[question_and_entry(task, ids)[0] for ids in task.prompts] for task in tasks]
    assert asked[0] == asked[1]
    # The generator's own seeds are consecutive.
    assert asked[0][1:] == asked[2][:-1]
    held_out = {question_and_entry(task, ids)[0] for task in tasks for ids in task.eval_prompts}
    assert not held_out & {question for questions in asked for question in questions}


def test_settings_and_prompts_are_the_users() -> None:
    task = made(
        "chain_sum",
        settings={"min_terms": 2, "max_terms": 2},
        to_prompt=lambda question: f"Think. {question}",
        to_answer=lambda response: response.partition("#")[0],
    )
    question, entry = question_and_entry(task, task.prompts[0])
    assert question == f"Think. {entry['question']}"
    assert entry["metadata"]["num_terms"] == 2
    said = torch.tensor(task.tokenizer(f"{entry['answer']}# of course")["input_ids"])
    assert task.reward([task.prompts[0]], [said]).tolist() == [1.0]


def test_a_question_that_comes_twice_is_asked_once() -> None:
    with pytest.warns(UserWarning, match=r"left out \d+ of 230 questions of 'coin_flip'"):
        task = made("coin_flip", prompts=200, eval_prompts=30)
    questions = [question_and_entry(task, ids)[0] for ids in (*task.prompts, *task.eval_prompts)]
    assert len(set(questions)) == len(questions) < 230


def test_an_answer_that_breaks_the_verifier_scores_nothing() -> None:
    task = made("prime_factorization", prompts=1, eval_prompts=0)
    said = torch.tensor(task.tokenizer("(((")["input_ids"])
    assert task.reward([task.prompts[0]], [said]).tolist() == [0.0]


def test_an_agent_trains_on_it() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=made("chain_sum", max_prompt_tokens=100))
    rollout = GRPO(envs, episodes_per_update=8, group_size=4, seed=0).collect()
    assert rollout.score.shape == (8,)
    assert bool(((rollout.score >= 0) & (rollout.score <= 1)).all())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("chain_sums", {}, "no data set 'chain_sums'; did you mean 'chain_sum'"),
        ("chain_sum", {"settings": {"terms": 2}}, r"refuses the settings \{'terms': 2\}"),
        ("chain_sum", {"settings": {"max_terms": 0}}, "max_terms must be >= min_terms"),
        ("chain_sum", {"prompts": 0}, "prompts must be an integer >= 1, got 0"),
        ("chain_sum", {"seed": -1}, "seed must be an integer >= 0, got -1"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(name, **options)


def test_the_extra_is_named_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reasoning_gym", "reasoning_gym.factory"):
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match=r"reasoning_gym.*'rlhf-env\[reasoning\]'"):
        made("chain_sum")


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("7", "7"),
        (" 7\n", "7"),
        ("<answer>1</answer> no, <answer> 2\n</answer>", "2"),
        ("<answer>3", "<answer>3"),
        ("", ""),
    ],
)
def test_the_answer_without_tags_is_the_whole_text(response: str, answer: str) -> None:
    assert tagged_or_all(response) == answer
