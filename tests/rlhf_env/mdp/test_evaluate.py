"""The whole-rollout path pays what stepping pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.toys import EOS, theta_policy, tiny_gpt2, tiny_gpt2_task, tiny_llama_task

TASKS: dict[str, Callable[[], Task]] = {"llama": tiny_llama_task, "gpt2": tiny_gpt2_task}
Episode = tuple[int, list[int], list[float]]


def stepped(env: Any, episodes: list[Episode]) -> list[list[tuple[float, dict[str, Any]]]]:
    """Reward and info of every step; an action after the end is not taken."""
    carries_logprob = isinstance(env.action_space, gym.spaces.Dict)
    found = []
    for prompt_index, actions, logprobs in episodes:
        env.reset(options={"prompt_index": prompt_index})
        steps = []
        for token, logprob in zip(actions, logprobs, strict=True):
            action = {"token": token, "logprob": logprob} if carries_logprob else token
            _, reward, terminated, truncated, info = env.step(action)
            steps.append((reward, {**info, "flags": (terminated, truncated)}))
            if terminated or truncated:
                break
        found.append(steps)
    return found


def as_rollout(task: Task, episodes: list[Episode], counts: list[int]) -> Rollout:
    """What a collector knows of episodes of which the first ``counts`` actions were taken."""
    width = max(len(task.prompts[i]) + n for (i, _, _), n in zip(episodes, counts, strict=True)) + 3
    shape = (len(episodes), width)
    # Whatever stands behind the end must not matter.
    tokens = torch.full(shape, 7 % task.vocab_size)
    is_action, logprobs = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
    for row, ((prompt_index, actions, said), count) in enumerate(
        zip(episodes, counts, strict=True)
    ):
        start = len(task.prompts[prompt_index])
        tokens[row, :start] = task.prompts[prompt_index]
        tokens[row, start : start + count] = torch.tensor(actions[:count])
        is_action[row, start : start + count] = True
        logprobs[row, start : start + count] = torch.tensor(said[:count])
    return Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=logprobs,
        ref_logprobs=torch.zeros(shape),
        rewards=torch.zeros(shape),
        reward_terms={"score": torch.zeros(shape), "kl": torch.zeros(shape)},
        score=torch.zeros(shape[0]),
        terminated=torch.zeros(shape[0], dtype=torch.bool),
        group=torch.arange(shape[0]),
        prompt_index=torch.tensor([i for i, _, _ in episodes]),
        decision=is_action.long().cumsum(1) * is_action - 1,
    )


def assert_equal(rollout: Rollout, steps: list[list[tuple[float, dict[str, Any]]]]) -> None:
    for row, episode in enumerate(steps):
        at = rollout.is_action[row]
        rewards, infos = zip(*episode, strict=True)
        assert rollout.rewards[row, at].tolist() == pytest.approx(list(rewards), abs=1e-4)
        for name in ("score", "kl"):
            paid = [info["reward_terms"][name] for info in infos]
            term = rollout.reward_terms[name]
            assert term[row, at].tolist() == pytest.approx(paid, abs=1e-4)
            assert term[row, ~at].count_nonzero() == 0
        told = [info["ref_logprob"] for info in infos]
        assert rollout.ref_logprobs[row, at].tolist() == pytest.approx(told, abs=1e-4)
        assert float(rollout.score[row]) == pytest.approx(infos[-1]["score"], abs=1e-4)
        assert infos[-1]["flags"] == (bool(rollout.terminated[row]), not rollout.terminated[row])
        assert rollout.rewards[row, ~at].count_nonzero() == 0
        assert rollout.ref_logprobs[row, ~at].count_nonzero() == 0


def episodes_of(horizon: int, vocab_size: int) -> st.SearchStrategy[list[Episode]]:
    tokens = st.integers(0, vocab_size - 1) | st.just(EOS)
    logprobs = st.floats(-5, 0, width=32)
    one = st.tuples(
        st.integers(0, 2),
        st.lists(tokens, min_size=horizon, max_size=horizon),
        st.lists(logprobs, min_size=horizon, max_size=horizon),
    )
    return st.lists(one, min_size=1, max_size=5)


OPTIONS: dict[str, dict[str, Any]] = {
    "reference": {},
    "sampled": {"kl_penalty": "sampled", "kl_coef": 0.3},
    "penalize": {"length_limit": "penalize", "missing_eos_penalty": 0.5},
    "bootstrap": {"length_limit": "bootstrap"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_it_pays_what_stepping_pays(task: Callable[[], Task], options: dict[str, Any]) -> None:
    made = task()
    env = gym.make("RLHF-v0", task=made, max_new_tokens=4, **options)

    @settings(max_examples=15, deadline=None)
    @given(episodes_of(horizon=4, vocab_size=32))
    def check(episodes: list[Episode]) -> None:
        steps = stepped(env, episodes)
        rollout = as_rollout(made, episodes, [len(episode) for episode in steps])
        assert_equal(env.unwrapped.evaluate(rollout), steps)

    check()


@pytest.mark.parametrize("kl_penalty", ["sampled", "exact"])
def test_it_asks_the_policy_as_stepping_does(kl_penalty: str) -> None:
    other = tiny_gpt2(seed=5)

    def policy(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = other(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits[torch.arange(len(logits)), attention_mask.sum(1) - 1]

    task = tiny_gpt2_task(horizon=4)
    env = gym.make("RLHF-v0", task=task, kl_penalty=kl_penalty, policy=policy)
    episodes = [
        (0, [3, 4, 5, 6], [0.0] * 4),
        (1, [EOS, 0, 0, 0], [0.0] * 4),
        (2, [9, 9, EOS, 0], [0.0] * 4),
    ]
    steps = stepped(env, episodes)
    assert [len(episode) for episode in steps] == [4, 1, 3]
    rollout = as_rollout(task, episodes, [4, 1, 3])
    evaluated = env.unwrapped.evaluate(rollout)
    assert_equal(evaluated, steps)
    assert evaluated.reward_terms["kl"].abs().max() > 0.01


def test_toy15_numbers() -> None:
    """Episode (1, EOS) at beta = 0.5: -1.109244, then 1.25 - 0.532897."""
    task = load_task("toy15")
    env = gym.make("RLHF-v0", task=task)
    rollout = env.unwrapped.evaluate(as_rollout(task, [(0, [1, 0], [0.0, 0.0])], [2]))
    assert rollout.rewards[0].tolist() == pytest.approx(
        [0.0, -1.109244, 0.717103, 0.0, 0.0, 0.0], abs=1e-6
    )
    assert rollout.score.tolist() == [1.25]
    exact = gym.make(
        "RLHF-v0", task=task, kl_penalty="exact", policy=_last(theta_policy(task))
    ).unwrapped.evaluate(rollout)
    assert exact.reward_terms["kl"][0].tolist() == pytest.approx(
        [0.0, -0.002626, -0.005543, 0.0, 0.0, 0.0], abs=1e-6
    )


def _last(model: torch.nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    def policy(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = model(input_ids=input_ids).logits
        return logits[torch.arange(len(logits)), attention_mask.sum(1) - 1]

    return policy


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_an_independent_forward_pass_agrees(task: Callable[[], Task]) -> None:
    """Log-probabilities from one full pass over one text, rewards put together by hand."""
    made = task()
    env = gym.make("RLHF-v0", task=made)
    rollout = env.unwrapped.evaluate(
        as_rollout(made, [(2, [5, 9, 5, EOS], [0.0] * 4), (0, [EOS], [0.0])], [4, 1])
    )
    text = torch.tensor([[2, 3, 2, 2, 3, 5, 9, 5, EOS]])
    logits = made.reference(input_ids=text).logits[0].double()
    told = (logits.softmax(-1)[torch.arange(4, 8), text[0, 5:]]).log()
    assert rollout.ref_logprobs[0, 5:9].tolist() == pytest.approx(told.tolist(), abs=1e-5)
    # Two favorites, four tokens: 2 - 0.4; beta is 0.1.
    expected = (0.1 * told + torch.tensor([0.0, 0.0, 0.0, 1.6])).tolist()
    assert rollout.rewards[0, 5:9].tolist() == pytest.approx(expected, abs=1e-5)
    assert rollout.score.tolist() == pytest.approx([1.6, -0.1], abs=1e-6)


def test_kl_coef_is_the_present_one() -> None:
    task = load_task("toy15")
    env = gym.make("RLHF-v0", task=task).unwrapped
    env.kl_coef = 0.0
    rollout = env.evaluate(as_rollout(task, [(0, [1, 0], [0.0, 0.0])], [2]))
    assert rollout.rewards[0].tolist() == [0.0, 0.0, 1.25, 0.0, 0.0, 0.0]


def test_the_vector_environment_has_it_too() -> None:
    task = tiny_llama_task()
    rollout = as_rollout(task, [(2, [5, 9, 5, EOS], [0.0] * 4)], [4])
    single = gym.make("RLHF-v0", task=task).unwrapped.evaluate(rollout)
    envs = gym.make_vec("RLHF-v0", num_envs=3, task=task)
    assert torch.equal(envs.unwrapped.evaluate(rollout).rewards, single.rewards)
