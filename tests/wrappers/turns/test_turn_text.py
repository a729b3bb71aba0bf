"""Whole turns as texts: the same episodes as token by token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
import wrappers
from agents import GRPO
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.testing.as_one import AsOne
from tests.dialogues import COMMA, chatty, talk_task
from tests.toys import EOS, FAVORITE, tiny_llama_task
from wrappers.turns import TurnText


def by_tokens(task: Task, seed: int, **options: Any) -> tuple[list[list[int]], list[Any]]:
    """The turns of a random episode, and what each of its steps returned."""
    env, drawn = RLHFEnv(task, **options), np.random.default_rng(seed)
    env.reset(seed=seed)
    turns: list[list[int]] = [[]]
    steps, ended = [], False
    while not ended:
        token = int(drawn.choice([EOS, COMMA, 2, 3, FAVORITE, 8], p=[0.05, 0.3, *[0.1625] * 4]))
        steps.append(env.step(token))
        turns[-1].append(token)
        ended = steps[-1][2] or steps[-1][3]
        if token == COMMA and not ended:
            turns.append([])
    return turns, steps


def as_text(ids: list[int]) -> str:
    return " ".join("</s>" if token == EOS else f"w{token}" for token in ids)


@pytest.mark.parametrize("say", [as_text, list], ids=["texts", "ids"])
@pytest.mark.parametrize("limit", ["score", "bootstrap"])
def test_an_episode_is_the_same_by_turns_and_by_tokens(
    say: Callable[[list[int]], Any], limit: str
) -> None:
    task, reasons = talk_task(), set()
    env = TurnText(RLHFEnv(task, length_limit=limit))
    for seed in range(30):
        turns, steps = by_tokens(task, seed, length_limit=limit)
        prompt, info = env.reset(seed=seed)
        ids, rewards, taken = info["environment_tokens"], [], 0
        assert prompt == as_text(ids)
        for number, turn in enumerate(turns):
            answer, reward, terminated, truncated, info = env.step(say(turn))
            assert info["tokens"] == turn
            assert info["turn"] == number == steps[taken + len(turn) - 1][4]["turn"]
            assert answer == as_text(info["environment_tokens"])
            parts = [step[4]["reward_terms"] for step in steps[taken : taken + len(turn)]]
            for name in ("score", "kl"):
                assert info["reward_terms"][name] == sum(part[name] for part in parts)
            ids += turn + info["environment_tokens"]
            rewards.append(reward)
            taken += len(turn)
        last = steps[-1]
        assert taken == len(steps)
        assert (terminated, truncated) == last[2:4]
        assert info["finish_reason"] == last[4]["finish_reason"]
        assert info["score"] == last[4]["score"]
        assert ids == last[0]["input_ids"][last[0]["attention_mask"] == 1].tolist()
        assert sum(rewards) == pytest.approx(sum(step[1] for step in steps), abs=1e-12)
        reasons.add((info["finish_reason"], truncated))
    assert {reason for reason, _ in reasons} == {"eos", "length", "environment"}
    assert (("length", True) in reasons) == (limit == "bootstrap")


def test_one_response_is_one_turn_and_its_end_may_be_left_out(toy15: Task) -> None:
    env = gym.make("RLHF-Turn-v0", task=toy15, kl_coef=0.0)
    for text in ("1", f"1 {toy15.tokenizer.eos_token}"):
        env.reset(seed=0)
        answer, reward, terminated, truncated, info = env.step(text)
        assert (answer, float(reward), terminated, truncated) == ("", 1.25, True, False)
        assert (info["tokens"], info["turn"], info["finish_reason"]) == ([1, 0], 0.0, "eos")


def test_lines_of_one_response_are_turns() -> None:
    task = dataclasses.replace(tiny_llama_task(), end_of_turn_id=COMMA)
    env = TurnText(RLHFEnv(task, kl_coef=0.0))
    env.reset(seed=0)
    first, second, third = (env.step(text) for text in ("w5 w2 w7", "w3", "w5 w5</s>"))
    assert [step[4]["tokens"] for step in (first, second, third)] == [[5, 2, 7], [3, 7], [5, 5, 1]]
    assert [step[4]["turn"] for step in (first, second, third)] == [0.0, 1.0, 2.0]
    assert not first[2] and not second[2] and third[2]
    # A point for each of three tokens 5, a tenth less for each of eight tokens.
    assert [step[1] for step in (first, second, third)] == [0.0, 0.0, pytest.approx(2.2)]


def test_the_games_are_played_by_turns() -> None:
    env = gym.make("RLHF-Turn-v0", task="countdown", kl_coef=0.0)
    env.reset(options={"prompt": "2 3 5 = 4 :"})
    lines = [env.step(line) for line in ("2 + 5 = 7 \n", "7 - 3 = 4</s>")]
    assert [float(line[1]) for line in lines] == [0.0, 1.0]
    assert [line[2] for line in lines] == [False, True]
    env = gym.make("RLHF-Turn-v0", task="guess-2", kl_coef=0.0)
    answers = set()
    for seed in range(8):
        env.reset(seed=seed, options={"prompt": "1 3"})
        answer, reward, over, _, _ = env.step("2")
        if answer:
            assert (reward, over) == (0.0, False)
            _, reward, over, _, _ = env.step("3" if answer == "higher" else "1")
        assert (reward, over) == (1.0, True)
        answers.add(answer)
    assert answers == {"", "higher", "lower"}


def test_a_turn_that_does_not_fit_is_cut_off_at_the_horizon() -> None:
    env = TurnText(RLHFEnv(talk_task(horizon=4)))
    env.reset(seed=1)
    _, _, terminated, _, info = env.step("w5 " * 9)
    assert (terminated, info["finish_reason"], info["tokens"]) == (True, "length", [5, 5, 5, 5])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("w2 w7 w3", "must be one turn, got .*, whose turn ends after 2 of 4 tokens"),
        ([EOS, 2], "whose turn ends after 1 of 3 tokens"),
        ("hello", "action cannot be encoded, got 'hello'"),
        ("\ud800", "not valid Unicode"),
        ([[2, 3]], "a text, or the token ids of a turn, got list"),
        (3, "a text, or the token ids of a turn, got int 3"),
        ([99], r"must be in \[0, 31\], got 99"),
        ([0.5], "a text, or the token ids of a turn, got list"),
        ([{"role": "user"}], "a text, or the token ids of a turn, got list"),
    ],
)
def test_what_is_no_turn_is_refused_before_anything_is_said(action: Any, message: str) -> None:
    env = TurnText(RLHFEnv(talk_task()))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert env.step("w2")[4]["tokens"] == [2, COMMA]


def test_a_text_that_is_read_as_another_is_refused() -> None:
    task = talk_task()
    tokenizer = task.tokenizer
    tokenizer.backend_tokenizer.model.unk_token = "w9"
    env = TurnText(RLHFEnv(task))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="got 'w2 hello', which it reads as 'w2 w9'; use its"):
        env.step("w2 hello")


def test_a_turn_that_was_broken_off_cannot_be_said_twice() -> None:
    calls = []

    def unsteady(*rows: Any) -> list[Tensor | None]:
        calls.append(rows)
        if len(calls) == 1:
            raise RuntimeError("the tool is away")
        return chatty(*rows)

    env = TurnText(RLHFEnv(talk_task(unsteady)))
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="the tool is away"):
        env.step("w2 w3")
    with pytest.raises(ResetNeeded, match="broken off by an error"):
        env.step("w2 w3")
    env.reset(seed=0)
    assert env.step("w2 w3")[4]["tokens"] == [2, 3, COMMA]


def test_an_episode_that_is_over_needs_a_reset(toy15: Task) -> None:
    env = TurnText(RLHFEnv(toy15))
    with pytest.raises(ResetNeeded):
        env.step("1")
    env.reset(seed=0)
    env.step("1")
    with pytest.raises(ResetNeeded):
        env.step("1")


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: "toy15", lambda: "reviews", lambda: "countdown", lambda: "guess-3"),
        *(talk_task, lambda: talk_task(end_of_turn_id=None)),
    ],
    ids=["toy15", "reviews", "countdown", "guess-3", "talk", "talk by EOS"],
)
def test_gymnasium_checker_passes(make: Callable[[], Any]) -> None:
    env = gym.make("RLHF-Turn-v0", task=make(), kl_coef=0.0)
    check_env(AsOne(env))
    for seed in range(20):
        env.action_space.seed(seed)
        env.reset(seed=seed)
        assert env.step(env.action_space.sample())[0] in env.observation_space


def test_it_can_be_made_again_from_its_spec() -> None:
    env = gym.make("RLHF-Turn-v0", task="toy15", kl_coef=0.0)
    assert str(gym.make(env.spec)) == str(env)
    wrapped = TurnText(gym.make("RLHF-v0", task="toy15"))
    assert str(gym.make(wrapped.spec)) == str(wrapped)


def test_reward_wrappers_work_inside() -> None:
    env = TurnText(wrappers.LengthPenalty(RLHFEnv(talk_task(), kl_coef=0.0), coef=0.5))
    env.reset(seed=0)
    assert env.step("w2 w3")[4]["reward_terms"]["length"] == -1.5


@pytest.mark.parametrize(
    ("inner", "options", "message"),
    [
        (lambda env: wrappers.MacroAction(env, n=2), {}, "MacroAction inside it has already"),
        (lambda env: wrappers.TopKActions(env, k=2), {}, "a wrapper that changes actions"),
        (lambda env: env, {"kl_penalty": "sampled"}, "no log-probabilities"),
    ],
)
def test_what_takes_other_actions_is_refused(
    toy15: Task, inner: Callable[[Any], Any], options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TurnText(inner(RLHFEnv(toy15, **options)))


def test_rollouts_are_divided_into_turns() -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=2, task=talk_task())
    rollout = GRPO(envs, episodes_per_update=8, seed=0).collect()
    rollout = TurnText(RLHFEnv(talk_task())).rollout(rollout)
    for row in range(8):
        own = rollout.is_action[row]
        turns = (rollout.tokens[row][own] == COMMA).long()
        assert torch.equal(rollout.decision[row][own], turns.cumsum(0) - turns)
