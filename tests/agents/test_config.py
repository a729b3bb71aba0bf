"""Settings that cannot be used: one clear sentence each."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from agents import GRPO, PPO, Agent, AgentConfig, GRPOConfig, PPOConfig
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_coef": -0.1}, "kl_coef must be a finite number >= 0, got -0.1"),
        ({"kl_coef": math.inf}, "kl_coef must be a finite number >= 0, got inf"),
        ({"learning_rate": -1e-3}, "learning_rate must be a finite number >= 0, got -0.001"),
        ({"temperature": 0.0}, "temperature must be a finite number greater than 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be a finite number greater than 0, got nan"),
        (
            {"temperature": 1e-40},
            "temperature must be at least 1e-06, so that logits divided by it stay finite, "
            "got 1e-40; raise it",
        ),
        ({"adam_epsilon": 0}, "adam_epsilon must be a finite number >= 1e-30, got 0"),
        ({"adam_epsilon": 1e-46}, "adam_epsilon must be a finite number >= 1e-30, got 1e-46"),
        ({"max_grad_norm": 0}, "max_grad_norm must be a finite number greater than 0, got 0"),
        ({"entropy_coef": "a"}, "entropy_coef must be a finite number >= 0, got 'a'"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": 1.5}, "seed must be an integer >= 0, got 1.5"),
        (
            {"seed": 2**63},
            r"seed must be at most 2\*\*63 - 1, got 9223372036854775808; choose a smaller one",
        ),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"epochs": True}, "epochs must be an integer >= 1, got True"),
        (
            {"episodes_per_update": 12, "minibatches": 5},
            r"minibatches must divide episodes_per_update = 12, got 5; "
            r"choose one of \[1, 2, 3, 4, 6, 12\]",
        ),
    ],
)
def test_settings_of_every_agent(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        AgentConfig(**settings)


@pytest.mark.parametrize("kind", [PPOConfig, GRPOConfig])
@pytest.mark.parametrize("gamma", [1.2, -0.1, math.nan, "0.9", True])
def test_discount(kind: type[AgentConfig], gamma: Any) -> None:
    message = f"gamma must be a number in [0, 1], got {gamma!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(gamma=gamma)


def test_a_discount_that_the_rule_does_not_know_is_refused(toy15: Task) -> None:
    rule = PPO(make_envs(toy15)).learner.algorithm
    with pytest.raises(ValueError, match="Agent has no setting 'gamma'"):
        Agent(make_envs(toy15), algorithm=rule, gamma=0.9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gae_lambda": 2}, r"gae_lambda must be a number in \[0, 1\], got 2"),
        ({"clip_range": 0}, r"clip_range must be a number in \[1e-06, 1\], got 0"),
        ({"value_coef": -1}, "value_coef must be a finite number >= 0, got -1"),
        ({"value_clip_range": 0.0}, "value_clip_range must be a finite number >= 1e-06, got 0.0"),
    ],
)
def test_settings_of_ppo(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        PPOConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "group_size must be an integer >= 2, got 1"),
        (
            {"group_size": 5, "episodes_per_update": 16},
            r"group_size must divide episodes_per_update = 16, got 5; "
            r"choose one of \[1, 2, 4, 8, 16\]",
        ),
        ({"clip_range": 1.5}, r"clip_range must be a number in \[1e-06, 1\], got 1.5"),
        (
            {"aggregation": "token"},
            r"aggregation must be one of .*'constant'\], got 'token'",
        ),
    ],
)
def test_settings_of_grpo(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        GRPOConfig(**settings)


def test_unknown_settings_suggest_the_known(toy15: Task) -> None:
    envs = make_envs(toy15)
    with pytest.raises(ValueError, match=r"PPO has no setting 'gama'; did you mean 'gamma'\?"):
        PPO(envs, gama=0.9)
    with pytest.raises(ValueError, match=r"GRPO has no setting 'gae_lambda'"):
        GRPO(envs, gae_lambda=0.95)
    with pytest.raises(ValueError, match=r"PPO has no setting 'xyz'; there are \['learning_rate'"):
        PPO(envs, xyz=1)
    with pytest.raises(ValueError, match=r"GRPO has no setting 'value_coef'; there are \["):
        GRPO(envs, value_coef=0.5)


def test_a_seed_is_drawn_and_recorded(toy15: Task) -> None:
    seeds = [PPO(make_envs(toy15), seed=None).config.seed for _ in range(3)]
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    assert len(set(seeds)) > 1
    agent = PPO(make_envs(toy15), seed=2**63 - 1, episodes_per_update=4)
    assert agent.learn(4, progress=False)[0]["episodes"] == 4


def test_limits_are_allowed() -> None:
    config = PPOConfig(gamma=0, gae_lambda=0, kl_coef=0, learning_rate=0, clip_range=1)
    assert config.learning_rate == 0


def test_numbers_of_numpy_become_plain(toy15: Task) -> None:
    agent = PPO(
        make_envs(toy15),
        learning_rate=np.float32(0.5),
        seed=np.int64(3),
        whiten_advantages=np.bool_(False),
    )
    config = agent.config
    assert json.dumps([config.learning_rate, config.seed, config.whiten_advantages]) == (
        "[0.5, 3, false]"
    )


def test_an_agent_takes_no_reference_for_its_policy(toy15: Task) -> None:
    """Trap A15."""
    envs = make_envs(toy15)
    with pytest.raises(ValueError, match=r"policy is the task's reference.*copy.deepcopy"):
        PPO(envs, policy=toy15.reference)
    with pytest.raises(ValueError, match="no trainable weight"):
        agent = PPO(envs, policy=theta_policy(toy15))
        agent.policy.requires_grad_(False)
        type(agent.learner)(agent.policy, agent.learner.algorithm, agent.config)
    with pytest.raises(ValueError, match="Agent needs algorithm=, got None"):
        Agent(envs)
