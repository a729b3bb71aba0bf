"""The environment by its contract: Gymnasium's and Stable-Baselines3's rules, and the reward."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.toys import EOS, theta_policy, tiny_gpt2_task, tiny_llama_task, tiny_tokenizer

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
# ln of the reference's probabilities of tokens 0, 1, 2 in states (), (1) and (1, 1).
REF_ROOT = (-0.688194, -2.218489, -0.944834)
REF_1 = (-1.065795, -0.595555, -2.260587)
REF_11 = (-2.268123, -1.352567, -0.449546)
# The same of the policy with logits + 0.3 sin(1 + state + token).
THETA_ROOT = (-0.614083, -2.124030, -1.080829)


def make(task: str | Task = "toy15", **options: Any) -> gym.Env[Any, Any]:
    return gym.make("RLHF-v0", task=task, **options)


def last_logits(model: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A policy as the environment asks it, from a model that runs whole texts."""

    def policy(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = model(input_ids=input_ids).logits
        return logits[torch.arange(len(logits)), attention_mask.sum(1) - 1]

    return policy


def play(env: gym.Env[Any, Any], actions: list[Any], **reset: Any) -> list[tuple[Any, ...]]:
    env.reset(**reset)
    return [env.step(action) for action in actions]


def toy_responses() -> Iterator[tuple[int, ...]]:
    """All 15 episodes of toy15."""
    for length in range(3):
        for prefix in itertools.product((1, 2), repeat=length):
            yield from ((*prefix, 0),) if length < 2 else ((*prefix, last) for last in range(3))


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


class TestReward:
    """Numbers worked out from the definition of toy15, beta = 0.5."""

    def test_reference(self) -> None:
        first, second = play(make(), [1, 0])
        assert first[1] == pytest.approx(0.5 * REF_ROOT[1], abs=1e-6)
        assert first[2:4] == (False, False)
        assert first[4].keys() == {"ref_logprob", "reward_terms"}
        assert first[4]["ref_logprob"] == pytest.approx(REF_ROOT[1], abs=1e-6)
        assert first[4]["reward_terms"] == pytest.approx(
            {"score": 0.0, "kl": 0.5 * REF_ROOT[1]}, abs=1e-6
        )
        assert second[1] == pytest.approx(1.25 + 0.5 * REF_1[0], abs=1e-6)
        assert second[2:4] == (True, False)
        assert second[4]["score"] == 1.25
        assert second[4]["finish_reason"] == "eos"
        assert second[4]["response_length"] == 2.0
        assert second[4]["prompt_index"] == 0.0

    def test_sampled(self) -> None:
        env = make(kl_penalty="sampled", kl_coef=0.1)
        (step,) = play(env, [{"token": 0, "logprob": np.float32(-0.2)}])
        # 0.25 - 0.1 (-0.2 + 0.688194)
        assert step[1] == pytest.approx(0.201181, abs=1e-6)
        assert step[4]["reward_terms"] == pytest.approx(
            {"score": 0.25, "kl": -0.048819}, abs=1e-6
        )

    def test_sampled_by_the_policy(self, toy15: Task) -> None:
        env = make(toy15, kl_penalty="sampled", policy=last_logits(theta_policy(toy15)))
        (step,) = play(env, [0])
        # 0.25 - 0.5 (-0.614083 + 0.688194)
        assert step[1] == pytest.approx(0.212945, abs=1e-6)

    def test_exact(self, toy15: Task) -> None:
        env = make(toy15, kl_penalty="exact", policy=last_logits(theta_policy(toy15)))
        for action in range(3):
            (step,) = play(env, [action])
            # KL at the root is 0.005252 whatever was chosen.
            assert step[4]["reward_terms"]["kl"] == pytest.approx(-0.002626, abs=1e-6)

    def test_sampled_is_reference_minus_what_the_policy_said(self) -> None:
        rng = np.random.default_rng(0)
        reference, sampled = make(kl_coef=0.3), make(kl_penalty="sampled", kl_coef=0.3)
        for response in toy_responses():
            logprobs = [float(np.float32(x)) for x in -rng.exponential(size=len(response))]
            plain = play(reference, list(response))
            carried = play(
                sampled,
                [{"token": a, "logprob": x} for a, x in zip(response, logprobs, strict=True)],
            )
            difference = sum(s[1] for s in plain) - sum(s[1] for s in carried)
            assert difference == pytest.approx(0.3 * sum(logprobs), abs=1e-6)

    @pytest.mark.parametrize("kl_penalty", ["sampled", "exact"])
    def test_both_penalties_have_the_known_expectation(self, toy15: Task, kl_penalty: str) -> None:
        """All 15 responses, weighted by the policy: J = 0.113463 either way."""
        policy = theta_policy(toy15)
        env = make(toy15, kl_penalty=kl_penalty, policy=last_logits(policy))
        expectation, mass = 0.0, 0.0
        for response in toy_responses():
            tokens = torch.tensor([[0, *response]])
            with torch.no_grad():
                logprobs = policy(input_ids=tokens[:, :-1]).logits.log_softmax(-1)
            probability = float(logprobs.gather(2, tokens[:, 1:, None]).sum().exp())
            expectation += probability * sum(step[1] for step in play(env, list(response)))
            mass += probability
        assert mass == pytest.approx(1.0, abs=1e-6)
        assert expectation == pytest.approx(0.113463, abs=1e-6)

    def test_terms_add_up_and_are_floats(self) -> None:
        env = make(tiny_llama_task())
        for step in play(env, [3, 5, 7, EOS], seed=0):
            assert type(step[1]) is float
            assert type(step[2]) is bool
            assert type(step[3]) is bool
            assert step[1] == sum(step[4]["reward_terms"].values())
            numbers = [step[4]["ref_logprob"], *step[4]["reward_terms"].values()]
            assert all(type(number) is float for number in numbers)
        assert {type(step[4][key]) for key in ("score", "response_length", "prompt_index")} == {
            float
        }

    def test_kl_coef_can_be_adapted(self) -> None:
        env = make()
        env.reset()
        assert env.unwrapped.kl_coef == 0.5
        env.unwrapped.kl_coef = np.float32(0.25)
        assert env.step(1)[1] == pytest.approx(0.25 * REF_ROOT[1], abs=1e-6)
        for wrong in (-0.1, math.nan, "much", None, True):
            with pytest.raises(ValueError, match=r"kl_coef must be .* got"):
                env.unwrapped.kl_coef = wrong
        assert env.unwrapped.kl_coef == 0.25


class TestEnd:
    def test_eos_at_the_limit_is_an_ordinary_eos(self) -> None:
        """Trap C2."""
        for length_limit in ("score", "penalize", "bootstrap"):
            last = play(make(length_limit=length_limit), [1, 1, 0])[-1]
            assert last[2:4] == (True, False)
            assert last[4]["finish_reason"] == "eos"
            assert last[1] == pytest.approx(2.25 + 0.5 * REF_11[0], abs=1e-6)

    @pytest.mark.parametrize(
        ("options", "paid", "flags"),
        [
            ({"length_limit": "score"}, 3.0, (True, False)),
            ({"length_limit": "penalize"}, 2.0, (True, False)),
            ({"length_limit": "penalize", "missing_eos_penalty": 5}, -2.0, (True, False)),
            ({"length_limit": "bootstrap"}, 0.0, (False, True)),
        ],
    )
    def test_limit(
        self, options: dict[str, Any], paid: float, flags: tuple[bool, bool]
    ) -> None:
        last = play(make(**options), [1, 1, 1])[-1]
        assert last[2:4] == flags
        assert last[4]["finish_reason"] == "length"
        assert last[4]["response_length"] == 3.0
        assert last[4]["reward_terms"]["score"] == paid
        # The KL of the last token is paid all the same: trap C11.
        assert last[1] == pytest.approx(paid + 0.5 * REF_11[1], abs=1e-6)

    def test_raw_score_is_told_under_a_penalty(self) -> None:
        last = play(make(length_limit="penalize"), [1, 1, 1])[-1]
        assert last[4]["score"] == 3.0

    def test_one_token(self) -> None:
        for action in range(3):
            (step,) = play(make(max_new_tokens=1), [action])
            assert step[2:4] == (True, False)
            assert step[4]["response_length"] == 1.0
            assert step[1] == pytest.approx(
                (0.25, 1.0, -0.5)[action] + 0.5 * REF_ROOT[action], abs=1e-6
            )

    def test_shorter_horizon(self) -> None:
        env = make(max_new_tokens=2)
        assert env.observation_space["input_ids"].shape == (3,)
        assert play(env, [1, 1])[-1][4]["score"] == 2.0

    def test_pad_may_be_eos_and_eos_may_stand_in_the_prompt(self) -> None:
        """Trap B1."""
        tokenizer = tiny_tokenizer()
        tokenizer.pad_token = tokenizer.eos_token
        llama = tiny_llama_task()
        task = Task(
            name="eos everywhere",
            tokenizer=tokenizer,
            reference=llama.reference,
            reward=llama.reward,
            prompts=[[5, EOS, 6]],
            max_prompt_tokens=4,
            max_new_tokens=3,
        )
        env = make(task)
        observation, _ = env.reset(seed=0)
        assert observation["input_ids"].tolist() == [5, EOS, 6, EOS, EOS, EOS, EOS]
        assert observation["attention_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0]
        observation, _, terminated, _, info = env.step(EOS)
        assert terminated
        assert info["finish_reason"] == "eos"
        assert observation["attention_mask"].tolist() == [1, 1, 1, 1, 0, 0, 0]


class TestObservation:
    def test_prompt_then_prefix_padded_right(self) -> None:
        env = make(tiny_llama_task(horizon=4))
        observation, info = env.reset(options={"prompt_index": 1})
        assert info == {"prompt_index": 1.0}
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


ABUSE = [-1, 3, 10**30, 1.0, True, "a", None, [1], np.array([1]), torch.tensor([1]), math.nan]


class TestAbuse:
    @pytest.mark.parametrize("action", ABUSE, ids=repr)
    def test_actions(self, action: Any) -> None:
        env = make().unwrapped
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"action must be a token id in \[0, 3\), got"):
            env.step(action)
        assert env.step(0)[1] == pytest.approx(0.25 + 0.5 * REF_ROOT[0], abs=1e-6)

    @pytest.mark.parametrize("action", [0, np.int64(0), np.uint8(0), np.array(0), torch.tensor(0)])
    def test_integers_of_every_kind_are_actions(self, action: Any) -> None:
        assert play(make().unwrapped, [action])[0][4]["score"] == 0.25

    @pytest.mark.parametrize(
        "action",
        [
            0,
            {"token": 0},
            {"token": 0, "logprob": 0.5},
            {"token": 0, "logprob": math.nan},
            {"token": 0, "logprob": -math.inf},
            {"token": 0, "logprob": "likely"},
            {"token": 0, "logprob": [-1.0]},
            {"token": 3, "logprob": -1.0},
            {"token": 0, "logprob": -1.0, "value": 1.0},
        ],
        ids=repr,
    )
    def test_actions_with_logprob(self, action: Any) -> None:
        env = make(kl_penalty="sampled").unwrapped
        env.reset()
        with pytest.raises(ValueError, match=r"action.* must be .* got"):
            env.step(action)

    def test_step_needs_an_episode(self) -> None:
        for env in (make(), make().unwrapped):
            with pytest.raises(ResetNeeded, match="reset"):
                env.step(0)
        env = make()
        play(env, [0])
        with pytest.raises(ResetNeeded, match="over"):
            env.step(0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"promt": "w2"}, r"among \['prompt', 'prompt_index'\], got 'promt'"),
            ({1: "w2"}, "got 1"),
            ({"reset_mask": [True]}, "got 'reset_mask'"),
            ({"prompt": "w2", "prompt_index": 0}, "exclude each other"),
            ({"prompt_index": 3}, r"integer in \[0, 3\), got 3"),
            ({"prompt_index": -1}, "got -1"),
            ({"prompt_index": 1.0}, "got 1.0"),
            ({"prompt_index": True}, "got True"),
            ({"prompt_index": [0]}, r"got \[0\]"),
            ({"prompt": 5}, "text or a list of token ids, got 5"),
            ({"prompt": ""}, "no tokens"),
            ({"prompt": []}, "no tokens"),
            ({"prompt": [32]}, r"id 32, outside the vocabulary \[0, 32\)"),
            ({"prompt": "w2 w2 w2 w2 w2 w2"}, "6 tokens, more than max_prompt_tokens = 5"),
            ("prompt", "dictionary .* got str"),
            ([("prompt_index", 0)], "dictionary .* got list"),
        ],
    )
    def test_reset_options(self, options: Any, message: str) -> None:
        env = make(tiny_llama_task()).unwrapped
        env.reset(seed=0)
        state = env.np_random.bit_generator.state
        env.step(4)
        with pytest.raises(ValueError, match=message):
            env.reset(seed=1, options=options)
        # Nothing has happened: the episode goes on, the generator stands where it stood.
        assert env.np_random.bit_generator.state == state
        assert env.step(5)[0]["attention_mask"].sum() >= 3

    @pytest.mark.parametrize("seed", [-1, 1.5, "1", True, [1]])
    def test_seeds(self, seed: Any) -> None:
        with pytest.raises(ValueError, match="seed must be an integer >= 0"):
            make().unwrapped.reset(seed=seed)

    def test_close_twice_and_use_after(self) -> None:
        env = make(render_mode="ansi")
        env.reset()
        env.close()
        env.close()
        with pytest.raises(ValueError, match="closed"):
            env.unwrapped.reset()
        with pytest.raises(ValueError, match="closed"):
            env.unwrapped.step(0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"betaa": 0.1}, "no option 'betaa'"),
            ({"kl_coeff": 0.1}, "did you mean 'kl_coef'"),
            ({"task": "toy16"}, "did you mean 'toy15'"),
            ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1, got 0"),
            ({"kl_penalty": "k3"}, r"one of \['reference', 'sampled', 'exact'\], got 'k3'"),
            ({"device": "cuda"}, "there is no GPU here"),
        ],
    )
    def test_options(self, options: dict[str, Any], message: str) -> None:
        if options.get("device") == "cuda" and torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(ValueError, match=message):
            gym.make("RLHF-v0", **{"task": "toy15", **options})


class TestContextWindow:
    def test_episode_must_fit(self) -> None:
        """Trap A20."""
        with pytest.raises(ValueError, match=r"5 \+ 124 exceeds .* window of 128"):
            make(tiny_gpt2_task(), max_new_tokens=124)
        play(make(tiny_gpt2_task(), max_new_tokens=123), [EOS])


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
        random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
        env.reset(seed=7)
        drawn = [env.reset()[1]["prompt_index"] for _ in range(600)]
        # 200 of each, give or take four standard deviations of 11.5
        assert all(154 <= drawn.count(float(index)) <= 246 for index in range(3))
        env.step(3)
        assert states[0] == random.getstate()
        assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
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


class TestRewardFunctions:
    def test_a_reward_that_raises_can_be_tried_again(self) -> None:
        broken = [True]

        def fragile(prompts: list[str], responses: list[str]) -> list[float]:
            if broken:
                raise RuntimeError("no answer from the judge")
            return [7.0] * len(responses)

        task = copy.copy(tiny_llama_task())
        env = make(Task(**{**vars(task), "reward": fragile}))
        env.reset(seed=0)
        env.step(4)
        with pytest.raises(RuntimeError, match="no answer from the judge") as caught:
            env.step(EOS)
        assert "fragile" in caught.value.__notes__[0]
        broken.clear()
        _, _, terminated, _, info = env.step(EOS)
        assert terminated
        assert (info["score"], info["response_length"]) == (7.0, 2.0)

    def test_a_reward_that_answers_nan_is_named(self) -> None:
        def sloppy(prompts: list[str], responses: list[str]) -> list[float]:
            return [math.nan]

        env = make(Task(**{**vars(tiny_llama_task()), "reward": sloppy}))
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"sloppy must return 1 finite numbers, got nan"):
            env.step(EOS)

    def test_a_reward_that_writes_into_its_arguments_harms_nobody(self) -> None:
        def vandal(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
            for ids in (*prompts, *responses):
                ids.zero_()
            return torch.ones(len(responses))

        task = Task(**{**vars(tiny_llama_task()), "reward": vandal})
        env = make(task)
        before, _ = env.reset(options={"prompt_index": 1})
        after, *_ = env.step(EOS)
        assert after["input_ids"][:3].tolist() == [*before["input_ids"][:2].tolist(), EOS]
        assert task.prompts[1].tolist() == [3, 2]


class TestPolicyOption:
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (lambda ids, mask: torch.zeros(len(ids), 2), r"logits \[1, 3\], got \[1, 2\]"),
            (lambda ids, mask: torch.zeros(*ids.shape, 3), r"got \[1, 4, 3\]; take the logits"),
            (lambda ids, mask: "token 1", "got str"),
            (lambda ids, mask: torch.full((len(ids), 3), math.nan), "finite logits"),
        ],
    )
    def test_bad_answers(self, answer: Any, message: str) -> None:
        for kl_penalty in ("sampled", "exact"):
            env = make(kl_penalty=kl_penalty, policy=answer)
            env.reset()
            with pytest.raises(ValueError, match=message):
                env.step(1)

    def test_wider_logits_are_cut(self) -> None:
        def wide(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return torch.tensor([[0.0, 0.0, 0.0, 9.0]]).expand(len(input_ids), 4)

        (step,) = play(make(kl_penalty="sampled", policy=wide), [0])
        # 0.25 - 0.5 (ln(1/3) + 0.688194)
        assert step[1] == pytest.approx(0.455209, abs=1e-6)

    def test_it_cannot_write_into_the_state(self) -> None:
        def vandal(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            input_ids.zero_()
            attention_mask.zero_()
            return torch.zeros(len(input_ids), 3)

        env = make(kl_penalty="exact", policy=vandal)
        assert play(env, [1, 2])[-1][0]["input_ids"].tolist() == [0, 1, 2, 0]


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
        from rlhf_env.render import printable

        hostile = "\x1b]0;owned\x07\r\n\u202e\ud800ok é 猫 🐈"
        shown = printable(hostile)
        assert shown == "\\x1b]0;owned\\x07\\r\\n\\u202e\\ud800ok é 猫 🐈"


class TestCopies:
    @pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
    @pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
    def test_copies_in_mid_episode_go_on_alike(
        self, task: Callable[[], Task], twin_of: Callable[[Any], Any]
    ) -> None:
        env = make(task()).unwrapped
        env.reset(seed=5)
        env.step(2)
        twin = twin_of(env)
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
