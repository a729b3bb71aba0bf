from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from transformers import AutoModelForCausalLM, DynamicCache

from agents import Policy, collect
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.task import Task
from rlhf_env.tasks import automaton_task
from rlhf_env.tasks.automaton_lm import AutomatonLM
from tests.agents.episodes import make_envs
from tests.automata import moved_policy, random_automaton

POLICIES = ("table", "timed_table", "transformer")
EMPTY = torch.tensor([0])


def two_tokens() -> Task:
    """State 1 after an odd number of tokens 1; paid 1 there."""
    return automaton_task([[0, 1, 0], [1, 0, 1]], [[0.0, 1.0, 2.0], [0.0, 0.0, -1.0]], [0, 1], 4)


def test_logits_are_those_of_the_state() -> None:
    logits = two_tokens().reference(input_ids=torch.tensor([[0, 1, 2, 1, 2]])).logits[0]
    even, odd = [0.0, 1.0, 2.0], [0.0, 0.0, -1.0]
    assert logits.tolist() == [even, odd, odd, even, even]


def test_the_score_is_that_of_the_last_state() -> None:
    reward = two_tokens().reward
    texts = [torch.tensor(ids) for ids in ([0], [1, 0], [1, 2, 2, 2], [1, 1, 1, 0])]
    assert reward([EMPTY] * 4, texts).tolist() == [0.0, 1.0, 1.0, 1.0]
    found = reward.prefix_scores([EMPTY] * 4, texts)  # type: ignore[attr-defined]
    assert [row.tolist() for row in found] == [[0, 0], [0, 1, 1], [0, 1, 1, 1, 1], [0, 1, 0, 1, 1]]


def test_functions_of_the_state_give_the_same_task() -> None:
    tables = [[0, 1, 0], [1, 0, 1]], [[0.0, 1.0, 2.0], [0.0, 0.0, -1.0]], [0, 1]
    made = automaton_task(*[table.__getitem__ for table in tables], 4)  # type: ignore[arg-type]
    text = torch.tensor([[0, 1, 2, 1, 2]])
    assert torch.equal(made.reference(text).logits, two_tokens().reference(text).logits)
    texts = [torch.tensor([1, 2, 0])]
    assert torch.equal(made.reward([EMPTY], texts), two_tokens().reward([EMPTY], texts))


def test_functions_are_followed_from_the_start_on() -> None:
    task = automaton_task(
        lambda s: [-1, min(s + 2, 9)], lambda s: [0.0, float(s)], float, 3, start=1
    )
    logits = task.reference(input_ids=torch.tensor([[0, 1, 1, 1, 1, 1]])).logits[0]
    assert logits[:, 1].tolist() == [1, 3, 5, 7, 9, 9]


def test_prompts_start_in_states_of_their_own() -> None:
    moves = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]
    logits = [[0.0, float(state)] for state in range(5)]
    task = automaton_task(moves, logits, range(5), 3, start=[4, 3, 2, 1, 0])
    prompts = [prompt.tolist() for prompt in task.prompts]
    assert prompts == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]]
    text = torch.tensor([[*prompt, 1, 1] for prompt in prompts])
    found = task.reference(input_ids=text).logits[:, 2:, 1]
    assert found.tolist() == [[4, 0, 1], [3, 4, 0], [2, 3, 4], [1, 2, 3], [0, 1, 2]]
    scores = task.reward(list(task.prompts), [torch.tensor([1, 1, 0])] * 5)
    assert scores.tolist() == [1, 0, 4, 3, 2]


@pytest.mark.parametrize("kind", POLICIES)
def test_a_policy_starts_exactly_at_the_reference(kind: str) -> None:
    table, task = random_automaton(0), random_automaton(0, policy=kind)
    text = torch.tensor([[0, 1, 2, 1, 1], [0, 2, 2, 1, 0]])
    expected = table.reference(input_ids=text).logits
    assert torch.equal(task.reference(input_ids=text).logits, expected)
    assert not torch.equal(moved_policy(task)(input_ids=text).logits, expected)


def test_weights_come_from_no_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = random_automaton(0, policy="transformer").reference.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    second = random_automaton(0, policy="transformer").reference.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", POLICIES)
def test_cached_steps_give_the_logits_of_whole_texts(kind: str) -> None:
    task = random_automaton(0, vocab_size=4, horizon=8, policy=kind, start=[0, 2, 1, 3, 1])
    model = moved_policy(task)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 4, (5, 10), generator=generator)
    tokens[:, :2] = torch.stack(list(task.prompts))
    whole = model(input_ids=tokens).logits
    cached = LanguageModel(model, 4)
    for length in range(2, 11):
        found = cached.next_logits(tokens, torch.full((5,), length))
        assert torch.allclose(found, whole[:, length - 1], atol=1e-5)
    lengths = torch.tensor([3, 10, 2, 7, 7])
    for more in (lengths, (lengths + 1).clamp(max=10), lengths):
        found = cached.next_logits(tokens, more)
        assert torch.allclose(found, whole[torch.arange(5), more - 1], atol=1e-5)


def test_a_cached_step_reads_one_token() -> None:
    model = moved_policy(random_automaton(0, horizon=64))
    read = []
    model.trunk.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    cached = LanguageModel(model, 3)
    read.clear()
    tokens = torch.ones((2, 65), dtype=torch.int64)
    for length in range(1, 65):
        cached.next_logits(tokens, torch.full((2,), length))
    assert read == [1] * 64


def test_other_caches_are_refused() -> None:
    with pytest.raises(TypeError, match="needs a RowCache or no cache, got DynamicCache"):
        two_tokens().reference(input_ids=torch.tensor([[0]]), past_key_values=DynamicCache())


@pytest.mark.parametrize("kind", POLICIES)
def test_packed_positions_begin_new_texts(kind: str) -> None:
    model = moved_policy(random_automaton(0, policy=kind)).trunk
    packed = torch.tensor([[0, 1, 2, 0, 2, 1]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    found = model.states(packed, positions)[0]
    apart = [model.states(ids, positions[:, :3])[0] for ids in packed.split(3, dim=1)]
    assert torch.equal(found, torch.cat(apart))


@pytest.mark.parametrize("kind", POLICIES)
def test_saving_and_loading_keeps_every_bit(kind: str, tmp_path: Path) -> None:
    model = moved_policy(random_automaton(0, policy=kind, start=[0, 1]))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, AutomatonLM)
    text = torch.tensor([[1, 2, 1, 1]])
    assert torch.equal(loaded(text).logits, model(text).logits)


@pytest.mark.parametrize("kind", POLICIES)
def test_a_copy_learns_alone(kind: str) -> None:
    task = random_automaton(0, policy=kind)
    policy = copy.deepcopy(task.reference).requires_grad_(True)
    before = {name: value.clone() for name, value in task.reference.state_dict().items()}
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    (-policy(input_ids=torch.tensor([[0, 1]])).logits[0, -1, 2]).backward()
    optimizer.step()
    assert (
        policy(torch.tensor([[0, 1]])).logits[0, -1, 2]
        > 0.5 + (task.reference(torch.tensor([[0, 1]])).logits[0, -1, 2])
    )
    after = task.reference.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", POLICIES)
def test_stepping_gives_the_numbers_of_the_rollout(kind: str) -> None:
    task = random_automaton(0, horizon=6, policy=kind, start=[0, 1, 2, 3])
    policy = Policy(moved_policy(task), task.vocab_size)
    fast, stepped, alone = (
        collect(make_envs(task, rows), policy, 12, seed=3, fast=is_fast)
        for rows, is_fast in ((4, True), (4, False), (1, False))
    )
    for other in (stepped, alone):
        assert torch.equal(fast.tokens, other.tokens)
        for name in ("logprobs", "ref_logprobs", "rewards", "score"):
            assert torch.allclose(getattr(fast, name), getattr(other, name), atol=1e-4)


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("penalty", ["reference", "sampled"])
def test_both_checkers_pass(kind: str, penalty: str) -> None:
    task = random_automaton(0, horizon=3, policy=kind, start=[0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("RLHF-v0", task=task, kl_penalty=penalty).unwrapped
        check_env(env, skip_render_check=True)
        if penalty != "sampled":
            sb3_check_env(gym.make("RLHF-v0", task=task).unwrapped, warn=True)


MOVES, LOGITS, SCORES = [[0, 1], [1, 0]], [[0.0, 0.0], [0.0, 1.0]], [0.0, 1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"policy": "tree"}, "policy must be one of .*, got 'tree'"),
        ({"horizon": 0}, "horizon must be an integer >= 1, got 0"),
        ({"horizon": 10**30}, r"horizon must be at most 1000000, got 1e\+30"),
        ({"next_state": [[0, 1], [0]]}, "next_state must have rows of one length, got"),
        ({"next_state": lambda s: [s, s + 1]}, r"state 99999 must be states in \[0, 100000\)"),
        ({"next_state": lambda s: [s, 1], "start": 10**9}, "start must be states in"),
        ({"start": [[0, 1]]}, r"start must be a state, or one for each prompt, got the shape"),
        ({"reference_logits": [["a", "b"]] * 2}, "reference_logits must be real numbers, got"),
        ({"reference_logits": [[0.0, 1e300]] * 2}, r"finite numbers of float32, got 1e\+300 at"),
        ({"score": [0.0, 1j]}, "score must be real numbers, got"),
        ({"score": lambda s: "x"}, "score of state 0 must be real numbers, got 'x'"),
        ({"next_state": [[0.5, 1.0]]}, "next_state must be integers, got float64"),
        ({"next_state": [0, 1]}, r"next_state must be \[S, V\] or \[P, S, V\]"),
        ({"next_state": [[0, 2], [1, 0]]}, r"next_state must be states in \[0, 2\), got 2"),
        ({"next_state": lambda s: [0, 1] if s else [0]}, "a state for each of the V >= 2 tokens"),
        ({"start": 2}, r"start must be states in \[0, 2\), got 2"),
        ({"reference_logits": [[0.0, 0.0]]}, r"reference_logits must be \[2, 2\] as next_state"),
        ({"reference_logits": lambda s: [0.0]}, r"of state 0 must be of shape \[2\], got \[1\]"),
        ({"score": [0.0, np.nan]}, r"score must be finite numbers of float32, got nan at \[1\]"),
        ({"score": [SCORES] * 3, "start": [0, 1]}, r"of one number of prompts, got \[2, 3\]"),
    ],
)
def test_impossible_tables_are_refused(given: dict[str, Any], message: str) -> None:
    usual = {"next_state": MOVES, "reference_logits": LOGITS, "score": SCORES, "horizon": 2}
    with pytest.raises(ValueError, match=message):
        automaton_task(**(usual | given))


def test_an_error_of_a_function_keeps_its_kind_and_names_the_state() -> None:
    moves: dict[int, list[int]] = {0: [0, 3]}
    with pytest.raises(KeyError) as caught:
        automaton_task(moves.__getitem__, [[0.0, 0.0]], [0.0], 4)
    assert caught.value.__notes__ == ["raised by the function next_state for state 3"]


def test_many_states_are_followed_once_each() -> None:
    """Each is asked for once, however many ways lead there."""
    asked: list[int] = []

    def moves(state: int) -> list[int]:
        asked.append(state)
        return [state, *((7 * state + k) % 5000 for k in range(20))]

    task = automaton_task(moves, lambda s: [0.0] * 21, lambda s: 0.0, np.int64(4))
    assert sorted(asked) == list(range(5000))
    assert task.max_new_tokens == 4
