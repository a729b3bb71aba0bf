"""What a step pays: literal numbers on toy15, and what ends an episode."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.task import Task
from tests.toys import EOS, theta_policy, tiny_llama_task, tiny_tokenizer

# ln of the reference's probabilities of tokens 0, 1, 2 in states (), (1) and (1, 1).
REF_ROOT = (-0.688194, -2.218489, -0.944834)
REF_1 = (-1.065795, -0.595555, -2.260587)
REF_11 = (-2.268123, -1.352567, -0.449546)


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
        assert step[4]["reward_terms"] == pytest.approx({"score": 0.25, "kl": -0.048819}, abs=1e-6)

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
    def test_limit(self, options: dict[str, Any], paid: float, flags: tuple[bool, bool]) -> None:
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
