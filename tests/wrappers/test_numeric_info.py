"""Infos with constant keys and numbers only, for libraries that stack them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch.utils.data import default_collate

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.dialogues import COMMA, silent, talk_task
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import as_rollout

TASK = tiny_llama_task(vocab_size=8, horizon=4)


def infos(env: gym.Env[Any, Any], tokens: tuple[int, ...]) -> list[dict[str, Any]]:
    """The infos of an episode, that of its reset first."""
    return [env.reset(seed=0)[1], *(env.step(token)[4] for token in tokens)]


def flat(info: dict[str, Any]) -> dict[str, Any]:
    """An info with its reward terms beside the other keys."""
    return {**info, **{f"term {k}": v for k, v in info["reward_terms"].items()}, "reward_terms": 0}


def test_the_keys_never_change_and_the_values_are_numbers(toy15: Task) -> None:
    env = wrappers.DecodedText(wrappers.LengthPenalty(RLHFEnv(toy15), coef=0.5))
    plain = infos(env, (1, 2, 0))
    assert len({frozenset(info) for info in plain}) == 3
    assert isinstance(plain[-1]["finish_reason"], str)
    numeric = [flat(info) for info in infos(wrappers.NumericInfo(env), (1, 2, 0))]
    assert len({frozenset(info) for info in numeric}) == 1
    assert all(type(value) in (int, float) for info in numeric for value in info.values())


def test_the_numbers_are_those_of_the_plain_info(toy15: Task) -> None:
    plain = infos(RLHFEnv(toy15), (1, 2, 0))
    numeric = infos(wrappers.NumericInfo(RLHFEnv(toy15)), (1, 2, 0))
    assert [info["finish_reason"] for info in numeric] == [0.0, 0.0, 0.0, 1.0]
    assert [info["response_length"] for info in numeric] == [0.0, 1.0, 2.0, 3.0]
    assert [info["score"] for info in numeric] == [0.0, 0.0, 0.0, 0.75]
    for got, expected in zip(numeric, plain, strict=True):
        for key in expected.keys() - {"finish_reason"}:
            assert got[key] == expected[key]
    (*_, last) = infos(wrappers.NumericInfo(RLHFEnv(toy15)), (1, 1, 1))
    assert last["finish_reason"] == 2.0
    (*_, last) = infos(wrappers.NumericInfo(RLHFEnv(talk_task(silent))), (3, COMMA))
    assert last["finish_reason"] == 3.0


def test_infos_of_an_episode_can_be_stacked(toy15: Task) -> None:
    with pytest.raises(KeyError):
        default_collate(infos(RLHFEnv(toy15), (1, 0)))
    stacked = default_collate(infos(wrappers.NumericInfo(RLHFEnv(toy15)), (1, 0)))
    assert stacked["reward_terms"]["score"].tolist() == [0.0, 0.0, 1.25]
    assert stacked["finish_reason"].tolist() == [0.0, 0.0, 1.0]


def test_gymnasium_turns_them_into_tensors(toy15: Task) -> None:
    pytest.importorskip("array_api_compat")
    from gymnasium.wrappers import NumpyToTorch

    env = NumpyToTorch(wrappers.NumericInfo(RLHFEnv(toy15)))
    env.reset(seed=0)
    info = env.step(torch.tensor(0))[4]
    assert float(info["reward_terms"]["score"]) == 0.25


def test_keys_of_other_libraries_are_kept_where_named(toy15: Task) -> None:
    class Counts(gym.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> Any:
            *rest, info = self.env.step(action)
            return (*rest, {**info, "count": 7, "note": "a text"})

    env = wrappers.NumericInfo(Counts(RLHFEnv(toy15)), keys=["count"])
    seen = infos(env, (1, 0))
    assert [info["count"] for info in seen] == [0.0, 7.0, 7.0]
    assert all("note" not in info for info in seen)
    for bad in ("count", [""], [1], 3, None):
        with pytest.raises(ValueError, match="keys must be a list of names, got"):
            wrappers.NumericInfo(RLHFEnv(toy15), keys=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_rows_have_all_keys_at_every_step(mode: AutoresetMode) -> None:
    envs = wrappers.vector.NumericInfo(RLHFVectorEnv(2, TASK, autoreset_mode=mode))
    _, first = envs.reset(seed=0)
    *_, info = envs.step(np.array([EOS, 3]))
    assert first.keys() == info.keys() - {"final_obs", "final_info", "_final_obs", "_final_info"}
    own = info.get("final_info", info)
    assert own["finish_reason"].tolist() == [1.0, 0.0]
    for key in ("score", "response_length", "ref_logprob", "prompt_index", "finish_reason"):
        assert own[key].dtype == info[key].dtype == np.float64
        assert info[f"_{key}"].all()


def test_a_rollout_is_unchanged() -> None:
    rollout = as_rollout(TASK, [(0, [5, EOS])])
    assert wrappers.NumericInfo(RLHFEnv(TASK)).rollout(rollout) is rollout


def test_it_is_the_outermost_wrapper() -> None:
    with pytest.raises(ValueError, match=r"put NumericInfo outside: NumericInfo\(EveryK\(env"):
        wrappers.EveryK(wrappers.NumericInfo(RLHFEnv(TASK)), k=2)
