"""OpenEnv: its clients play our tasks, and its environments answer in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("openenv")

from agents import GRPO
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.tasks.openenv import task_from_openenv
from tests.clients.openenv_server import Alike, Forgetful, Repeat, Spaced, app, connected, served
from tests.dialogues import COMMA, talk_task
from tests.toys import EOS, tiny_llama, tiny_tokenizer
from wrappers.turns import TurnText
from wrappers.turns.openenv_server import openenv_app


@pytest.fixture(scope="module")
def talk() -> Task:
    return talk_task()


@pytest.fixture(scope="module")
def talking(talk: Task) -> Iterator[str]:
    with served(openenv_app(talk, sessions=2)) as url:
        yield url


@pytest.fixture(scope="module")
def repeating() -> Iterator[str]:
    with served(app(Repeat)) as url:
        yield url


def random_turns(seed: int) -> list[list[int]]:
    drawn = np.random.default_rng(seed)
    turns = [drawn.integers(2, 7, size=drawn.integers(0, 4)).tolist() for _ in range(9)]
    return [[*turn, EOS if drawn.random() < 0.1 else COMMA] for turn in turns]


def test_one_episode_is_the_same_by_tokens_by_turns_and_over_openenv(
    talk: Task, talking: str
) -> None:
    by_token, by_turn, reasons = RLHFEnv(talk), TurnText(RLHFEnv(talk)), set()
    with connected(talking) as client:
        for seed in range(12):
            first, _ = by_token.reset(seed=seed)
            prompt, info = by_turn.reset(seed=seed)
            given = client.reset(seed=seed)
            ids = first["input_ids"][first["attention_mask"] == 1].tolist()
            assert given.observation["environment_tokens"] == info["environment_tokens"] == ids
            assert given.observation["text"] == prompt
            over = False
            for number, turn in enumerate(random_turns(seed)):
                total, observation = 0.0, first
                for token in turn:
                    observation, reward, ended, _, last = by_token.step(token)
                    total += reward
                    over = over or ended
                    if over:
                        break
                text = " ".join("</s>" if token == EOS else f"w{token}" for token in turn)
                answer, own, ended, _, info = by_turn.step(text)
                result = client.step({"text": text} if number % 2 else {"tokens": turn})
                heard = result.observation
                assert result.reward == own == pytest.approx(total, abs=1e-12)
                assert result.done == ended == over
                for name in ("tokens", "environment_tokens", "reward_terms", "turn"):
                    assert heard[name] == info[name]
                assert heard["text"] == answer
                ids += heard["tokens"] + heard["environment_tokens"]
                assert ids == observation["input_ids"][observation["attention_mask"] == 1].tolist()
                if over:
                    assert heard["finish_reason"] == last["finish_reason"]
                    assert heard["score"] == last["score"]
                    reasons.add(heard["finish_reason"])
                    break
            assert over
    assert reasons == {"eos", "length", "environment"}


def test_the_state_tells_where_an_episode_stands(talking: str) -> None:
    with connected(talking) as client:
        prompt = client.reset(seed=3, episode_id="mine", prompt_index=1).observation["text"]
        answer = client.step({"text": "w2"}).observation["text"]
        state = client.state()
    assert (state["episode_id"], state["step_count"], state["task"]) == ("mine", 1, "talk")
    assert (state["prompt_index"], prompt) == (1, "w3 w2")
    assert state["text"].split() == [*prompt.split(), "w2", "w7", *answer.split()]


def test_sessions_do_not_hear_each_other(talking: str) -> None:
    with connected(talking) as one, connected(talking) as other:
        alone = []
        for client in (one, other):
            client.reset(seed=5)
            alone.append([client.step({"text": "w2"}).observation for _ in range(2)])
        one.reset(seed=5)
        other.reset(seed=5)
        mixed = [client.step({"text": "w2"}).observation for client in (one, other, one, other)]
    assert mixed[0::2] == mixed[1::2] == alone[0] == alone[1]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({}, "either text or tokens, got neither"),
        ({"text": "w2", "tokens": [2]}, "got both"),
        ({"text": "hello"}, "cannot be encoded"),
        ({"tokens": [99]}, r"must be in \[0, 31\]"),
        ({"word": "w2"}, "Invalid message"),
    ],
)
def test_what_is_no_turn_is_refused_and_the_session_goes_on(
    talking: str, action: dict[str, Any], message: str
) -> None:
    with connected(talking) as client:
        client.reset(seed=0)
        with pytest.raises(RuntimeError, match=message):
            client.step(action)
        assert client.step({"text": "w2"}).observation["tokens"] == [2, COMMA]


def test_options_are_checked_before_anything_is_served() -> None:
    with pytest.raises(ValueError, match="no option 'kl_coeff'; did you mean 'kl_coef'"):
        openenv_app("toy15", kl_coeff=0.1)
    with pytest.raises(ValueError, match="sessions must be an integer >= 1, got 0"):
        openenv_app("toy15", sessions=0)


def repeat_task(url: str, **options: Any) -> Task:
    given: dict[str, Any] = {"prompts": 4, "eval_prompts": 2, "end_of_turn_id": COMMA, **options}
    return task_from_openenv(
        url,
        tiny_llama(),
        tokenizer=tiny_tokenizer(),
        to_action=lambda text: {"message": text},
        to_text=lambda observation: observation["reply"],
        max_new_tokens=10,
        max_environment_tokens=12,
        **given,
    )


def closing(task: Task) -> Any:
    return task.reward.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("sessions", [1, 3])
def test_their_environment_answers_and_pays_in_ours(repeating: str, sessions: int) -> None:
    task = repeat_task(repeating, sessions=sessions)
    assert [ids.tolist() for ids in task.prompts] == [[2], [3], [4], [5]]
    assert [ids.tolist() for ids in task.eval_prompts] == [[6], [7]]
    env = TurnText(RLHFEnv(task, kl_coef=0.0))
    prompt, _ = env.reset(options={"prompt_index": 1})
    steps = [env.step(text) for text in ("w3", "w4 w5", "w3 w3")]
    closing(task)
    assert prompt == "w3"
    # The word that is said back, and which turn it was.
    assert [step[0] for step in steps] == ["w3 w11", "w4 w12", ""]
    assert [step[1] for step in steps] == [0.0, 0.0, 2.0]
    assert [step[2] for step in steps] == [False, False, True]
    assert steps[-1][4]["finish_reason"] == "environment"


def test_rows_take_turns_and_a_session_repeats_what_was_said(repeating: str) -> None:
    task = repeat_task(repeating)
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=task, kl_coef=0.0)
    rollout = GRPO(envs, episodes_per_update=16, group_size=4, seed=0).collect()
    many = repeat_task(repeating, sessions=3)
    for row, (prompt, said) in enumerate(zip(rollout.prompts(), rollout.responses(), strict=True)):
        own = rollout.responses_are_actions()[row].tolist()
        words, paid, turn = said.tolist(), 0.0, []
        for place, (token, is_own) in enumerate(zip(words, own, strict=True)):
            turn += [token] if is_own else []
            if is_own and token in (COMMA, EOS):
                paid += turn[0] == int(prompt[0])
                turn = []
                assert many.step_scores is not None
                assert many.step_scores([prompt], [said[: place + 1]]).tolist() == [paid]
        assert float(rollout.score[row]) == paid == float(many.reward([prompt], [said])[0])
    assert rollout.score.max() >= 1
    assert bool((~rollout.is_action).any(dim=1).all())
    closing(task)
    closing(many)


def test_an_environment_that_says_something_else_the_second_time_is_found_out() -> None:
    with served(app(Forgetful)) as url:
        task = repeat_task(url)
        env = TurnText(RLHFEnv(task))
        env.reset(options={"prompt_index": 0})
        env.step("w3")
        task.respond([torch.tensor([3])], [torch.tensor([4, COMMA])], [])  # type: ignore[misc]
        with pytest.raises(ValueError, match="seed 0 did not say what it said before"):
            env.step("w3")
        closing(task)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Spaced, {}, "as the same, of the seeds 0 and 1 for the same prompt 'w2 '"),
        (Repeat, {"to_text": None}, r"no text in the field \"text\", got \['metadata', 'reply'\]"),
        (Repeat, {"prompts": 0}, "prompts must be an integer >= 1, got 0"),
        (Repeat, {"max_turns": 0}, "max_turns must be an integer >= 1, got 0"),
    ],
)
def test_what_cannot_be_a_task_is_refused(
    kind: type, options: dict[str, Any], message: str
) -> None:
    with served(app(kind)) as url, pytest.raises(ValueError, match=message):
        if "to_text" in options:
            task_from_openenv(url, tiny_llama(), tokenizer=tiny_tokenizer())
        else:
            repeat_task(url, **options)


def test_a_seed_that_is_not_told_by_the_first_observation_is_left_out() -> None:
    with served(app(Alike)) as url:
        with pytest.warns(UserWarning, match="left out 5 of 6 seeds"):
            task = repeat_task(url)
        closing(task)
    assert [ids.tolist() for ids in (*task.prompts, *task.eval_prompts)] == [[2], [2]]


def test_a_foreign_prompt_and_a_server_that_is_away_are_named(repeating: str) -> None:
    task = repeat_task(repeating)
    with pytest.raises(ValueError, match="none that the OpenEnv environment gave, got 'w20'"):
        task.reward([torch.tensor([20])], [torch.tensor([2, COMMA])])
    closing(task)
    with pytest.raises(ConnectionError):
        repeat_task("http://127.0.0.1:9")


def test_ours_may_be_the_other_side_of_ours(talk: Task) -> None:
    """What is served is a conversation, and so is what is made of it."""

    def back(prompts: Any, histories: Any, generators: Any) -> list[Any]:
        return [history[-2:-1] + 1 for history in histories]

    prompts = [torch.tensor([word]) for word in range(2, 7)]
    served_task = dataclasses.replace(talk, respond=back, prompts=prompts, eval_prompts=())
    with served(openenv_app(served_task, kl_coef=0.0)) as url:
        task = task_from_openenv(
            url,
            tiny_llama(),
            tokenizer=tiny_tokenizer(),
            prompts=1,
            eval_prompts=0,
            end_of_turn_id=COMMA,
            max_environment_tokens=12,
            max_new_tokens=12,
        )
        env = TurnText(RLHFEnv(task, kl_coef=0.0))
        env.reset(seed=0)
        heard = [env.step(text)[0] for text in ("w3", "w5")]
        closing(task)
    assert heard == ["w4", "w6"]
