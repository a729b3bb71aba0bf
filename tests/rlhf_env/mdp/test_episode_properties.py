"""Any episode: paid by an independent forward pass, at its EOS, and never after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rlhf_env  # noqa: F401 -- registers the environment
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import score_rollout
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.rlhf_env.mdp.test_evaluate import as_rollout
from tests.toys import EOS, FAVORITE, tiny_gpt2_task, tiny_llama_task

HORIZON = 5
TASKS: dict[str, Callable[[], Task]] = {
    "llama": lambda: tiny_llama_task(horizon=HORIZON),
    "gpt2": lambda: tiny_gpt2_task(horizon=HORIZON),
}
TOKENS = st.integers(0, 31) | st.sampled_from([EOS, FAVORITE])
RESPONSES = st.lists(
    st.tuples(st.integers(0, 2), st.lists(TOKENS, min_size=HORIZON, max_size=HORIZON)),
    min_size=1,
    max_size=4,
)


def until_eos(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens


@torch.no_grad()
def paid_by_hand(task: Task, prompt_index: int, response: list[int]) -> list[float]:
    """Rewards of one episode, from one forward pass of the whole text in double precision."""
    prompt = task.prompts[prompt_index]
    text = torch.cat([prompt, torch.tensor(response)])[None]
    logits = task.reference(input_ids=text).logits[0].double()
    places = torch.arange(len(prompt), text.shape[1])
    logprobs = logits.log_softmax(-1)[places - 1, text[0, places]]
    rewards = (0.1 * logprobs).tolist()
    rewards[-1] += response.count(FAVORITE) - 0.1 * len(response)
    return rewards


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_steps_pay_what_an_independent_pass_says(task: Callable[[], Task], mode: str) -> None:
    """Rows of a vector environment, over and over, whatever the reset does in between."""
    made = task()
    environments: dict[int, Any] = {}

    @settings(max_examples=20, deadline=None)
    @given(RESPONSES)
    def check(episodes: list[tuple[int, list[int]]]) -> None:
        count = len(episodes)
        if count not in environments:
            environments[count] = gym.make_vec(
                "RLHF-v0", num_envs=count, task=made, autoreset_mode=mode
            )
        envs = environments[count]
        envs.reset(options={"prompt_index": [index for index, _ in episodes]})
        responses = [until_eos(tokens) for _, tokens in episodes]
        expected = [
            paid_by_hand(made, index, response)
            for (index, _), response in zip(episodes, responses, strict=True)
        ]
        is_over = np.zeros(count, dtype=bool)
        for step in range(max(map(len, responses))):
            if mode == "Disabled" and is_over.any():
                envs.reset(options={"reset_mask": is_over})
            actions = np.array([(r + [9] * HORIZON)[step] for r in responses])
            _, rewards, terminated, truncated, _ = envs.step(actions)
            is_over = terminated | truncated
            for row, response in enumerate(responses):
                if step < len(response):
                    assert rewards[row] == pytest.approx(expected[row][step], abs=1e-4)
                    assert is_over[row] == (step == len(response) - 1)
                elif mode == "NextStep" and step == len(response):
                    # The step of the reset is nobody's.
                    assert rewards[row] == 0.0

    check()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_rollouts_are_paid_by_the_same_numbers_at_the_same_places(
    task: Callable[[], Task],
) -> None:
    made = task()
    env = gym.make("RLHF-v0", task=made).unwrapped

    @settings(max_examples=30, deadline=None)
    @given(RESPONSES)
    def check(episodes: list[tuple[int, list[int]]]) -> None:
        paid = env.evaluate(rollout_of(made, episodes))
        for row, (index, tokens) in enumerate(episodes):
            response, start = until_eos(tokens), len(made.prompts[index])
            end = start + len(response)
            expected = paid_by_hand(made, index, response)
            assert paid.rewards[row, start:end].tolist() == pytest.approx(expected, abs=1e-4)
            assert paid.reward_terms["score"][row].nonzero().flatten().tolist() in ([end - 1], [])
            for field in (paid.rewards, paid.ref_logprobs, *paid.reward_terms.values()):
                assert field[row, :start].count_nonzero() == 0
                assert field[row, end:].count_nonzero() == 0

    check()


@pytest.mark.parametrize("name", ["llama", "gpt2", "toy15"])
def test_what_stands_behind_the_end_is_nobody_s_business(name: str) -> None:
    """Trap B3: any ids there, and any number of columns of them."""
    made = load_task("toy15") if name == "toy15" else TASKS[name]()
    env = gym.make("RLHF-v0", task=made).unwrapped
    lm = LanguageModel(made.reference, made.vocab_size)
    clean = rollout_of(made, known_episodes(made))
    expected = env.evaluate(clean)
    logprobs = score_rollout(lm, clean.tokens, clean.is_action)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(0, 4))
    def check(seed: int, columns: int) -> None:
        spoilt = poisoned(widened(clean, columns), seed, made.vocab_size)
        width = clean.tokens.shape[1]
        found = env.evaluate(spoilt)
        assert torch.equal(found.score, expected.score)
        for one, other in (
            (found.rewards, expected.rewards),
            (found.ref_logprobs, expected.ref_logprobs),
            (score_rollout(lm, spoilt.tokens, spoilt.is_action), logprobs),
        ):
            torch.testing.assert_close(one[:, :width], other, atol=1e-6, rtol=0)
            assert one[:, width:].count_nonzero() == 0

    check()


def known_episodes(task: Task) -> list[tuple[int, list[int]]]:
    if task.name == "toy15":
        return [(0, [1, 0]), (0, [1, 2, 1]), (0, [0])]
    return [(2, [5, 9, 5, EOS]), (0, [EOS]), (1, [5, 5, 7, 8, 9])]


def rollout_of(task: Task, episodes: list[tuple[int, list[int]]]) -> Rollout:
    cut = [(i, until_eos(tokens) if task.eos_id == EOS else tokens) for i, tokens in episodes]
    said = [(i, tokens, [0.0] * len(tokens)) for i, tokens in cut]
    return as_rollout(task, said, [len(tokens) for _, tokens in cut])


def widened(rollout: Rollout, columns: int) -> Rollout:
    """The same episodes with more padding."""

    def wide(field: Tensor, value: float = 0) -> Tensor:
        return torch.nn.functional.pad(field, (0, columns), value=value)

    return rollout.replace(
        **{
            name: wide(getattr(rollout, name))
            for name in ("tokens", "is_action", "logprobs", "ref_logprobs", "rewards")
        },
        reward_terms={name: wide(term) for name, term in rollout.reward_terms.items()},
        decision=wide(rollout.decision, -1),
    )


def poisoned(rollout: Rollout, seed: int, vocab_size: int) -> Rollout:
    """The same episodes with random ids behind their ends."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, vocab_size, rollout.tokens.shape, generator=generator)
    is_behind = torch.arange(rollout.tokens.shape[1]) >= rollout.lengths[:, None]
    return rollout.replace(tokens=torch.where(is_behind, noise, rollout.tokens))
