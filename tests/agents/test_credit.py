from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import LlamaModel

from agents import Policy, collect, credit
from rlhf_env import exact
from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.vector_env import RLHFVectorEnv
from tests.toys import theta_policy, tiny_llama, tiny_llama_task
from tests.wrappers.episodes import as_rollout

EPISODES = [(0, [1, 1, 1]), (0, [1, 2, 0]), (0, [0]), (0, [2, 0])]


def paid_toy15(task: Task, **options: object) -> Rollout:
    return RLHFVectorEnv(1, task, **options).evaluate(as_rollout(task, EPISODES))


def optimum(task: Task) -> Policy:
    """pi* as a table: in "toy15" the states are numbered (), 1, 2, 11, 12, 21, 22."""
    solution = exact.solve(task, kl_coef=0.5)
    model = copy.deepcopy(task.reference)
    prefixes = [(), (1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)]
    table = torch.tensor([solution.policy[prefix] for prefix in prefixes], dtype=torch.float64)
    with torch.no_grad():
        model.lm_head.weight.copy_(table.log().T)  # type: ignore[union-attr,operator]
    return Policy(model, task.vocab_size)


def assert_totals_kept(got: Rollout, before: Rollout) -> None:
    torch.testing.assert_close(
        got.reward_terms["score"].sum(1), before.reward_terms["score"].sum(1), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(got.rewards.sum(1), before.rewards.sum(1), atol=1e-6, rtol=0)
    assert torch.equal(got.reward_terms["kl"], before.reward_terms["kl"])
    assert not got.rewards[~got.is_action].any()


def test_uniform_pays_equal_shares(toy15: Task) -> None:
    rollout = paid_toy15(toy15)
    got = credit.uniform(rollout)
    expected = [[0, 1, 1, 1], [0, 0.25, 0.25, 0.25], [0, 0.25, 0, 0], [0, -0.125, -0.125, 0]]
    torch.testing.assert_close(got.reward_terms["score"], torch.tensor(expected))
    assert_totals_kept(got, rollout)


def test_a_truncated_episode_has_nothing_to_spread(toy15: Task) -> None:
    rollout = paid_toy15(toy15, length_limit="bootstrap")
    assert credit.uniform(rollout).reward_terms["score"][0].tolist() == [0, 0, 0, 0]


def test_the_implicit_reward_of_the_optimum_is_its_advantage(toy15: Task) -> None:
    rollout = paid_toy15(toy15)
    got = credit.implicit(rollout, optimum(toy15), beta=0.5, keep_total=False)
    # Q* − V* of the tables of soft Bellman values at beta = 0.5.
    expected = [
        [0, 2.157518 - 1.125295, 2.419912 - 2.157518, 3.00 - 2.419912],
        [0, 2.157518 - 1.125295, 1.085962 - 2.157518, 0.75 - 1.085962],
        [0, 0.250000 - 1.125295, 0, 0],
        [0, 0.151999 - 1.125295, -0.25 - 0.151999, 0],
    ]
    torch.testing.assert_close(got.reward_terms["score"], torch.tensor(expected), atol=5e-6, rtol=0)


def test_the_remainder_is_the_value_of_the_prompt(toy15: Task) -> None:
    rollout = paid_toy15(toy15)
    got = credit.implicit(rollout, optimum(toy15), beta=0.5)
    bare = credit.implicit(rollout, optimum(toy15), beta=0.5, keep_total=False)
    assert_totals_kept(got, rollout)
    # V*(root) = 1.125295, in three equal shares.
    shares = (got.reward_terms["score"] - bare.reward_terms["score"])[0]
    torch.testing.assert_close(
        shares, torch.tensor([0, 0.375098, 0.375098, 0.375098]), atol=5e-6, rtol=0
    )


def test_the_reference_has_no_implicit_reward(toy15: Task) -> None:
    rollout = paid_toy15(toy15)
    reference = Policy(copy.deepcopy(toy15.reference), 3)
    got = credit.implicit(rollout, reference, beta=0.5, keep_total=False)
    torch.testing.assert_close(got.reward_terms["score"], torch.zeros(4, 4), atol=1e-6, rtol=0)
    got = credit.implicit(rollout, reference, beta=0.5)
    torch.testing.assert_close(
        got.reward_terms["score"], credit.uniform(rollout).reward_terms["score"]
    )


def test_policies_and_their_logprobs_are_the_same(toy15: Task) -> None:
    rollout = paid_toy15(toy15)
    policy, reference = Policy(theta_policy(toy15), 3), Policy(copy.deepcopy(toy15.reference), 3)
    by_model = credit.implicit(rollout, policy, reference, beta=0.5)
    logprobs = policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    by_number = credit.implicit(rollout, logprobs, rollout.ref_logprobs, beta=0.5)
    torch.testing.assert_close(by_model.rewards, by_number.rewards, atol=1e-6, rtol=0)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_must_be_positive(toy15: Task, beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be"):
        credit.implicit(paid_toy15(toy15), torch.zeros(4, 4), beta=beta)
    with pytest.raises(ValueError, match=r"log-probabilities of shape \[4, 4\], got \[4\]"):
        credit.implicit(paid_toy15(toy15), torch.zeros(4), beta=1.0)


def scalar_reward(seed: int = 1) -> ScalarRewardModel:
    trunk = tiny_llama(vocab_size=8, seed=seed).model
    assert isinstance(trunk, LlamaModel)
    return ScalarRewardModel(trunk)


def ragged(task: Task) -> Rollout:
    rows = [(0, [5, 2, 1]), (2, [5, 5, 2, 3, 1]), (1, [1])]
    return RLHFVectorEnv(1, task).evaluate(as_rollout(task, rows))


def test_attention_pays_what_the_reward_model_looks_at() -> None:
    task, model = tiny_llama_task(vocab_size=8, horizon=6), scalar_reward()
    rollout = ragged(task)
    weights = credit.attention_weights(rollout, model)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))
    assert not weights[~rollout.is_action].any()
    assert (weights[rollout.is_action] > 0).all()
    assert weights[2, 2] == 1.0
    got = credit.attention(rollout, model)
    assert_totals_kept(got, rollout)
    assert model.trunk.config._attn_implementation == "sdpa"


def test_attention_does_not_depend_on_padding_or_the_rest_of_the_batch() -> None:
    task, model = tiny_llama_task(vocab_size=8, horizon=6), scalar_reward()
    weights = credit.attention_weights(ragged(task), model)
    alone = credit.attention_weights(as_rollout(task, [(0, [5, 2, 1])]), model)
    torch.testing.assert_close(weights[0, :4], alone[0], atol=1e-6, rtol=0)


def test_only_a_transformer_has_attention(toy15: Task) -> None:
    class Plain:
        def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
            return torch.zeros(len(responses))

    with pytest.raises(TypeError, match=r"must be a ScalarRewardModel, .* got Plain; use uniform"):
        credit.attention(paid_toy15(toy15), Plain())  # type: ignore[arg-type]


def test_the_reviews_task_can_be_redistributed() -> None:
    task = load_task("reviews")
    envs = RLHFVectorEnv(4, task, max_new_tokens=12)
    rollout = collect(envs, Policy(copy.deepcopy(task.reference), task.vocab_size), 8, seed=0)
    assert isinstance(task.reward, ScalarRewardModel)
    assert_totals_kept(credit.attention(rollout, task.reward), rollout)
