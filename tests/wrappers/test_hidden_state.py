from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import play
from wrappers.hidden_state import hidden_space, last_hidden

TASK = tiny_llama_task(vocab_size=8, horizon=4)


def hidden_of(ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        output = TASK.reference.model(input_ids=torch.tensor([ids]))  # type: ignore[operator]
    return output.last_hidden_state[0, -1].numpy()


def test_toy15_shows_its_decision_state(toy15: Task) -> None:
    env = wrappers.HiddenState(RLHFEnv(toy15))
    observation, _ = env.reset(seed=0)
    assert observation.tolist() == [1, 0, 0, 0, 0, 0, 0]
    seen = [step[0].argmax() for step in play(env, (2, 1))]
    assert seen == [2, 5]


def test_it_is_the_hidden_state_of_the_last_token() -> None:
    env = wrappers.HiddenState(RLHFEnv(TASK))
    observation, _ = env.reset(options={"prompt_index": 1})
    np.testing.assert_allclose(observation, hidden_of([3, 2]), atol=1e-5)
    np.testing.assert_allclose(env.step(5)[0], hidden_of([3, 2, 5]), atol=1e-5)
    assert observation.dtype == np.float32


def test_a_row_that_is_reset_at_once_shows_its_last_state() -> None:
    envs = wrappers.vector.HiddenState(
        RLHFVectorEnv(2, TASK, autoreset_mode=AutoresetMode.SAME_STEP)
    )
    envs.reset(seed=0, options={"prompt_index": 0})
    *_, info = envs.step(np.array([EOS, 5]))
    np.testing.assert_allclose(info["final_obs"][0], hidden_of([2, EOS]), atol=1e-5)
    assert info["final_obs"][1] is None


def test_tensors_stay_tensors() -> None:
    envs = wrappers.vector.HiddenState(RLHFVectorEnv(2, TASK, tensors="torch"))
    observations, _ = envs.reset(seed=0)
    assert isinstance(observations, torch.Tensor)
    assert isinstance(envs.step(torch.tensor([5, 5]))[0], torch.Tensor)


def test_a_density_that_reads_ids_says_where_it_belongs() -> None:
    envs = RLHFVectorEnv(2, TASK, autoreset_mode=AutoresetMode.SAME_STEP)
    envs = wrappers.vector.EveryK(wrappers.vector.HiddenState(envs), k=2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="put wrappers that change observations outside"):
        envs.step(np.array([EOS, EOS]))


def test_the_bounds_are_finite() -> None:
    space = wrappers.HiddenState(RLHFEnv(TASK)).observation_space
    assert isinstance(space, gym.spaces.Box)
    assert space.shape == (32,)
    assert np.isfinite(space.low).all()
    # Agents in half precision cast the bounds; larger ones would overflow.
    with np.errstate(over="raise"):
        assert np.isfinite(space.high.astype(np.float16)).all()


def test_a_hidden_state_stays_within_the_bounds() -> None:
    class Huge:
        hidden_size = 2

        def hidden(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1e30, -7e4]).expand(*tokens.shape, 2)

    tokens, lengths = torch.tensor([[1, 2]]), torch.tensor([2])
    hidden = last_hidden(Huge(), tokens, lengths)  # type: ignore[arg-type]
    assert hidden.tolist() == [[65504.0, -65504.0]]
    assert hidden_space(Huge()).contains(hidden[0].numpy())  # type: ignore[arg-type]
