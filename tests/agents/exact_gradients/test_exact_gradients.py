"""Expected gradients by enumeration: known literals, theory, and what real agents sample."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import wrappers.vector
from agents import GRPO, PPO, RLOO, Agent, DrGRPO, PolicyOutput, Reinforce
from agents.exact_gradients import ExactGradients, exact_gradients
from agents.exact_gradients.derivatives import trained_weights
from agents.exact_gradients.responses import every_response
from agents.exact_gradients.units import count_groups, drawn_updates, every_group
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.algorithms.test_policy_gradient import COSINES, CRITICS, LAMBDAS
from tests.agents.episodes import make_envs
from tests.toys import theta_policy

TRUE_NORM = 0.311532
UNBIASED: list[tuple[type[Agent], dict[str, Any]]] = [
    (Reinforce, {"baseline": "none"}),
    (Reinforce, {"baseline": "value"}),
    (Reinforce, {"baseline": "greedy"}),
    (RLOO, {"group_size": 2}),
    (RLOO, {"group_size": 4}),
    (PPO, {"gae_lambda": 1.0, "whiten_advantages": False}),
]


def agent_of(kind: type[Agent], task: Task, **settings: Any) -> Agent:
    settings = {"aggregation": "sum", "episodes_per_update": 16, **settings}
    return kind(make_envs(task, kl_coef=0.5), policy=theta_policy(task), **settings)


def ppo_with_critic(task: Task, critic: str, **settings: Any) -> Agent:
    agent = agent_of(PPO, task, whiten_advantages=False, value_coef=0.0, **settings)
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(torch.tensor([CRITICS[critic]]))
    return agent


@pytest.mark.parametrize(("kind", "settings"), UNBIASED)
def test_what_theory_calls_unbiased_is(
    toy15: Task, kind: type[Agent], settings: dict[str, Any]
) -> None:
    found = exact_gradients(agent_of(kind, toy15, **settings))
    assert found.truth.norm().item() == pytest.approx(TRUE_NORM, abs=1e-6)
    assert found.relative_bias <= 1e-6
    assert found.bias_error == 0.0


@pytest.mark.parametrize("size", [2, 4])
def test_a_group_s_mean_takes_its_share(toy15: Task, size: int) -> None:
    """GRPO without the standard deviation is unbiased up to (G − 1)/G."""
    found = exact_gradients(agent_of(GRPO, toy15, group_size=size, scale_by_std=False))
    assert found.scale == pytest.approx((size - 1) / size, abs=1e-6)
    assert found.direction_bias <= 1e-6
    constant = agent_of(DrGRPO, toy15, group_size=size, aggregation="constant")
    assert exact_gradients(constant).scale == pytest.approx((size - 1) / size / 3, abs=1e-6)


@pytest.mark.parametrize("critic", CRITICS)
def test_lambda_trades_bias_for_the_critic_s_error(toy15: Task, critic: str) -> None:
    for gae_lambda, cosine in zip(LAMBDAS, COSINES[critic], strict=True):
        found = exact_gradients(ppo_with_critic(toy15, critic, gae_lambda=gae_lambda))
        assert found.cosine == pytest.approx(cosine, abs=5e-5)


def test_an_exact_critic_makes_less_noise(toy15: Task) -> None:
    noise = {
        name: exact_gradients(ppo_with_critic(toy15, name, gae_lambda=1.0)).noise_to_signal
        for name in CRITICS
    }
    assert min(noise, key=noise.__getitem__) == "exact"


@pytest.mark.parametrize(
    ("settings", "is_biased"),
    [
        ({"scale_by_std": True}, True),
        ({"aggregation": "episode_mean", "scale_by_std": False}, True),
        ({"scale_by_std": False}, False),
    ],
)
def test_what_turns_the_direction(
    toy15: Task, settings: dict[str, Any], *, is_biased: bool
) -> None:
    found = exact_gradients(agent_of(GRPO, toy15, group_size=4, **settings))
    assert (found.direction_bias > 0.1) is is_biased
    assert (found.cosine < 0.99) is is_biased


@pytest.mark.parametrize(
    ("placement", "estimator", "norm", "cosine"),
    [
        ("reward", "k1", 0.067033, 1.0),
        ("loss", "k2", 0.070368, 0.999240),
        ("loss", "k3", 0.071295, 0.997474),
    ],
)
def test_the_penalty_alone(
    toy15: Task, placement: str, estimator: str, norm: float, cosine: float
) -> None:
    """Trap D4: the score is 0 and beta is 1."""
    unpaid = dataclasses.replace(toy15, reward=lambda prompts, responses: [0.0] * len(prompts))
    kl = {"kl_coef": 1.0, "kl_placement": placement, "kl_estimator": estimator}
    agent = agent_of(Reinforce, unpaid, baseline="none", **kl)
    found = exact_gradients(agent)
    assert found.truth.norm().item() == pytest.approx(0.067033, abs=1e-6)
    assert found.expected.norm().item() == pytest.approx(norm, abs=1e-6)
    assert found.cosine == pytest.approx(cosine, abs=1e-6)


def test_groups_are_drawn_with_multinomial_probabilities(toy15: Task) -> None:
    responses = every_response(agent_of(RLOO, toy15))
    units = every_group(responses, 3, is_joint=True)
    assert len(units) == count_groups(responses, 3) == 680
    assert float(units.weight.sum()) == pytest.approx(1.0, abs=1e-12)
    p = responses.probability
    rows = map(tuple, units.rows.tolist())
    chance = dict(zip(rows, units.weight.tolist(), strict=True))
    assert chance[(2, 2, 2)] == pytest.approx(float(p[2] ** 3), rel=1e-12)
    assert chance[(1, 1, 4)] == pytest.approx(3 * float(p[1] ** 2 * p[4]), rel=1e-12)
    assert chance[(0, 1, 4)] == pytest.approx(6 * float(p[0] * p[1] * p[4]), rel=1e-12)


def test_several_prompts_are_drawn_alike(toy15: Task) -> None:
    twice = dataclasses.replace(toy15, prompts=[toy15.prompts[0]] * 2)
    once, both = (exact_gradients(agent_of(RLOO, each, group_size=2)) for each in (toy15, twice))
    for name in ("expected", "truth", "variance"):
        assert torch.allclose(getattr(once, name), getattr(both, name), atol=1e-7), name
    assert both.effective_sample_size == pytest.approx(1.0, abs=1e-5)


def test_importance_ratios_of_tokens_are_biased_off_policy(toy15: Task) -> None:
    """A stale sampler: without clipping, single-token ratios miss the later tokens' ratios."""
    agent = agent_of(RLOO, toy15, group_size=2, minibatches=2)
    stale = exact_gradients(agent, behavior=toy15.reference, is_stale=True)
    assert stale.effective_sample_size == pytest.approx(0.978, abs=2e-3)
    assert stale.direction_bias > 0.05
    unaware = exact_gradients(agent_of(RLOO, toy15, group_size=2), behavior=toy15.reference)
    assert unaware.relative_bias > stale.relative_bias


def test_truncation_of_nothing_is_on_policy(toy15: Task) -> None:
    agent = agent_of(RLOO, toy15, group_size=2)
    own, same = exact_gradients(agent), exact_gradients(agent, behavior=theta_policy(toy15))
    assert torch.allclose(own.expected, same.expected, atol=1e-8)


def test_a_discounted_objective(toy15: Task) -> None:
    """The discounted form follows the gradient of the discounted objective, the usual one not."""
    found = {
        form: exact_gradients(
            agent_of(Reinforce, toy15, baseline="none", gamma=0.9, gradient_form=form), gamma=0.9
        )
        for form in ("discounted", "standard")
    }
    assert found["discounted"].relative_bias <= 1e-6
    assert found["standard"].relative_bias > 0.01


def test_wrappers_pay_what_the_agent_learns_from(toy15: Task) -> None:
    """Potential shaping leaves the expectation as it is, a prefix reward does not."""

    def measured(layer: Any) -> ExactGradients:
        envs = layer(make_envs(toy15, kl_coef=0.5))
        agent = Reinforce(envs, baseline="none", aggregation="sum", policy=theta_policy(toy15))
        return exact_gradients(agent)

    bandit = measured(wrappers.vector.SequenceBandit)
    assert bandit.relative_bias <= 1e-6
    prefix = measured(wrappers.vector.PrefixReward)
    assert prefix.relative_bias > 0.05


def test_whitening_is_drawn_and_says_how_surely(toy15: Task) -> None:
    found = exact_gradients(agent_of(PPO, toy15, gae_lambda=1.0), draws=200, seed=1)
    again = exact_gradients(agent_of(PPO, toy15, gae_lambda=1.0), draws=200, seed=1)
    assert found.unit_episodes == 16
    assert found.bias_error > 0.01
    assert torch.equal(found.expected, again.expected)


def test_updates_whose_episodes_are_not_apart_are_enumerated(toy15: Task) -> None:
    settings = {"gae_lambda": 1.0, "episodes_per_update": 2, "minibatches": 1}
    agent = agent_of(PPO, toy15, **settings)
    whole = exact_gradients(agent)
    assert whole.standard_error is None
    assert whole.unit_episodes == 2
    responses = every_response(agent)
    pairs = drawn_updates(responses, 2, 1, 20_000, np.random.default_rng(0)).rows.sort(dim=1)[0]
    seen, counts = pairs.unique(dim=0, return_counts=True)
    units = every_group(responses, 2, is_joint=False)
    chance = dict(zip(map(tuple, units.rows.tolist()), units.weight.tolist(), strict=True))
    for pair, count in zip(map(tuple, seen.tolist()), counts.tolist(), strict=True):
        expected = 20_000 * chance[pair]
        assert abs(count - expected) <= 5 * math.sqrt(expected) + 5, pair


@pytest.mark.parametrize("bad", [{"draws": 1}, {"gamma": 1.5}])
def test_bad_numbers_are_refused(toy15: Task, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        exact_gradients(agent_of(RLOO, toy15), **bad)


def test_large_tasks_are_refused() -> None:
    task = load_task("needles-8")
    with pytest.raises(ValueError, match=r"at most 1,000,000|4,096 responses"):
        exact_gradients(RLOO(make_envs(task), episodes_per_update=16))


@dataclass(frozen=True)
class Targets:
    weight: Tensor


class Squared:
    """A user's algorithm: REINFORCE on the square of the score."""

    def targets(self, rollout: Rollout, old: PolicyOutput, reference: Any) -> Any:
        return Targets(rollout.rewards.sum(dim=1).square())

    def loss(
        self, rollout: Rollout, new: PolicyOutput, old: PolicyOutput, targets: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return -targets.weight * new.logprobs.sum(dim=1), {}


def test_an_algorithm_of_one_s_own(toy15: Task) -> None:
    agent = Agent(make_envs(toy15, kl_coef=0.5), algorithm=Squared(), policy=theta_policy(toy15))
    found = exact_gradients(agent)
    assert found.truth.norm().item() == pytest.approx(TRUE_NORM, abs=1e-6)
    assert found.relative_bias > 0.1


SAMPLED: list[tuple[type[Agent], dict[str, Any]]] = [
    (Reinforce, {"baseline": "none"}),
    (Reinforce, {"baseline": "greedy"}),
    (Reinforce, {"baseline": "none", "gamma": 0.9}),
    (Reinforce, {"baseline": "none", "kl_placement": "loss", "kl_estimator": "k2"}),
    (Reinforce, {"baseline": "none", "kl_placement": "loss", "kl_estimator": "k3"}),
    (PPO, {"gae_lambda": 0.5, "whiten_advantages": False}),
    (PPO, {"gae_lambda": 0.95, "whiten_advantages": False, "gradient_form": "discounted"}),
    (RLOO, {"group_size": 2}),
    (RLOO, {"group_size": 4}),
    (GRPO, {"group_size": 4}),
    (GRPO, {"group_size": 4, "aggregation": "episode_mean"}),
    (GRPO, {"group_size": 4, "scale_by_std": False, "kl_placement": "loss", "kl_estimator": "k3"}),
    (GRPO, {"group_size": 8, "ratio": "episode", "aggregation": "constant"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), SAMPLED)
def test_a_hundred_thousand_groups_agree(
    toy15: Task, kind: type[Agent], settings: dict[str, Any]
) -> None:
    """Sampled by the environment, paid by it, and learned from by the agent's own algorithm."""
    size, draws = settings.get("group_size", 1), 5
    found = exact_gradients(agent_of(kind, toy15, **settings))
    assert found.standard_error is None
    steps = {"minibatches": 1, "epochs": 1, "episodes_per_update": 20_000 * size}
    agent = kind(
        make_envs(toy15, 5_000, kl_coef=0.5),
        policy=theta_policy(toy15),
        **{"aggregation": "sum", **settings, **steps},
    )
    algorithm, sampled = agent.learner.algorithm, torch.zeros_like(found.expected)
    for draw in range(draws):
        rollout = agent.resample(draw)
        new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
        old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        rollout = agent.learned(rollout, old)
        targets = algorithm.targets(rollout, old, agent.base.mdp.reference)
        losses, _ = algorithm.loss(rollout, new, old, targets)
        slopes = torch.autograd.grad(-losses.mean(), trained_weights(agent))
        sampled += torch.cat([slope.flatten() for slope in slopes]).double() / draws
    error = (found.variance / (20_000 * draws)).sqrt()
    assert float(((sampled - found.expected).abs() / error.clamp(min=1e-9)).max()) <= 4.0
