"""Conversations in the environment: what enters the text, what is paid, and how it ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import rlhf_env  # noqa: F401
from tests.dialogues import COMMA, chatty, silent, talk_task
from tests.toys import EOS, tiny_llama_task


def scripted(*answers: list[int] | None) -> Any:
    """A user who says these things in turn, to everybody."""

    def respond(prompts: list[Tensor], histories: list[Tensor], generators: Any) -> list[Any]:
        turns = [int((ids == COMMA).sum()) - 1 for ids in histories]
        found = [answers[turn] if turn < len(answers) else None for turn in turns]
        return [None if ids is None else torch.tensor(ids, dtype=torch.int64) for ids in found]

    return respond


def played(
    env: Any, actions: list[int], prompt: int = 1
) -> list[tuple[float, bool, dict[str, Any]]]:
    """Take some actions from the prompt (3, 2) on; the reward, end and info of each."""
    env.reset(seed=0, options={"prompt_index": prompt})
    steps = [env.step(action) for action in actions]
    return [(float(reward), terminated, info) for _, reward, terminated, _, info in steps]


def shown(env: Any) -> list[int]:
    """The text that the environment shows, without padding."""
    mdp = env.unwrapped.mdp
    return mdp.tokens[0, : mdp.lengths[0]].tolist()


def test_the_environment_answers_after_the_end_of_a_turn() -> None:
    task = talk_task(scripted([9, 9, 4], []))
    env = gym.make("RLHF-v0", task=task)
    steps = played(env, [5, COMMA, 6, COMMA, EOS])
    assert shown(env) == [3, 2, 5, COMMA, 9, 9, 4, 6, COMMA, EOS]
    mdp = env.unwrapped.mdp  # type: ignore[attr-defined]
    assert mdp.is_action(0).int().tolist() == [1, 1, 0, 0, 0, 1, 1, 1]
    assert [info["turn"] for _, _, info in steps] == [0, 0, 1, 1, 2]
    assert [ended for _, ended, _ in steps] == [False, False, False, False, True]
    assert steps[-1][2]["finish_reason"] == "eos"
    assert steps[-1][2]["response_length"] == 5.0


def test_only_actions_pay_kl_and_the_score_sees_all_that_was_said() -> None:
    env = gym.make("RLHF-v0", task=talk_task(scripted([5, 5, 5]), kl_coef=0.5))
    steps = played(env, [COMMA, EOS])
    # The reward: a point for each 5 and a tenth less for each token.
    assert steps[-1][2]["score"] == pytest.approx(3 - 0.5)
    assert all("kl" in info["reward_terms"] for _, _, info in steps)
    assert len(env.unwrapped._steps) == 2  # type: ignore[attr-defined]


def test_none_ends_the_episode_by_the_environment() -> None:
    env = gym.make("RLHF-v0", task=talk_task(scripted([9], None)))
    steps = played(env, [COMMA, COMMA])
    assert steps[-1][1]
    assert steps[-1][2]["finish_reason"] == "environment"


def test_max_turns_end_the_episode_without_asking() -> None:
    env = gym.make("RLHF-v0", task=talk_task(scripted([9], [9], [9]), max_turns=2))
    steps = played(env, [COMMA, COMMA])
    assert steps[-1][1]
    assert shown(env)[2:] == [COMMA, 9, COMMA]


def test_the_limit_counts_actions_only() -> None:
    env = gym.make("RLHF-v0", task=talk_task(scripted([9] * 20), horizon=3))
    steps = played(env, [COMMA, 5, 6])
    assert [ended for _, ended, _ in steps] == [False, False, True]
    assert steps[-1][2]["finish_reason"] == "length"


def test_eos_can_end_the_turn() -> None:
    def once(prompts: Any, histories: list[Tensor], generators: Any) -> list[Any]:
        return [torch.tensor([9]) if len(ids) == 1 else None for ids in histories]

    env = gym.make("RLHF-v0", task=talk_task(once, end_of_turn_id=None))
    steps = played(env, [EOS, EOS])
    assert [ended for _, ended, _ in steps] == [False, True]
    assert steps[-1][2]["finish_reason"] == "eos"


def test_a_user_with_nothing_to_say_is_a_single_turn() -> None:
    quiet = talk_task(silent, end_of_turn_id=None, max_environment_tokens=1)
    alone = tiny_llama_task(horizon=12)
    envs = [gym.make_vec("RLHF-v0", num_envs=3, task=task) for task in (quiet, alone)]
    rng = np.random.default_rng(0)
    seen = [each.reset(seed=4) for each in envs]
    for _ in range(40):
        assert seen[0][0]["input_ids"][:, :17].tolist() == seen[1][0]["input_ids"].tolist()
        actions = rng.choice([EOS, 5, 6, 7], size=3)
        one, other = (each.step(actions) for each in envs)
        assert one[1].tolist() == other[1].tolist()
        assert one[2].tolist() == other[2].tolist()
        seen = [one, other]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_rows_are_environments(mode: str) -> None:
    """Rows of the vector environment say and are told what single environments do."""
    task = talk_task(chatty)
    envs = gym.make_vec("RLHF-v0", num_envs=3, task=task, autoreset_mode=mode)
    alone = [gym.make("RLHF-v0", task=talk_task(chatty)) for _ in range(3)]
    envs.reset(seed=11)
    for row, env in enumerate(alone):
        env.reset(seed=11 + row)
    rng, pending = np.random.default_rng(1), np.zeros(3, dtype=bool)
    for _ in range(60):
        actions = rng.choice([COMMA, COMMA, EOS, 5, 6, 8], size=3)
        observation, rewards, terminated, _, info = envs.step(actions)
        for row, env in enumerate(alone):
            if pending[row]:
                own, _ = env.reset()
            else:
                own, reward, ended, _, told = env.step(int(actions[row]))
                assert reward == pytest.approx(float(rewards[row]), abs=1e-6)
                assert ended == bool(terminated[row])
                where = info["final_info"] if mode == "SameStep" and ended else info
                assert where["turn"][row] == told["turn"]
                if ended:
                    assert where["finish_reason"][row] == told["finish_reason"]
                if mode == "SameStep" and ended:
                    assert info["final_obs"][row]["input_ids"].tolist() == own["input_ids"].tolist()
                    own, _ = env.reset()
            assert observation["input_ids"][row].tolist() == own["input_ids"].tolist()
        pending = terminated & (mode == "NextStep")
        if mode == "Disabled" and terminated.any():
            envs.reset(options={"reset_mask": terminated})
            for row in terminated.nonzero()[0]:
                alone[row].reset()


def test_a_failing_user_leaves_the_episode_as_it_was() -> None:
    calls = []

    def broken(prompts: Any, histories: Any, generators: Any) -> list[Any]:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the tool is down")
        return [torch.tensor([9])]

    env = gym.make("RLHF-v0", task=talk_task(broken))
    env.reset(seed=0, options={"prompt_index": 0})
    with pytest.raises(OSError, match="the tool is down"):
        env.step(COMMA)
    assert shown(env) == [2]
    env.step(COMMA)
    assert shown(env) == [2, COMMA, 9]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "respond must return 1 answers, got 0"),
        (
            [torch.tensor([[9]])],
            r"a vector of token ids or None, got torch.int64 of shape \[1, 1\]",
        ),
        ([torch.tensor([0.5])], "a vector of token ids or None, got torch.float32"),
        ([torch.tensor([40])], r"token ids in \[0, 32\), got 40 to 40"),
        (["hello"], "vector of token ids or None, got 'hello'; encode a text"),
        ([torch.full((41,), 9)], "said 41 tokens where max_environment_tokens leaves 40"),
    ],
)
def test_answers_that_cannot_be_used(answers: list[Any], message: str) -> None:
    env = gym.make("RLHF-v0", task=talk_task(lambda *given: answers))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(COMMA)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"respond": None}, "max_environment_tokens is of conversations"),
        ({"respond": "hello"}, "respond must be a function"),
        (
            {"respond": lambda prompts, histories: []},
            r"respond must take \(prompts, histories, generators\), got .*: too many",
        ),
        (
            {"respond": lambda prompts, histories, generators, more: []},
            "respond must take .*: missing a required argument: 'more'",
        ),
        (
            {"step_scores": lambda histories: []},
            r"step_scores must take \(prompts, histories\), got .*\(histories\)",
        ),
        ({"max_environment_tokens": 0}, "max_environment_tokens must be an integer >= 1"),
        ({"max_turns": 0}, "max_turns must be an integer >= 1"),
        ({"end_of_turn_id": 32}, "end_of_turn_id must be one of the 32 token ids, got 32"),
    ],
)
def test_tasks_that_cannot_be_conversations(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        talk_task(**{"respond": silent, **fields})


def test_the_terminal_shows_both_sides() -> None:
    env = gym.make("RLHF-v0", task=talk_task(scripted([9, 4])), render_mode="ansi")
    played(env, [COMMA, 5])
    lines = str(env.render()).splitlines()
    assert ["score" in line for line in lines] == [False, True, False, False, True]
    assert "w9" in lines[2]
