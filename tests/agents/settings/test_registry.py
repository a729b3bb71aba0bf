"""What commands know of the built-in agents is what the agents say, and costs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agents
from agents.rollouts.kl_reward import KL_ESTIMATORS as ESTIMATOR_FUNCTIONS
from agents.settings import BUILT_IN_AGENTS, KL_ESTIMATORS
from tests.agents.episodes import make_envs
from tests.toys import tiny_gpt2_task

CONFIGS = (
    "AgentConfig ActorCriticConfig PPOConfig KLPenaltyPPOConfig GRPOConfig RLOOConfig "
    "ReinforceConfig TRPOConfig SFTConfig BestOfNConfig"
)
WITHOUT_TORCH = f"""
import sys, agents
assert "torch" not in sys.modules, "import agents"
for name in {CONFIGS.split()}:
    getattr(agents, name)()
import agents.settings
for known in agents.settings.BUILT_IN_AGENTS.values():
    known.settings, known.minibatches, known.length_limits
assert "torch" not in sys.modules
"""


def test_settings_are_known_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_names_of_commands() -> None:
    assert " ".join(BUILT_IN_AGENTS) == (
        "ppo grpo kl_penalty_ppo trpo reinforce reinforce_none reinforce_value reinforce_greedy "
        "dr_grpo dapo gspo rloo dpo ipo simpo orpo cpo rdpo tdpo sppo kto bco dro dno nash_md xpo "
        "lipo pcl trajectory_balance tbrm reval shiq oreo a_star_po soft_q ilql best_of_n"
    )


@pytest.mark.parametrize("name", list(BUILT_IN_AGENTS))
def test_each_entry_is_the_class_and_its_settings(name: str) -> None:
    known = BUILT_IN_AGENTS[name]
    assert known.load() is getattr(agents, known.class_name)
    assert known.load().config_class is known.config_class


def test_what_a_command_line_asks() -> None:
    minibatches = {name: known.minibatches for name, known in BUILT_IN_AGENTS.items()}
    assert [name for name in minibatches if minibatches[name] == 4] == [
        "ppo",
        "kl_penalty_ppo",
        "trpo",
    ]
    assert set(minibatches.values()) == {1, 4}
    assert {"gamma", "gae_lambda", "kl_estimator"} <= BUILT_IN_AGENTS["ppo"].settings
    assert "group_size" not in BUILT_IN_AGENTS["ppo"].settings
    assert {"gamma", "group_size"} <= BUILT_IN_AGENTS["gspo"].settings
    assert "gae_lambda" not in BUILT_IN_AGENTS["reinforce"].settings
    assert BUILT_IN_AGENTS["reinforce_greedy"].defaults.baseline == "greedy"
    bootstraps = [n for n, known in BUILT_IN_AGENTS.items() if "bootstrap" in known.length_limits]
    assert bootstraps == ["ppo", "kl_penalty_ppo", "trpo", "reinforce_value", "pcl"]


@pytest.mark.parametrize("name", list(BUILT_IN_AGENTS))
def test_truncated_episodes_are_refused_by_those_without_a_critic(name: str) -> None:
    known = BUILT_IN_AGENTS[name]
    envs = make_envs(tiny_gpt2_task(), 8, length_limit="bootstrap")
    agent = known.load()(envs, **known.preset, episodes_per_update=8)
    if "bootstrap" in known.length_limits:
        assert agent.update(agent.collect())
    else:
        with pytest.raises(ValueError, match="got truncated episodes"):
            agent.update(agent.collect())


def test_estimators_have_the_names_that_settings_accept() -> None:
    assert tuple(ESTIMATOR_FUNCTIONS) == KL_ESTIMATORS
