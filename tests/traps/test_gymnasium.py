"""Gymnasium's interface (traps H): infos, specs, processes, and Stable-Baselines3's view of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.tasks import load_task, table_task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.rlhf_env.test_vector_env import same
from tests.toys import EOS, tiny_gpt2_task, tiny_llama_task


def single(task: str | Task = "toy15", **options: Any) -> Any:
    return gym.make("RLHF-v0", task=task, **options)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled", "NextStep"])
@pytest.mark.parametrize("own", [True, False], ids=["rlhf", "gymnasium"])
def test_a_zero_in_the_first_row_does_not_make_integers_of_the_rest(own: bool, mode: str) -> None:
    """Trap H10: scores 0 and 0.5, in this vector environment and in Gymnasium's."""
    task = table_task(3, 1, lambda prefix: [0.0] * 3, lambda tokens: 0.5 * (tokens[0] - 1))
    envs: Any
    if own:
        envs = gym.make_vec("RLHF-v0", num_envs=2, task=task, autoreset_mode=mode)
    else:
        envs = SyncVectorEnv([lambda: single(task)] * 2, autoreset_mode=AutoresetMode(mode))
    envs.reset(seed=0)
    info = envs.step(np.array([1, 2]))[4]
    info = info.get("final_info", info)
    assert info["score"].tolist() == [0.0, 0.5]
    assert info["reward_terms"]["score"].tolist() == [0.0, 0.5]
    numbers = [info["ref_logprob"], info["response_length"], info["reward_terms"]["kl"]]
    assert {array.dtype.kind for array in numbers} == {"f"}


def test_infos_hold_nothing_ragged() -> None:
    """Trap H11: numbers, and one word, in infos of responses of different lengths."""
    envs = SyncVectorEnv([lambda: single(tiny_llama_task())] * 3)
    envs.reset(seed=0)
    for actions in ([EOS, 4, 5], [4, EOS, 6], [4, 4, EOS]):
        info = envs.step(np.array(actions))[4]
        for name in ("ref_logprob", "score", "response_length"):
            assert info[name].shape == (3,)
        assert info["finish_reason"].shape == (3,)


@pytest.mark.parametrize("seed", [np.int32(3), np.int64(3), np.uint8(3), 3])
def test_integers_of_every_kind_seed_both_environments(seed: Any) -> None:
    """Trap H14."""
    task = tiny_llama_task()
    one, many = single(task).unwrapped, gym.make_vec("RLHF-v0", num_envs=2, task=task)
    assert one.reset(seed=seed)[1] == single(task).reset(seed=3)[1]
    same(many.reset(seed=seed), gym.make_vec("RLHF-v0", num_envs=2, task=task).reset(seed=[3, 4]))


def test_a_named_task_makes_a_spec_that_can_be_written_down() -> None:
    """Trap H16: a name survives JSON."""
    made = single(kl_coef=0.3, length_limit="penalize")
    again = gym.make(EnvSpec.from_json(made.spec.to_json())).unwrapped
    assert again.task.name == "toy15"
    assert again.kl_coef == 0.3
    assert again.mdp.options.length_limit == "penalize"


def test_a_task_object_is_refused_by_json_and_kept_by_the_spec() -> None:
    """Trap H16: models are no text, but gym.make(spec) takes the object."""
    made = single(tiny_gpt2_task())
    with pytest.raises((TypeError, ValueError)):
        made.spec.to_json()
    assert gym.make(made.spec).unwrapped.task.name == "tiny-gpt2"


@pytest.mark.parametrize(
    ("task", "highest"), [(lambda: load_task("toy15"), 2), (tiny_llama_task, 31)]
)
def test_the_bounds_are_the_vocabulary_s(task: Callable[[], Task], highest: int) -> None:
    """Trap H19: no id above the last one, whole numbers, and a finite log-probability."""
    env = single(task(), kl_penalty="sampled")
    ids, mask = env.observation_space["input_ids"], env.observation_space["attention_mask"]
    assert (ids.low.min(), ids.high.max(), ids.dtype) == (0, highest, np.int64)
    assert (mask.low.min(), mask.high.max(), mask.dtype) == (0, 1, np.int8)
    assert env.action_space["token"].n == highest + 1
    assert env.action_space["logprob"].contains(np.array(-1e4, np.float32))
    assert not env.action_space["logprob"].contains(np.array(math.nan, np.float32))


@pytest.mark.parametrize("length_limit", ["score", "bootstrap"])
def test_stable_baselines_sees_the_same_episodes(length_limit: str) -> None:
    """Trap H21: rewards, ends, last observations and the truncation flag of 40 vector steps."""
    task, rng = tiny_llama_task(horizon=4), np.random.default_rng(0)
    ours: Any = gym.make_vec(
        "RLHF-v0", num_envs=3, task=task, autoreset_mode="SameStep", length_limit=length_limit
    )
    theirs = DummyVecEnv([lambda: single(task, length_limit=length_limit)] * 3)
    theirs.seed(5)
    same(theirs.reset(), ours.reset(seed=5)[0])
    for _ in range(40):
        actions = np.where(rng.random(3) < 0.3, EOS, rng.integers(2, 32, 3))
        observation, rewards, terminated, truncated, info = ours.step(actions)
        seen, paid, done, told = theirs.step(actions)
        same(dict(seen), observation)
        assert paid.tolist() == pytest.approx(rewards.tolist(), abs=1e-5)
        assert done.tolist() == (terminated | truncated).tolist()
        for row in done.nonzero()[0]:
            same(told[row]["terminal_observation"], info["final_obs"][row])
            assert told[row]["TimeLimit.truncated"] == truncated[row]
            assert told[row]["score"] == pytest.approx(info["final_info"]["score"][row], abs=1e-5)


def test_an_undeclared_render_mode_is_refused() -> None:
    """Trap H22."""
    for kind in (RLHFEnv, RLHFVectorEnv):
        with pytest.raises(ValueError, match=r"render_mode must be one of \['ansi'\], got 'human'"):
            kind(task="toy15", render_mode="human")


def test_stepping_leaves_the_models_as_they_were() -> None:
    """Trap H15: several environments may share one model, because none of them changes it."""
    task = tiny_gpt2_task(dropout=0.5)
    state = {name: value.clone() for name, value in task.reference.state_dict().items()}
    modes = [module.training for module in task.reference.modules()]
    envs = SyncVectorEnv([lambda: single(task)] * 3)
    envs.reset(seed=0)
    for _ in range(5):
        envs.step(np.array([4, 5, 6]))
    assert all(sub.unwrapped.mdp.reference.model is task.reference for sub in envs.envs)
    assert [module.training for module in task.reference.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in task.reference.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(AutoresetMode)[:2], ids=lambda mode: mode.value)
def test_processes_of_their_own_do_the_same(mode: AutoresetMode) -> None:
    """Traps H13 and H15: Gymnasium's asynchronous environment, a copy of the model in each."""
    task, rng = tiny_llama_task(horizon=4), np.random.default_rng(0)
    ours: Any = gym.make_vec("RLHF-v0", num_envs=2, task=task, autoreset_mode=mode)
    theirs = AsyncVectorEnv(
        [Maker(), Maker()], autoreset_mode=mode, context="spawn", shared_memory=False
    )
    try:
        same(ours.reset(seed=3), theirs.reset(seed=3))
        for _ in range(12):
            actions = np.where(rng.random(2) < 0.3, EOS, rng.integers(2, 32, 2))
            same(ours.step(actions), theirs.step(actions))
    finally:
        theirs.close()


class Maker:
    """Makes the environment in its own process."""

    def __call__(self) -> Any:
        return single(tiny_llama_task(horizon=4))
