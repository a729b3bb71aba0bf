"""torchrl's GymEnv: rollouts, and that they can be learned from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rlhf_env.task import Task
from tests.clients.toy15_net import BETA, REFERENCE, ActorCritic, objective

torchrl_envs = pytest.importorskip("torchrl.envs")
tensordict_nn = pytest.importorskip("tensordict.nn")


def test_its_own_checks_pass(toy15: Task) -> None:
    env = torchrl_envs.GymEnv("RLHF-v0", task=toy15, categorical_action_encoding=True)
    torchrl_envs.check_env_specs(env, seed=0)


def test_rewards_of_a_rollout_on_reviews_are_those_of_its_tokens() -> None:
    env = torchrl_envs.GymEnv("RLHF-v0", task="reviews", categorical_action_encoding=True)
    env.set_seed(3)
    data = env.rollout(50)
    length = len(data)
    assert data["next", "done"][:, 0].tolist() == [False] * (length - 1) + [True]
    used = data["next", "attention_mask"].sum(-1)
    assert used.tolist() == list(range(int(used[0]), int(used[0]) + length))
    last = data["next", "input_ids"][torch.arange(length), used - 1]
    assert torch.equal(last, data["action"])
    again = torchrl_envs.GymEnv("RLHF-v0", task="reviews", categorical_action_encoding=True)
    again.set_seed(3)
    state = again.reset()
    for token, paid in zip(data["action"], data["next", "reward"], strict=True):
        state["action"] = token
        state = again.step(state)["next"]
        assert torch.equal(state["reward"], paid)


def test_it_learns(toy15: Task) -> None:
    """REINFORCE with an entropy bonus, on rollouts that torchrl collects."""
    torch.manual_seed(0)
    net = ActorCritic()
    probabilistic = tensordict_nn.ProbabilisticTensorDictModule
    policy = tensordict_nn.TensorDictSequential(
        tensordict_nn.TensorDictModule(
            lambda ids, mask: net({"input_ids": ids[None], "attention_mask": mask[None]})[0][0],
            in_keys=["input_ids", "attention_mask"],
            out_keys=["logits"],
        ),
        probabilistic(
            in_keys=["logits"],
            out_keys=["action"],
            distribution_class=torch.distributions.Categorical,
            default_interaction_type=tensordict_nn.InteractionType.RANDOM,
        ),
    )
    env = torchrl_envs.GymEnv("RLHF-v0", task=toy15, kl_coef=BETA, categorical_action_encoding=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.stack(
            [episode_loss(net, env.rollout(3, policy)) for _ in range(16)]
        ).mean().backward()
        optimizer.step()
    assert objective(toy15, lambda one: net(one)[0].softmax(-1)) > REFERENCE + 0.5


def episode_loss(net: ActorCritic, data: Any) -> Tensor:
    logits, values = net(data)
    choice = torch.distributions.Categorical(logits=logits)
    returns = data["next", "reward"][:, 0].flip(0).cumsum(0).flip(0)
    gain = (returns - values.detach()) * choice.log_prob(data["action"])
    return (0.5 * (values - returns).square() - gain - BETA * choice.entropy()).sum()
