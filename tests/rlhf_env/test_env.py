"""The environment by its contract: Gymnasium's and Stable-Baselines3's rules, and the reward."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.toys import EOS, tiny_gpt2_task, tiny_llama_task

TASKS: dict[str, Callable[[], Task]] = {
    "toy15": lambda: load_task("toy15"),
    "llama": tiny_llama_task,
    "gpt2": tiny_gpt2_task,
}
CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampled": {"kl_penalty": "sampled"},
    "penalize": {"length_limit": "penalize", "missing_eos_penalty": 2.0},
    "bootstrap": {"length_limit": "bootstrap"},
    "ansi": {"render_mode": "ansi"},
    "no kl": {"kl_coef": 0.0},
}
# The same of the policy with logits + 0.3 sin(1 + state + token).
THETA_ROOT = (-0.614083, -2.124030, -1.080829)


def make(task: str | Task = "toy15", **options: Any) -> gym.Env[Any, Any]:
    return gym.make("RLHF-v0", task=task, **options)


def play(env: gym.Env[Any, Any], actions: list[Any], **reset: Any) -> list[tuple[Any, ...]]:
    env.reset(**reset)
    return [env.step(action) for action in actions]


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
class TestCheckers:
    def test_gymnasium(self, task: Callable[[], Task], choice: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # The checker tries every render mode itself, by the registered name.
            check_env(make(task(), **choice).unwrapped, skip_render_check=True)

    def test_stable_baselines3(self, task: Callable[[], Task], choice: dict[str, Any]) -> None:
        if choice.get("kl_penalty") == "sampled":
            pytest.skip("refuses Dict actions by design")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sb3_check_env(make(task(), **choice).unwrapped, warn=True)


def test_gymnasium_renders_what_is_declared() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make().unwrapped)
        check_env(make(render_mode="ansi").unwrapped)


class TestObservation:
    def test_prompt_then_prefix_padded_right(self) -> None:
        env = make(tiny_llama_task(horizon=4))
        observation, info = env.reset(options={"prompt_index": 1})
        assert info == {"prompt_index": 1.0}
        again, _ = env.reset(options={"prompt_index": info["prompt_index"]})
        assert again["input_ids"].tolist() == observation["input_ids"].tolist()
        assert observation["input_ids"].tolist() == [3, 2, 0, 0, 0, 0, 0, 0, 0]
        assert observation["attention_mask"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
        assert observation["input_ids"].dtype == np.int64
        assert observation["attention_mask"].dtype == np.int8
        observation = env.step(9)[0]
        assert observation["input_ids"].tolist() == [3, 2, 9, 0, 0, 0, 0, 0, 0]
        assert observation["attention_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]

    def test_every_one_is_in_the_space_and_the_models_food(self) -> None:
        task = tiny_gpt2_task()
        env = make(task)
        observation, _ = env.reset(seed=3)
        ended = False
        rng = np.random.default_rng(3)
        while not ended:
            assert env.observation_space.contains(observation)
            batch = {name: torch.as_tensor(array)[None] for name, array in observation.items()}
            assert task.reference(**batch).logits.shape == (1, 13, 32)
            observation, _, terminated, truncated, _ = env.step(int(rng.integers(2, 32)))
            ended = terminated or truncated
        assert env.observation_space.contains(observation)

    def test_all_memory_is_fresh(self) -> None:
        """Trap H1."""
        env = make(tiny_llama_task(), kl_penalty="sampled")
        seen = [env.reset(seed=0)[0]]
        for token in (2, 3, EOS):
            seen.append(env.step({"token": token, "logprob": -1.0})[0])
        seen.append(env.reset()[0])
        arrays = [array for observation in seen for array in observation.values()]
        assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))

    def test_writing_into_one_changes_nothing(self) -> None:
        env = make(tiny_llama_task())
        env.reset(seed=0)
        for array in (observation := env.step(4)[0]).values():
            array.fill(1)
        assert observation["input_ids"].tolist() == [1] * 13
        again = env.step(5)
        twin = play(make(tiny_llama_task()), [4, 5], seed=0)[-1]
        assert again[0]["input_ids"].tolist() == twin[0]["input_ids"].tolist()
        assert again[1] == twin[1]

    def test_the_tasks_prompts_are_safe(self) -> None:
        task = tiny_llama_task()
        env = make(task)
        env.reset(options={"prompt_index": 0})
        env.step(7)
        assert [ids.tolist() for ids in task.prompts] == [[2], [3, 2], [2, 3, 2, 2, 3]]


class TestSeeds:
    def test_same_seed_same_episodes(self) -> None:
        def rewards(seed: int) -> list[Any]:
            env = make(tiny_llama_task())
            found: list[Any] = [env.reset(seed=seed)[1]["prompt_index"]]
            rng = np.random.default_rng(seed)
            for _ in range(40):
                _, reward, terminated, _, _ = env.step(int(rng.integers(32)))
                found.append(reward)
                if terminated:
                    found.append(env.reset()[1]["prompt_index"])
            return found

        for seed in (0, 1, 123):
            assert rewards(seed) == rewards(seed)
        assert rewards(0) != rewards(1)

    def test_a_seeded_episode_does_not_remember_earlier_ones(self) -> None:
        """Trap H4: to the last bit, in one environment."""
        env = make(tiny_llama_task())

        def episode() -> list[float]:
            return [step[1] for step in play(env, [3, 2, 9, 8], options={"prompt_index": 2})]

        first = episode()
        for prompt_index, actions in ((0, [3]), (1, [2, 2]), (2, [3, 2, 9]), (2, [])):
            play(env, actions, options={"prompt_index": prompt_index})
            assert episode() == first

    def test_prompts_are_drawn_evenly_from_the_environments_own_generator(self) -> None:
        env = make(tiny_llama_task())
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        env.reset(seed=7)
        drawn = [env.reset()[1]["prompt_index"] for _ in range(600)]
        # 200 of each, give or take four standard deviations of 11.5
        assert all(154 <= drawn.count(float(index)) <= 246 for index in range(3))
        env.step(3)
        assert states[0] == random.getstate()
        assert states[1] == np.random.get_state()[1].tolist()
        assert torch.equal(states[2], torch.get_rng_state())

    def test_numpy_seeds_are_seeds(self) -> None:
        env = make(tiny_llama_task()).unwrapped
        assert env.reset(seed=np.int64(3))[1] == env.reset(seed=3)[1]


class TestPrompts:
    def test_own_prompt(self) -> None:
        env = make(tiny_llama_task())
        for prompt in ("w4 w9", [4, 9], np.array([4, 9]), torch.tensor([4, 9])):
            observation, info = env.reset(options={"prompt": prompt})
            assert observation["input_ids"][:3].tolist() == [4, 9, 0]
            assert info == {"prompt_index": -1.0}
        assert env.step(EOS)[4]["prompt_index"] == -1.0


class TestRender:
    def test_off(self) -> None:
        env = make()
        env.reset()
        assert env.render() is None

    def test_shows_prompt_tokens_and_terms(self) -> None:
        env = make(tiny_llama_task(), render_mode="ansi")
        env.reset(options={"prompt": "w4 w9"})
        assert "w4 w9" in env.render()
        env.step(5)
        *_, info = env.step(EOS)
        text = env.render()
        assert "w5" in text
        assert f"score {info['reward_terms']['score']:+.4f}" in text
        assert f"kl {info['reward_terms']['kl']:+.4f}" in text
        assert "\x1b[" in text

    def test_control_characters_are_escaped(self) -> None:
        from rlhf_env.mdp.render import printable

        hostile = "\x1b]0;owned\x07\r\n\u202e\ud800ok é 猫 🐈"
        shown = printable(hostile)
        assert shown == "\\x1b]0;owned\\x07\\r\\n\\u202e\\ud800ok é 猫 🐈"


class TestCopies:
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
    @pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
    def test_copies_in_mid_episode_go_on_alike(
        self, task: Callable[[], Task], copied: Callable[[Any], Any]
    ) -> None:
        env = make(task()).unwrapped
        env.reset(seed=5)
        env.step(2)
        twin = copied(env)
        for action in (1, 0):
            mine, its = env.step(action), twin.step(action)
            assert mine[0]["input_ids"].tolist() == its[0]["input_ids"].tolist()
            assert mine[1] == pytest.approx(its[1], abs=1e-5)
            assert mine[2:4] == its[2:4]
            if mine[2]:
                break
        assert env.reset()[1] == twin.reset()[1]

    def test_two_environments_on_one_task_do_not_meet(self) -> None:
        task = tiny_llama_task()
        alone = [play(make(task), [3, 9, 4], seed=seed) for seed in (0, 1)]
        pair = [make(task), make(task)]
        for seed, env in enumerate(pair):
            env.reset(seed=seed)
        for step, action in enumerate([3, 9, 4]):
            for seed, env in enumerate(pair):
                assert env.step(action)[1] == alone[seed][step][1]

    def test_the_task_is_left_alone(self) -> None:
        """Traps A15 and H15."""
        task = tiny_gpt2_task(dropout=0.5)
        before = {name: value.clone() for name, value in task.reference.state_dict().items()}
        env = make(task)
        assert play(env, [3, 9, EOS], seed=0)[0][1] == play(env, [3, 9, EOS], seed=0)[0][1]
        assert not task.reference.training
        assert all(p.grad is None and not p.requires_grad for p in task.reference.parameters())
        assert all(torch.equal(v, before[k]) for k, v in task.reference.state_dict().items())


def test_threads_take_turns() -> None:
    env = make(tiny_llama_task(horizon=64)).unwrapped
    env.reset(seed=0, options={"prompt_index": 0})
    rewards, errors = [], []

    def work() -> None:
        try:
            for _ in range(16):
                rewards.append(env.step(7)[1])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    alone = make(tiny_llama_task(horizon=64))
    expected = [step[1] for step in play(alone, [7] * 64, options={"prompt_index": 0})]
    assert sorted(rewards) == pytest.approx(sorted(expected), abs=1e-5)


def test_a_thousand_resets_hold_no_memory() -> None:
    env = make(tiny_llama_task())
    env.reset(seed=0)
    env.step(3)
    size = len(pickle.dumps(env.unwrapped))
    for _ in range(1000):
        env.reset()
    env.step(3)
    assert abs(len(pickle.dumps(env.unwrapped)) - size) < 200
