from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import play

TASK = tiny_llama_task(vocab_size=8, horizon=4)


def test_ranks_of_toy15_follow_its_reference(toy15: Task) -> None:
    # The root's probabilities are 0.502483, 0.108773, 0.388744.
    env = wrappers.TopKActions(RLHFEnv(toy15), k=3)
    tokens = [play(env, [rank])[0][4]["token"] for rank in range(3)]
    assert tokens == [0.0, 2.0, 1.0]


def test_rank_zero_is_what_greedy_decoding_writes() -> None:
    env = wrappers.TopKActions(RLHFEnv(TASK), k=8)
    env.reset(options={"prompt_index": 1})
    text = TASK.prompts[1]
    for _ in range(4):
        logits = TASK.reference(input_ids=text[None]).logits[0, -1]
        *_, terminated, _, info = env.step(0)
        assert info["token"] == float(logits.argmax())
        if terminated:
            break
        text = torch.cat([text, logits.argmax()[None]])


def test_eos_can_be_kept_within_reach() -> None:
    plain = wrappers.TopKActions(RLHFEnv(TASK), k=2)
    kept = wrappers.TopKActions(RLHFEnv(TASK), k=2, always_eos=True)
    assert play(plain, [1])[0][4]["token"] != EOS
    ((*_, terminated, _, info),) = play(kept, [1])
    assert (info["token"], terminated) == (EOS, True)
    assert play(kept, [0])[0][4]["token"] == play(plain, [0])[0][4]["token"]


def test_eos_keeps_its_own_rank_where_it_has_one(toy15: Task) -> None:
    env = wrappers.TopKActions(RLHFEnv(toy15), k=2, always_eos=True)
    assert [play(env, [rank])[0][4]["token"] for rank in (0, 1)] == [0.0, 2.0]


def test_the_token_is_paid_like_itself(toy15: Task) -> None:
    ((_, reward, *_, info),) = play(wrappers.TopKActions(RLHFEnv(toy15), k=3), [1])
    ((_, expected, *_, plain),) = play(RLHFEnv(toy15), [2])
    assert reward == expected
    assert info == {**plain, "token": 2.0}


def test_an_action_that_carries_its_logprob_keeps_it(toy15: Task) -> None:
    env = wrappers.TopKActions(RLHFEnv(toy15, kl_penalty="sampled"), k=2)
    assert env.action_space["token"] == gym.spaces.Discrete(2)  # type: ignore[index]
    ((*_, info),) = play(env, [{"token": 0, "logprob": -1.0}])
    assert info["reward_terms"]["kl"] == pytest.approx(0.5 + 0.5 * info["ref_logprob"], abs=1e-6)


@pytest.mark.parametrize("action", [2, -1, 0.5, "a", [0, 1], None])
def test_a_bad_rank_is_refused_and_changes_nothing(toy15: Task, action: object) -> None:
    env = wrappers.TopKActions(RLHFEnv(toy15), k=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be"):
        env.step(action)
    assert int(env.unwrapped.mdp.response_lengths[0]) == 0  # type: ignore[attr-defined]


def test_a_bad_rank_of_a_row_is_named() -> None:
    envs = wrappers.vector.TopKActions(RLHFVectorEnv(2, TASK), k=3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"rank in \[0, 3\), got 3 in row 1"):
        envs.step(np.array([0, 3]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k must be an integer >= 1, got 0"),
        ({"k": 9}, "k must be at most the vocabulary size 8, got 9"),
        ({"k": 2, "always_eos": 1}, "always_eos must be True or False, got 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrappers.TopKActions(RLHFEnv(TASK), **options)


def test_actions_must_be_token_ids() -> None:
    with pytest.raises(ValueError, match="needs token ids inside, got actions Discrete"):
        wrappers.TopKActions(wrappers.TopKActions(RLHFEnv(TASK), k=3), k=2)
    with pytest.raises(ValueError, match="put TopKActions inside MacroAction"):
        wrappers.TopKActions(wrappers.MacroAction(RLHFEnv(TASK), n=2), k=2)
