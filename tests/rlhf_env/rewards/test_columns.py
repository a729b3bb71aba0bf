"""The columns of a prompt's row reach a reward function, however an episode is paid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from agents import GRPO, collect
from rlhf_env.rewards import Ensemble, OwnRandomness, TimeLimit
from rlhf_env.rewards.protocol import as_reward, score
from rlhf_env.task import Task
from tests.rlhf_env.text.test_text_ids import byte_tokenizer
from tests.toys import tiny_llama, tiny_tokenizer
from wrappers import vector

ROWS = [
    {"prompt": "w2", "answer": "w7", "level": 1},
    {"prompt": "w3 w2", "answer": "w9", "level": 2},
    {"prompt": "w4", "answer": "w5", "level": 3},
]
# The right token, and the level, by the first token of the prompt; token i is the word "w<i>".
ANSWERS = {2: (7, 1), 3: (9, 2), 4: (5, 3)}
WRAPPERS = [None, vector.EveryK, vector.PrefixReward, vector.SequenceBandit]
CHAT = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "1 + 1"}]


def right(prompts: Any, completions: list[str], answer: list[str], **columns: Any) -> list[float]:
    """The level of the prompt for every right word."""
    levels = columns["level"]
    rows = zip(completions, answer, levels, strict=True)
    return [float(level * text.split().count(word)) for text, word, level in rows]


def worth(prompt: Tensor, response: Tensor) -> float:
    """What `right` pays, from the token ids."""
    token, level = ANSWERS[int(prompt[0])]
    return float(level * (response == token).sum())


def task_of(prompts: Any = ROWS, reward: Any = right, **more: Any) -> Task:
    return Task.from_pretrained(
        tiny_llama(),
        tokenizer=tiny_tokenizer(),
        reward=reward,
        prompts=prompts,
        max_new_tokens=8,
        kl_coef=0.0,
        **more,
    )


def envs_of(task: Task, **options: Any) -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task=task, **options)


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_every_kind_of_data_set(jsonl: Path) -> None:
    by_hand = Task(
        name="by hand",
        tokenizer=tiny_tokenizer(),
        reference=tiny_llama(),
        reward=right,
        prompts=ROWS,  # type: ignore[arg-type]
    )
    for task in (task_of(), task_of(Dataset.from_list(ROWS)), task_of(jsonl), by_hand):
        said = [torch.tensor([7, 9, 5, 5])] * 3
        assert score(task.reward, list(task.prompts), said).tolist() == [1.0, 2.0, 6.0]


def test_an_environment_pays_by_them() -> None:
    env = gym.make("RLHF-v0", task=task_of())
    for index, (token, level) in enumerate(ANSWERS.values()):
        env.reset(options={"prompt_index": index})
        paid = 0.0
        for action in (token, token, 1):
            paid += float(env.step(action)[1])
        assert paid == 2.0 * level


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_rollouts_are_paid_by_them(wrap: Any, fast: bool) -> None:
    task = task_of(eval_prompts=[ROWS[2], ROWS[0]])
    envs = envs_of(task)
    if wrap is not None:
        envs = wrap(envs, **({"k": 3} if wrap is vector.EveryK else {}))
    agent = GRPO(envs, episodes_per_update=8)
    for prompts in (None, task.eval_prompts):
        rollout = collect(envs, agent.policy, 24, fast=fast, seed=0, prompts=prompts)
        pairs = list(zip(rollout.prompts(), rollout.responses(), strict=True))
        expected = [worth(*pair) for pair in pairs]
        assert sum(expected) > 0
        assert rollout.score.tolist() == expected
        if wrap is vector.PrefixReward:
            # Every token is paid the score of the whole prefix.
            expected = [sum(worth(p, r[:t]) for t in range(1, len(r) + 1)) for p, r in pairs]
        paid = rollout.reward_terms["score"].sum(1)
        torch.testing.assert_close(paid, torch.tensor(expected), atol=1e-4, rtol=0)


def test_an_agent_is_evaluated_by_them() -> None:
    agent = GRPO(envs_of(task_of(gold=right)), episodes_per_update=8)
    figures = agent.evaluate(32)
    assert figures["gold"] == figures["score"] > 0


def test_rewards_around_a_function_hand_them_on() -> None:
    around = Ensemble([TimeLimit(right, 60), OwnRandomness(right)], rule="mean")
    task = task_of(reward=around)
    said = [torch.tensor([7, 9, 5, 5])] * 3
    assert score(task.reward, list(task.prompts), said).tolist() == [1.0, 2.0, 6.0]


def test_another_reward_and_other_prompts_for_a_task() -> None:
    def length(prompts: Any, responses: list[str]) -> list[float]:
        return [float(len(text.split())) for text in responses]

    task = replace(task_of(reward=length), reward=right)
    longer = replace(task, prompts=[{"prompt": "w6", "answer": "w8", "level": 5}])
    said = [torch.tensor([7, 8])]
    assert score(longer.reward, [torch.tensor([6])], said).tolist() == [5.0]
    assert score(longer.reward, [torch.tensor([2])], said).tolist() == [1.0]
    assert replace(longer, max_new_tokens=4).reward is longer.reward


def test_token_ids_of_the_responses_and_of_a_function_of_ids() -> None:
    def ids(completions: Any, completion_ids: list[list[int]]) -> list[float]:
        return [float(sum(row)) for row in completion_ids]

    def of_ids(prompts: list[Tensor], responses: list[Tensor], level: list[int]) -> list[float]:
        return [float(n * row.sum()) for row, n in zip(responses, level, strict=True)]

    said = [torch.tensor([3, 4])]
    assert score(task_of(reward=ids).reward, [torch.tensor([4])], said).tolist() == [7.0]
    assert score(task_of(reward=of_ids).reward, [torch.tensor([4])], said).tolist() == [21.0]


def chat_task(reward: Any, **columns: Any) -> Task:
    tokenizer = byte_tokenizer()
    return Task(
        name="chat",
        tokenizer=tokenizer,
        reference=tiny_llama(vocab_size=len(tokenizer)),
        reward=reward,
        prompts=[{"prompt": CHAT, **columns}],  # type: ignore[list-item]
    )


def test_chats_are_messages() -> None:
    seen: list[Any] = []

    def as_in_trl(prompts: Any, completions: Any, answer: Any, **columns: Any) -> list[float]:
        seen.append((prompts, completions))
        said = [completion[0]["content"] for completion in completions]
        return [float(text == word) for text, word in zip(said, answer, strict=True)]

    def of_texts(prompts: Any, responses: Any) -> list[float]:
        seen.append((prompts, responses))
        return [0.0] * len(responses)

    task = chat_task(as_in_trl, answer="2")
    two = torch.tensor(task.tokenizer.encode("2", add_special_tokens=False))
    assert score(task.reward, [task.prompts[0]] * 2, [two, two[:0]]).tolist() == [1.0, 0.0]
    said = [[{"role": "assistant", "content": text}] for text in ("2", "")]
    assert seen.pop() == ([CHAT, CHAT], said)
    task = chat_task(of_texts)
    score(task.reward, [task.prompts[0]], [two])
    assert seen.pop() == ([CHAT], ["2"])


def test_a_function_that_writes_into_them_changes_nothing() -> None:
    def vandal(prompts: Any, completions: Any, words: list[list[str]]) -> list[float]:
        counts = [float(len(row)) for row in words]
        for row, prompt in zip(words, prompts, strict=True):
            row.clear()
            prompt.clear()
        return counts

    task = chat_task(vandal, words=["a", "b"])
    for _ in range(2):
        assert score(task.reward, [task.prompts[0]], [torch.tensor([7])]).tolist() == [2.0]


class TestRefused:
    def test_a_column_that_is_missing(self) -> None:
        def f(prompts: Any, completions: Any, solution: Any) -> Any: ...

        expected = r"reward f .* prompts, responses and the columns \['answer', 'level'\], got .*so"
        with pytest.raises(TypeError, match=expected):
            Task.from_pretrained("nowhere", reward=f, prompts=ROWS)
        with pytest.raises(TypeError, match=r"nothing but prompts and responses, got .*solution"):
            task_of(["w2"], reward=f)
        with pytest.raises(TypeError, match="nothing but prompts and responses"):
            score(as_reward(f, tiny_tokenizer()), [torch.tensor([2])], [torch.tensor([2])])

    def test_rows_that_contradict_each_other(self) -> None:
        twice = [*ROWS, {"prompt": "w2", "answer": "w8", "level": 1}]
        with pytest.raises(ValueError, match="one 'answer' for each prompt, got 'w7' and 'w8' for"):
            task_of(twice)

        def level_only(completions: Any, level: list[int], **columns: Any) -> list[float]:
            assert "answer" not in columns
            return [float(n) for n in level]

        task = task_of(twice, reward=level_only)
        assert score(task.reward, [task.prompts[3]], [torch.tensor([2])]).tolist() == [1.0]

    def test_a_prompt_that_is_none_of_the_task(self) -> None:
        other = [torch.tensor([11, 12])]
        with pytest.raises(ValueError, match=r"the column 'answer' .*'w11 w12', which is not"):
            score(task_of().reward, other, [torch.tensor([2])])

        def if_known(completions: Any, answer: Any = (), **columns: Any) -> list[float]:
            return [float(word is None) for word in answer]

        assert score(task_of(reward=if_known).reward, other, [torch.tensor([2])]).tolist() == [1.0]
