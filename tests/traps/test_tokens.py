"""Tokens, padding and templates (traps B): masks by length, ids as they were, paid EOS."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from agents import GRPO, PPO, Agent
from agents.algorithm import take_rows
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import EOS, FavoriteTokenReward, tiny_llama, tiny_llama_task, tiny_tokenizer
from tests.traps.scripted import play

F, T = False, True


def eos_pads_task() -> Task:
    """Token 1 ends, pads and stands in the middle of the prompt."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return Task(**{**vars(tiny_llama_task(horizon=6)), "tokenizer": tokenizer})


def merging_task(reward: Any) -> Task:
    """Letters a, b and their merge "ab"; texts of ids are joined without spaces."""
    inner = Tokenizer(models.BPE({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}, [("a", "b")]))
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    return Task(
        name="merges",
        tokenizer=tokenizer,
        reference=tiny_llama(vocab_size=5),
        reward=reward,
        prompts=["a"],
        max_prompt_tokens=2,
        max_new_tokens=4,
    )


def test_pad_may_be_eos_in_a_rollout() -> None:
    """Trap B1: prompt (5, EOS, 6), response (7, 8, EOS), padded to six by its neighbor."""
    task = eos_pads_task()
    rollout = play(task, {(5, EOS, 6): [7, 8, EOS], (9, EOS, 6): [7, 8, 9, 9, 9, 9]})
    assert rollout.tokens[0].tolist() == [5, EOS, 6, 7, 8, EOS, EOS, EOS, EOS]
    assert rollout.is_action[0].tolist() == [F, F, F, T, T, T, F, F, F]
    assert rollout.response_lengths.tolist() == [3, 6]
    assert rollout.reward_terms["score"][0].count_nonzero() == 1
    assert rollout.reward_terms["score"][0, 5].item() == pytest.approx(-0.3, abs=1e-6)


def test_a_response_without_eos_has_its_whole_length() -> None:
    """Trap B2: nothing in it is taken for an end, and it is truncated where that is asked for."""
    script = {(2,): [5, 5, 5, 5, 5, 5], (3,): [5, EOS]}
    rollout = play(eos_pads_task(), script, length_limit="bootstrap")
    assert rollout.response_lengths.tolist() == [6, 2]
    assert rollout.terminated.tolist() == [False, True]
    assert rollout.last_action.int().argmax(dim=1).tolist() == [6, 2]
    assert rollout.reward_terms["score"][0].tolist() == [0.0] * 7
    assert rollout.score[1].item() == pytest.approx(0.8, abs=1e-6)


def test_sampled_ids_stay_though_their_text_encodes_otherwise() -> None:
    """Trap B4: a, b are two actions; "ab" would be one."""
    seen: list[str] = []

    def judge(prompts: list[str], responses: list[str]) -> list[float]:
        seen.extend(responses)
        return [1.0] * len(responses)

    task = merging_task(judge)
    assert task.tokenizer.encode("ab") == [4]
    rollout = play(task, {(2,): [2, 3, EOS]})
    assert seen == ["ab"]
    assert rollout.tokens[0].tolist() == [2, 2, 3, EOS]
    merged = play(task, {(2,): [4, EOS]})
    assert rollout.ref_logprobs.sum().item() != pytest.approx(merged.ref_logprobs.sum().item())
    again = make_envs(task, 1).evaluate(rollout)
    assert torch.allclose(again.ref_logprobs, rollout.ref_logprobs, atol=1e-5)


def test_prompt_and_response_do_not_merge() -> None:
    """Trap B6: "a" and then "b" is (a, b), and the response begins at b."""
    task = merging_task(lambda prompts, responses: [0.0] * len(responses))
    env = gym.make("RLHF-v0", task=task)
    observation, _ = env.reset(options={"prompt": "a"})
    observation, *_ = env.step(3)
    assert observation["input_ids"].tolist()[:2] == [2, 3]
    rollout = play(task, {(2,): [3, EOS]})
    assert rollout.tokens[0].tolist() == [2, 3, EOS]
    assert rollout.is_action[0].tolist() == [False, True, True]


@pytest.mark.parametrize("length_limit", ["score", "penalize"])
def test_the_judge_sees_what_was_said(length_limit: str) -> None:
    """Trap B9: an EOS that was said, and none that was not."""
    seen: list[list[int]] = []

    class Witness(FavoriteTokenReward):
        def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
            seen.extend(ids.tolist() for ids in responses)
            return super().__call__(prompts, responses)

    task = Task(**{**vars(tiny_llama_task(horizon=3)), "reward": Witness()})
    script = {(2,): [5, EOS], (3,): [5, 5, 6], (4,): [5, 6, EOS]}
    rollout = play(task, script, length_limit=length_limit)
    assert sorted(seen) == sorted(script.values())
    seen.clear()
    make_envs(task, 3, length_limit=length_limit).evaluate(rollout)
    assert sorted(seen) == sorted(script.values())


def test_special_tokens_are_no_text() -> None:
    """Trap B11: a function of texts is shown none of them; a reward of ids sees every one."""
    seen: list[str] = []

    def length(prompts: list[str], responses: list[str]) -> list[float]:
        seen.extend(responses)
        return [float(len(text)) for text in responses]

    texts = Task(**{**vars(tiny_llama_task(horizon=3)), "reward": length})
    rollout = play(texts, {(2,): [0, 0, EOS], (3,): [0, 7, EOS]})
    assert sorted(seen) == ["", "w7"]
    assert rollout.score.tolist() == [0.0, 2.0]
    assert rollout.response_lengths.tolist() == [3, 3]
    ids = play(tiny_llama_task(horizon=3), {(2,): [0, 0, EOS]})
    assert ids.score.tolist() == pytest.approx([-0.3], abs=1e-6)


@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_an_empty_response_is_one_paid_token(kind: type[Agent], toy15: Task) -> None:
    """Trap B12: EOS first. Score 0.25, length 1, and nothing is divided by 0."""
    rollout = play(toy15, {(0,): [0]})
    assert rollout.score.tolist() == [0.25]
    assert rollout.response_lengths.tolist() == [1]
    agent = kind(make_envs(toy15, 8), episodes_per_update=8)
    metrics = agent.update(take_rows(rollout, torch.zeros(8, dtype=torch.int64)))
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(parameter.isfinite().all() for parameter in agent.policy.parameters())


def test_eos_counts_above_and_below_the_line() -> None:
    """Trap B13: log-probabilities (-1, -2) and -3 of EOS have mean -2; not -1, -1.5 or -3."""
    agent = GRPO(make_envs(tiny_llama_task(), 2), aggregation="episode_mean", episodes_per_update=8)
    rollout = play(tiny_llama_task(), {(2,): [7, 8, EOS], (3,): [7, 8, 9, 9, EOS]})
    rollout = rollout.replace(group=torch.zeros(2, dtype=torch.int64))
    old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    values = torch.tensor([[-1.0, -2.0, -3.0, 9.0, 9.0], [-1.0] * 5])
    assert targets.weighted_sum(values).tolist() == pytest.approx([-2.0, -1.0], abs=1e-6)


@pytest.mark.parametrize("prompt", ["a", [2]])
def test_a_tokenizer_without_start_token_adds_none(prompt: str | list[int]) -> None:
    """Trap B5: zero stays zero, from texts and from ids, in the task and at reset."""
    task = merging_task(lambda prompts, responses: [0.0] * len(responses))
    assert [ids.tolist() for ids in (*task.prompts, *task.eval_prompts)] == [[2], [2]]
    observation, _ = gym.make("RLHF-v0", task=task).reset(options={"prompt": prompt})
    assert observation["input_ids"][: observation["attention_mask"].sum()].tolist() == [2]
