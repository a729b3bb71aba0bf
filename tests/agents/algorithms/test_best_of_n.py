"""Best of n: what it earns, what it costs in KL, and the exact answers of small tasks."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import Agent, BestOfN, collect
from agents.algorithms.best_of_n_estimators import best_of_n_kl_bound, best_of_n_mean
from agents.settings.agent import upgraded_settings
from rlhf_env.exact import evaluate
from rlhf_env.exact.best_of_n import best_of_n
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.toys import theta_policy, tiny_gpt2_task
from wrappers.vector import MacroAction, SequenceBandit

# n: E[r], KL.
TOY15 = {
    1: (0.039595, 0.0),
    2: (0.494491, 0.169163),
    4: (0.851119, 0.525231),
    8: (1.251448, 1.014118),
    16: (1.709944, 1.719833),
    64: (2.538361, 3.047207),
    256: (2.983547, 4.074932),
}
# n: KL, proxy, gold, where the gold reward of (1, 1, 1) is −1.
OVER_OPTIMIZATION = {
    2: (0.169163, 0.494491, 0.371415),
    4: (0.525231, 0.851119, 0.608753),
    8: (1.014118, 1.251448, 0.781402),
    16: (1.719833, 1.709944, 0.825088),
    32: (2.424884, 2.141419, 0.567450),
    64: (3.047207, 2.538361, 0.009767),
    256: (4.074932, 2.983547, -0.943213),
}
BOUNDS = {
    1: 0.0,
    2: 0.193147,
    4: 0.636294,
    16: 1.835089,
    64: 3.174508,
    1000: 5.908755,
    60000: 10.002117,
}
UNKNOWN = ("kl", "kl_k3", "kl_exact", "return", "entropy")


def gold_task() -> Task:
    """The toy task with a gold reward that dislikes what its proxy likes best."""
    task = load_task("toy15")

    def gold(prompts: list[torch.Tensor], responses: list[torch.Tensor]) -> torch.Tensor:
        is_best = torch.tensor([response.tolist() == [1, 1, 1] for response in responses])
        return torch.where(is_best, -1.0, torch.as_tensor(task.reward(prompts, responses)))

    return dataclasses.replace(task, gold=gold)


def small_agent(**settings: Any) -> BestOfN:
    given = {"n": 3, "episodes_per_update": 4, **settings}
    return BestOfN(make_envs(tiny_gpt2_task(), 8), **given)


@pytest.mark.parametrize("n", TOY15)
def test_exact_reward_and_kl(toy15: Task, n: int) -> None:
    reward, kl = TOY15[n]
    found = best_of_n(toy15, n)
    assert (found.reward, found.kl) == pytest.approx((reward, kl), abs=1e-6)
    assert found.gold is None
    assert found.kl <= best_of_n_kl_bound(n) + 1e-12


@pytest.mark.parametrize("n", OVER_OPTIMIZATION)
def test_gold_rises_and_falls_again(n: int) -> None:
    found = best_of_n(gold_task(), n)
    assert (found.kl, found.reward, found.gold) == pytest.approx(OVER_OPTIMIZATION[n], abs=1e-6)


@pytest.mark.parametrize("n", [1, 2, 16, 10**9])
def test_the_tokens_are_those_of_the_chosen_responses(toy15: Task, n: int) -> None:
    """Followed token by token, the policy earns and costs the same."""
    found = best_of_n(toy15, n)
    followed = evaluate(toy15, found.policy, 0.5)
    assert (followed.reward, followed.kl) == pytest.approx((found.reward, found.kl), abs=1e-9)


def test_responses_of_one_score_share_by_the_reference(toy15: Task) -> None:
    """(1, 2, EOS) and (2, 1, EOS) score 0.75 both; every n keeps their proportion."""
    proportions = []
    for n in (1, 64):
        policy = best_of_n(toy15, n).policy
        first = policy[()][1] * policy[(1,)][2] * policy[(1, 2)][0]
        proportions.append(first / (policy[()][2] * policy[(2,)][1] * policy[(2, 1)][0]))
    assert proportions[0] == pytest.approx(proportions[1], rel=1e-9)


def test_other_policies_and_forbidden_tokens(toy15: Task) -> None:
    theta = best_of_n(toy15, 1, policy=theta_policy(toy15))
    assert theta.kl == pytest.approx(0.011466, abs=1e-6)
    with torch.no_grad():
        toy15.reference.lm_head.weight[1, :] = -math.inf
    found = best_of_n(toy15, 1000)
    assert found.reward == pytest.approx(0.25, abs=1e-6)
    assert found.policy[(1, 1)][1] == 0.0
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        best_of_n(toy15, 0)


def test_the_bound() -> None:
    for n, bound in BOUNDS.items():
        assert best_of_n_kl_bound(n) == pytest.approx(bound, abs=1e-6)


def test_all_subsets_of_a_pool() -> None:
    scores = torch.tensor([0.1, 0.5, 0.3, 0.9, 0.7])
    gold = torch.tensor([1.0, 2.0, 3.0, 0.0, 5.0])
    found = [best_of_n_mean(scores, gold, n).item() for n in (1, 2, 3, 5)]
    assert found == pytest.approx([2.2, 2.2, 1.7, 0.0])
    found = [best_of_n_mean(scores, scores, n).item() for n in (1, 2, 3, 5)]
    assert found == pytest.approx([0.5, 0.7, 0.8, 0.9])


def test_equal_scores_share_their_ranks() -> None:
    """Pairs of (0, 1, 1): best is one of the ones in all three, worth (4 + 8) / 2."""
    scores, values = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([4.0, 100.0, 8.0])
    assert best_of_n_mean(scores, values, 2).item() == pytest.approx(6.0)
    assert best_of_n_mean(scores.flip(0), values.flip(0), 2).item() == pytest.approx(6.0)


@pytest.mark.parametrize(("n", "rank"), [(1, 5000.5), (100, 9901.980198), (10_000, 10_000.0)])
def test_a_pool_of_ten_thousand(n: int, rank: float) -> None:
    """The largest of n among 1 … N is n (N + 1) / (n + 1) in the mean."""
    ranks = torch.arange(10_000, 0, -1)
    assert best_of_n_mean(ranks, ranks, n).item() == pytest.approx(rank, rel=1e-9)


def test_what_is_no_pool_is_refused() -> None:
    ones = torch.ones(4)
    with pytest.raises(ValueError, match="n must be at most the pool's size 4, got 5"):
        best_of_n_mean(ones, ones, 5)
    with pytest.raises(ValueError, match=r"must both be \[N\], got \[4\] and \[3\]"):
        best_of_n_mean(ones, ones[:3], 2)
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        best_of_n_kl_bound(0)


def test_the_agent_earns_what_the_exact_answer_says() -> None:
    agent = BestOfN(make_envs(gold_task(), 512), n=16)
    figures = agent.evaluate(600)
    # Four standard errors of 600 responses, whose standard deviations are below 1.2.
    assert figures["score"] == pytest.approx(1.709944, abs=0.2)
    assert figures["gold"] == pytest.approx(0.825088, abs=0.2)
    assert figures["kl"] == pytest.approx(1.719833, abs=0.2)
    assert figures["kl_exact"] == pytest.approx(1.719833, abs=1e-6)
    assert figures["kl_bound"] == pytest.approx(1.835089, abs=1e-6)
    assert figures["return"] == pytest.approx(figures["score"] - 0.5 * figures["kl"], abs=1e-5)
    exact = evaluate(agent.base.task, agent, kl_coef=0.5)
    assert (exact.reward, exact.kl) == pytest.approx((1.709944, 1.719833), abs=1e-6)


def test_what_nobody_knows_is_not_made_up() -> None:
    agent = small_agent()
    figures = agent.evaluate(4)
    assert [name for name, value in figures.items() if math.isnan(value)] == sorted(
        UNKNOWN, key=list(figures).index
    )
    assert figures["kl_bound"] == pytest.approx(0.431946, abs=1e-5)
    assert figures["score"] > figures["reference_score"]
    observation, _ = agent.envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"'tiny-gpt2'; use sample\(prompts\)"):
        agent.act(observation)


@pytest.mark.parametrize("wrap", [lambda e: e, SequenceBandit, lambda e: MacroAction(e, 2)])
@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_the_answer_is_the_best_of_its_group(wrap: Any, kl_penalty: str) -> None:
    envs = wrap(make_envs(tiny_gpt2_task(), 8, kl_penalty=kl_penalty))
    agent = BestOfN(envs, n=3, episodes_per_update=4)
    drawn = collect(envs, agent.policy, 12, seed=(0, 0, 0), group_size=3)
    answers = agent.collect()
    assert answers.score.tolist() == drawn.score.view(4, 3).amax(1).tolist()
    assert answers.prompt_index.tolist() == drawn.prompt_index[::3].tolist()
    assert answers.logprobs[answers.is_action].isnan().all()
    assert answers.logprobs[~answers.is_action].eq(0.0).all()
    prompts = agent.base.task.prompts
    assert [p.tolist() for p in agent.sample(prompts).prompts()] == [p.tolist() for p in prompts]


def test_it_acts_where_its_distribution_is_known(toy15: Task) -> None:
    agent = BestOfN(make_envs(toy15, 64), n=16)
    observation, _ = agent.envs.reset(seed=0)
    tokens, logprobs = agent.act(observation)
    root = best_of_n(toy15, 16).policy[()]
    assert sorted(set(tokens.tolist())) == [0, 1, 2]
    assert logprobs.tolist() == pytest.approx([math.log(root[t]) for t in tokens], abs=1e-6)


def test_other_prompts_than_the_enumerated_one_are_not_known(toy15: Task) -> None:
    agent = BestOfN(make_envs(toy15, 4), n=4)
    answers = agent.sample([torch.tensor([0]), torch.tensor([1])])
    assert answers.logprobs[answers.is_action].isnan().all()
    answers = agent.sample([torch.tensor([0])] * 2)
    assert answers.logprobs[answers.is_action].isfinite().all()


def test_learning_changes_nothing_and_says_so(tmp_path: Path) -> None:
    agent = small_agent()
    before = [p.clone() for p in agent.policy.parameters()]
    history = agent.learn(8, log_dir=tmp_path, progress=False)
    assert [row["optimizer_steps"] for row in history] == [0.0, 0.0]
    assert [row["clip_fraction"] for row in history] == [0.0, 0.0]
    assert [row["ratio_max"] for row in history] == [1.0, 1.0]
    for old, new in zip(before, agent.policy.parameters(), strict=True):
        assert torch.equal(old, new)
    again = small_agent().learn(12, log_dir=tmp_path, progress=False)
    assert [row["update"] for row in again] == [3.0]


def test_a_saved_agent_answers_alike(toy15: Task, tmp_path: Path) -> None:
    """The exact figures follow the weights that were loaded."""
    agent = BestOfN(make_envs(toy15, 16), policy=theta_policy(toy15), n=4)
    agent.save(tmp_path / "saved")
    loaded = BestOfN.load(tmp_path / "saved", make_envs(toy15, 16))
    assert loaded.evaluate(32) == agent.evaluate(32)
    fresh = BestOfN(make_envs(toy15, 16), n=4)
    assert fresh.evaluate(32)["kl_exact"] == pytest.approx(0.525231, abs=1e-6)
    fresh.restore(tmp_path / "saved")
    assert fresh.evaluate(32)["kl_exact"] == agent.evaluate(32)["kl_exact"]


def test_at_another_temperature(toy15: Task) -> None:
    agent = BestOfN(make_envs(toy15, 256), n=4, temperature=0.7)
    figures = agent.evaluate(500)
    assert figures["kl"] == pytest.approx(figures["kl_exact"], abs=0.15)
    assert figures["kl_exact"] < figures["kl_bound"] == pytest.approx(0.636294, abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 2}, "BestOfN trains nothing and has no use for epochs, got 2"),
        ({"kl_target": 1.0}, "has no use for kl_target"),
        ({"learning_rate": 0.5}, "has no use for learning_rate, got 0.5"),
        ({"temperature": 1e-40}, "temperature must be at least 1e-06"),
        ({"episodes_per_update": 0}, "episodes_per_update must be an integer >= 1, got 0"),
        ({"nn": 4}, "BestOfN has no setting 'nn'; there are"),
        ({"gamma": 0.9}, "BestOfN has no setting 'gamma'"),
        ({"n": 0}, "n must be an integer >= 1, got 0"),
    ],
)
def test_settings_of_learning_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_agent(**setting)


def test_truncated_responses_have_no_score_to_choose_by() -> None:
    envs = make_envs(tiny_gpt2_task(), 8, length_limit="bootstrap")
    with pytest.raises(ValueError, match=r"BestOfN has no critic .*, got truncated"):
        BestOfN(envs, n=4, episodes_per_update=8).collect()


def test_it_is_saved_without_an_optimizer_and_read_from_an_earlier_version(
    toy15: Task, tmp_path: Path
) -> None:
    """It had all settings of learning once."""
    agent = BestOfN(make_envs(toy15), n=4, episodes_per_update=8)
    assert not isinstance(agent, Agent)
    agent.save(tmp_path / "saved")
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    assert sorted(state["config"]) == ["episodes_per_update", "kl_coef", "n", "seed", "temperature"]
    former = {**state["config"], "learning_rate": 1e-3, "epochs": 1, "kl_placement": "reward"}
    assert upgraded_settings("BestOfN", former) == state["config"]
