"""What a wrapper does to finished episodes is what it does to steps.

Here the models are transformers, whose cached passes round otherwise than a pass over the whole
text, by some 1e-6 in the KL term; `test_rollout_exact` compares at 1e-6 where they do not.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import wrappers
import wrappers.vector
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import as_rollout, play, transformed
from tests.wrappers.stacks import DENSITIES, PAIRS, STACKS, TERMS, Stack

TASK = tiny_llama_task(vocab_size=8, horizon=6)
# (prompt_index, response): ended by EOS early, at the limit, at once; cut by the limit.
EPISODES = [
    (0, [5, 2, EOS]),
    (1, [5, 5, 2, 3, 4, EOS]),
    (2, [EOS]),
    (2, [2, 5, 5, 3, 5, 7]),
    (0, [5, EOS]),
]
REWARDS = DENSITIES | PAIRS | TERMS
# These change what an agent sees or chooses, so finished episodes say nothing of them.
TRANSFORMS = {
    name: stack for name, stack in STACKS.items() if "top_" not in name and "hidden" not in name
}


@pytest.fixture(scope="module")
def reviews() -> Task:
    return load_task("reviews")


@pytest.mark.parametrize("limit", ["score", "penalize", "bootstrap"])
@pytest.mark.parametrize("stack", REWARDS.values(), ids=REWARDS)
def test_a_rollout_is_paid_what_stepping_pays(stack: Stack, limit: str) -> None:
    env = stack(wrappers, RLHFEnv(TASK, length_limit=limit, missing_eos_penalty=0.7))
    rollout = transformed(env, as_rollout(TASK, EPISODES))
    for row, (index, response) in enumerate(EPISODES):
        steps = play(env, response, prompt_index=index)
        at = rollout.is_action[row]
        rewards = [reward for _, reward, *_ in steps]
        np.testing.assert_allclose(rollout.rewards[row, at], rewards, atol=1e-5)
        for name in rollout.reward_terms:
            terms = [info["reward_terms"][name] for *_, info in steps]
            np.testing.assert_allclose(rollout.reward_terms[name][row, at], terms, atol=1e-5)
        assert set(steps[-1][4]["reward_terms"]) == set(rollout.reward_terms)
        np.testing.assert_allclose(
            rewards, [sum(info["reward_terms"].values()) for *_, info in steps], atol=1e-12
        )


@pytest.mark.parametrize("stack", TRANSFORMS.values(), ids=TRANSFORMS)
def test_the_vector_version_transforms_a_rollout_alike(stack: Stack) -> None:
    single = stack(wrappers, RLHFEnv(TASK))
    vector = stack(wrappers.vector, RLHFVectorEnv(2, TASK))
    expected = transformed(single, as_rollout(TASK, EPISODES))
    got = transformed(vector, as_rollout(TASK, EPISODES))
    assert torch.equal(got.decision, expected.decision)
    torch.testing.assert_close(got.rewards, expected.rewards)
    assert list(got.reward_terms) == list(expected.reward_terms)


@pytest.mark.parametrize("stack", REWARDS.values(), ids=REWARDS)
def test_nothing_is_paid_outside_the_response(stack: Stack) -> None:
    env = stack(wrappers, RLHFEnv(TASK))
    rollout = transformed(env, as_rollout(TASK, EPISODES))
    for term in (rollout.rewards, *rollout.reward_terms.values()):
        assert not term[~rollout.is_action].any()


@pytest.mark.parametrize("stack", REWARDS.values(), ids=REWARDS)
def test_a_learned_reward_pays_rollouts_and_steps_alike(reviews: Task, stack: Stack) -> None:
    env = stack(wrappers, RLHFEnv(reviews, max_new_tokens=8))
    generator = np.random.default_rng(0)
    others = [token for token in range(reviews.vocab_size) if token != reviews.eos_id]
    written = [generator.choice(others, size=size).tolist() for size in (3, 8)]
    episodes = [(0, [*written[0], reviews.eos_id]), (7, written[1]), (3, [reviews.eos_id])]
    rollout = transformed(env, as_rollout(reviews, episodes))
    for row, (index, response) in enumerate(episodes):
        rewards = [reward for _, reward, *_ in play(env, response, prompt_index=index)]
        at = rollout.is_action[row]
        # The reward model too is a transformer: other prefixes in a batch, another rounding.
        np.testing.assert_allclose(rollout.rewards[row, at], rewards, atol=1e-4)
