"""Tianshou's vector environment, collector and buffer, infos included, and its REINFORCE."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlhf_env.task import Task
from tests.clients.toy15_net import BETA, REFERENCE, ActorCritic, objective
from wrappers import NumericInfo

pytest.importorskip("numba")
data = pytest.importorskip("tianshou.data")
env = pytest.importorskip("tianshou.env")
algorithm = pytest.importorskip("tianshou.algorithm")
reinforce = pytest.importorskip("tianshou.algorithm.modelfree.reinforce")
optim = pytest.importorskip("tianshou.algorithm.optim")


class Actor(nn.Module):
    """Logits in the form that Tianshou asks for; "reviews" is answered evenly."""

    def __init__(self, net: ActorCritic | None, vocab_size: int) -> None:
        super().__init__()
        self.net, self.vocab_size = net, vocab_size

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        if self.net is None:
            return torch.zeros(len(obs["input_ids"]), self.vocab_size), state
        return self.net(obs)[0], state


def make(task: str | Task, rows: int, net: ActorCritic | None = None) -> tuple[Any, Any]:
    """A learner, and what collects for it."""
    torch.manual_seed(0)
    envs = env.DummyVectorEnv(
        [lambda: NumericInfo(gym.make("RLHF-v0", task=task)) for _ in range(rows)]
    )
    space = envs.get_env_attr("action_space")[0]
    policy = reinforce.DiscreteActorPolicy(actor=Actor(net, int(space.n)), action_space=space)
    learner: Any = policy
    if net is not None:
        learner = algorithm.Reinforce(
            policy=policy, gamma=1.0, optim=optim.AdamOptimizerFactory(lr=0.02)
        )
    collector = data.Collector(learner, envs, data.VectorReplayBuffer(64 * rows, rows))
    collector.reset()
    return learner, collector


def test_a_buffer_holds_whole_episodes_and_their_infos() -> None:
    _, collector = make("reviews", 2)
    stats = collector.collect(n_episode=4)
    batch, _ = collector.buffer.sample(0)
    ends = batch.terminated.nonzero()[0]
    assert len(ends) == stats.n_collected_episodes == 4
    terms = batch.info["reward_terms"]
    np.testing.assert_allclose(terms["score"] + terms["kl"], batch.rew, atol=1e-5)
    assert set(batch.info["finish_reason"][ends]) <= {1.0, 2.0}
    assert (batch.info["finish_reason"] > 0).sum() == 4
    assert sorted(batch.info["response_length"][ends]) == sorted(stats.lens)
    totals = [part.sum() for part in np.split(batch.rew, ends[:-1] + 1)]
    np.testing.assert_allclose(sorted(totals), sorted(stats.returns), atol=1e-4)


def test_it_learns(toy15: Task) -> None:
    """Without an entropy bonus: the rewards hold only the reference's half of the KL."""
    net = ActorCritic()
    learner, collector = make(toy15, 8, net)
    for _ in range(30):
        collector.reset_buffer()
        collector.collect(n_episode=32)
        with algorithm.algorithm_base.policy_within_training_step(learner.policy):
            learner.update(collector.buffer, batch_size=None, repeat=1)
    assert toy15.kl_coef == BETA
    assert objective(toy15, lambda one: net(one)[0].softmax(-1)) > REFERENCE + 0.2
