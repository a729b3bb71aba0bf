"""KL control (traps D): what each estimator's gradient is, on all responses of "toy15"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from agents import GRPO, PPO, Agent
from agents.evaluation.metrics import mean_kl
from agents.math import adaptive_kl_coef
from rlhf_env import exact
from rlhf_env.kl import exact_kl, k1, k2, k3
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.evaluation.test_metrics import two_episodes
from tests.rlhf_env.mdp.test_evaluate import as_rollout
from tests.rlhf_env.toy15_tables import SCORES, action_logprobs
from tests.toys import theta_policy, tiny_gpt2_task

Loss = Callable[[Tensor, Tensor], Tensor]


def in_reward(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """k1 of the whole response as a (detached) price of the response."""
    price = k1(logprobs, ref_logprobs).sum(dim=1).detach()
    return price * logprobs.sum(dim=1)


def per_token(estimator: Loss) -> Loss:
    return lambda logprobs, ref_logprobs: estimator(logprobs, ref_logprobs).sum(dim=1)


def per_sequence(estimator: Loss) -> Loss:
    return lambda logprobs, ref_logprobs: estimator(logprobs.sum(dim=1), ref_logprobs.sum(dim=1))


def expected_gradient(loss: Loss, task: Task, model: Any) -> Tensor:
    """[21] the slope of a loss, each response weighted by its (detached) probability."""
    logprobs, ref_logprobs = action_logprobs(model), action_logprobs(task.reference)
    probabilities = logprobs.sum(dim=1).exp().detach()
    (table,) = model.parameters()
    (slope,) = torch.autograd.grad((probabilities * loss(logprobs, ref_logprobs)).sum(), table)
    return slope.flatten().double()


def true_gradient(task: Task, model: Any) -> Tensor:
    logprobs, ref_logprobs = action_logprobs(model), action_logprobs(task.reference)
    probabilities = logprobs.sum(dim=1).exp()
    kl = (probabilities * (logprobs - ref_logprobs).sum(dim=1)).sum()
    (table,) = model.parameters()
    return torch.autograd.grad(kl, table)[0].flatten().double()


@pytest.mark.parametrize(
    ("loss", "cosine", "norm"),
    [
        (per_token(k2), 0.999240, 0.070368),
        (per_token(k3), 0.997474, 0.071295),
        (per_sequence(k2), 1.000000, 0.067033),
        (per_sequence(k3), 0.998964, 0.073338),
        (in_reward, 1.000000, 0.067033),
    ],
    ids=["token k2", "token k3", "sequence k2", "sequence k3", "k1 in reward"],
)
def test_slopes_of_the_estimators(toy15: Task, loss: Loss, cosine: float, norm: float) -> None:
    """Trap D4: only two of them are the slope of the sequence's KL."""
    model = theta_policy(toy15)
    truth, found = true_gradient(toy15, model), expected_gradient(loss, toy15, model)
    assert truth.norm().item() == pytest.approx(0.067033, abs=1e-6)
    assert found.norm().item() == pytest.approx(norm, abs=1e-6)
    assert (found @ truth / (found.norm() * truth.norm())).item() == pytest.approx(cosine, abs=1e-6)


def test_k1_in_the_loss_holds_nobody_back(toy15: Task) -> None:
    """Trap D3: its expected gradient is nothing."""
    found = expected_gradient(per_token(k1), toy15, theta_policy(toy15))
    assert found.norm().item() < 1e-7


def test_a_ratio_before_k3_makes_it_k2(toy15: Task) -> None:
    """Trap D6: on the policy's own samples, ratio times k3 has the slope of k2."""
    model = theta_policy(toy15)

    def weighted(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        ratio = (logprobs - logprobs.detach()).exp()
        return (ratio * k3(logprobs, ref_logprobs)).sum(dim=1)

    found = expected_gradient(weighted, toy15, model)
    assert (found - expected_gradient(per_token(k2), toy15, model)).abs().max() < 1e-7


@pytest.mark.parametrize(
    ("loss", "objective"),
    [
        (in_reward, 1.125294),
        (per_sequence(k2), 1.125294),
        (per_token(k2), 1.104616),
        (per_token(k3), 1.087528),
        (per_sequence(k3), 1.025189),
    ],
    ids=["k1 in reward", "sequence k2", "token k2", "token k3", "sequence k3"],
)
def test_each_estimator_ends_elsewhere(toy15: Task, loss: Loss, objective: float) -> None:
    """Trap D5: exact ascent at beta 0.5; J* = 1.125295 belongs to the KL in the reward alone."""
    model = theta_policy(toy15)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def climb(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        return 0.5 * loss(logprobs, ref_logprobs) - SCORES * logprobs.sum(dim=1)

    (table,) = model.parameters()
    for _ in range(1500):
        table.grad = expected_gradient(climb, toy15, model).reshape(table.shape).float()
        optimizer.step()
    probabilities = table.detach().double().softmax(dim=0)
    columns = [(), (1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)]
    found = exact.evaluate(toy15, lambda prefix: probabilities[:, columns.index(prefix)], 0.5)
    assert found.objective == pytest.approx(objective, abs=2e-4)


@pytest.mark.parametrize(
    ("unit", "kl", "coef"), [("sequence", 0.25, 0.208), ("token", 0.166667, 0.204444)]
)
def test_a_kl_has_a_unit(unit: str, kl: float, coef: float) -> None:
    """Trap D7: log-ratios (0.1, 0.1) and (0.3), steered towards 0.15."""
    observed = mean_kl(two_episodes(), unit)
    assert observed == pytest.approx(kl, abs=1e-6)
    found = adaptive_kl_coef(0.2, observed, target=0.15, episodes=2, horizon=10)
    assert found == pytest.approx(coef, abs=1e-6)


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_the_coefficient_that_paid_is_the_one_that_is_logged(
    toy15: Task, kind: type[Agent], kl_penalty: str
) -> None:
    """Trap D8: a controller changes beta after every update; no update mixes two of them."""
    envs = make_envs(toy15, 8, kl_penalty=kl_penalty)
    agent = kind(envs, policy=theta_policy(toy15), episodes_per_update=16, kl_coef=0.5)
    paid = [0.5]

    def controller(agent: Agent, metrics: dict[str, float]) -> None:
        assert metrics["kl_coef"] == paid[-1]
        expected = metrics["score"] - paid[-1] * metrics["kl"]
        assert metrics["return"] == pytest.approx(expected, abs=1e-5)
        agent.kl_coef = 1.5 * agent.kl_coef
        paid.append(agent.kl_coef)

    agent.learn(64, progress=False, callback=controller)
    assert paid == [0.5, 0.75, 1.125, 1.6875, 2.53125]


@pytest.mark.parametrize("kl_penalty", ["reference", "sampled"])
def test_a_token_that_nobody_chose_costs_nothing(kl_penalty: str) -> None:
    """Trap D10: the second token of the response was forced; prompts are never paid."""
    task = tiny_gpt2_task()
    envs = make_envs(task, 1, kl_penalty=kl_penalty)
    rollout = as_rollout(task, [(2, [9, 8, 7], [-1.0, -1.0, -1.0])], [3])
    chosen = rollout.is_action.clone()
    chosen[0, 6] = False
    forced = envs.evaluate(rollout.replace(is_action=chosen))
    free = envs.evaluate(rollout)
    assert forced.reward_terms["kl"][0, :5].tolist() == [0.0] * 5
    assert forced.reward_terms["kl"][0, 6].item() == 0.0
    assert free.reward_terms["kl"][0, 6].item() != 0.0
    for place in (5, 7):
        paid = forced.rewards[0, place].item(), free.rewards[0, place].item()
        assert paid[0] == pytest.approx(paid[1], abs=1e-6)


def test_the_reference_is_nobody_s_adapter() -> None:
    """Trap D11: what is added to the policy's layers does not reach the reference's."""
    task = tiny_gpt2_task()
    agent = PPO(make_envs(task, 2), episodes_per_update=8)
    before = agent.collect()

    def adapter(module: Any, arguments: Any, output: Tensor) -> Tensor:
        return output + 0.5 * output.roll(1, dims=-1)

    for block in agent.policy.model.transformer.h:
        block.mlp.register_forward_hook(adapter)
    reference = agent.base.evaluate(before).ref_logprobs
    assert torch.equal(reference, before.ref_logprobs)
    policy = agent.policy.evaluate_episodes(before.tokens, before.is_action).logprobs
    assert (policy - before.logprobs).abs().max() > 0.01


def test_the_library_s_kl_has_its_arguments_the_other_way_round() -> None:
    """Trap D2: its first argument is the log of the second distribution."""
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])
    assert exact_kl(p.log(), q.log()).item() == pytest.approx(0.025267, abs=1e-6)
    assert kl_div(q.log(), p, reduction="sum").item() == pytest.approx(0.025267, abs=1e-6)
    assert kl_div(p.log(), q, reduction="sum").item() == pytest.approx(0.025815, abs=1e-6)


def test_nobody_calls_the_function_with_the_swapped_arguments() -> None:
    """Trap D2: torch's kl_div takes the log of the second distribution first; it is not used."""
    folders = [Path(__file__).parents[2] / name for name in ("rlhf_env", "agents", "wrappers")]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 50
    assert [path for path in sources if "kl_div(" in path.read_text(encoding="utf-8")] == []
