"""What agents make of the games, with seconds or a minute of training."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from agents import GRPO, collect
from agents.credit import implicit, uniform
from rlhf_env.exact import evaluate, solve
from rlhf_env.rollout import Rollout
from rlhf_env.tasks import load_task
from rlhf_env.tasks.games.guess.rules import WORDS
from rlhf_env.tasks.games.reverse import causal_tokens
from studies.credit.grading import episode_aucs, mean_auc
from tests.agents.episodes import make_envs


@pytest.mark.slow
def test_countdown_from_one_puzzle_in_seven_to_four_in_five() -> None:
    """On puzzles that nobody has seen."""
    agent = GRPO(
        make_envs(load_task("countdown"), 256),
        episodes_per_update=256,
        group_size=8,
        learning_rate=1e-3,
    )
    assert agent.evaluate(512)["pass_at_1"] < 0.2
    agent.learn(200 * 256, progress=False)
    assert agent.evaluate(512)["pass_at_1"] > 0.8


@pytest.mark.slow
def test_guess_comes_within_a_twentieth_of_the_optimum() -> None:
    """In three turns over 1 to 7, where only halving finds every number."""
    game = load_task("guess-3")
    task = dataclasses.replace(game, prompts=[WORDS.encode(["1", "7"])], eval_prompts=())
    optimum = solve(task, task.kl_coef).objective
    agent = GRPO(make_envs(task, 120), episodes_per_update=240, group_size=60, learning_rate=2e-3)
    assert evaluate(task, agent, task.kl_coef).objective < 0.6 * optimum
    agent.learn(70 * 240, progress=False)
    assert evaluate(task, agent, task.kl_coef).objective > 0.95 * optimum


@pytest.mark.slow
def test_implicit_rewards_find_the_tokens_that_earn() -> None:
    """Equal shares cannot tell them apart: the area under the ROC curve is 1/2."""
    agent = GRPO(
        make_envs(load_task("reverse"), 128),
        episodes_per_update=128,
        group_size=8,
        learning_rate=1e-3,
    )
    agent.learn(60 * 128, progress=False)
    rollout = collect(agent.envs, agent.policy, 256, seed=1)
    causal = torch.zeros_like(rollout.is_action)
    for row, (prompt, said) in enumerate(zip(rollout.prompts(), rollout.responses(), strict=True)):
        causal[row, rollout.is_action[row]] = causal_tokens(prompt, said)

    def auc(paid: Rollout) -> float:
        credit = paid.reward_terms["score"]
        return mean_auc(episode_aucs(credit, causal, rollout.is_action))

    assert auc(uniform(rollout)) == 0.5
    found = auc(implicit(rollout, agent.policy, beta=0.02))
    print(f"implicit rewards: AUC {found:.3f} of {len(rollout)} episodes")
    assert found > 0.6
