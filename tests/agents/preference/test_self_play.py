"""Self-play: references that move, win rates, opponents, and what stands still on "toy15"."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents import BCO, DNO, DPO, DRO, KTO, SPPO, TDPO, XPO, NashMD, PreferenceAgent
from agents.preference.labels import label_by_score
from agents.preference.losses import sppo_response
from agents.rollouts.players import geometric_mixture
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.preference.agent_population import (
    WIN_RATES,
    every_pair,
    every_response,
    population_loss,
    set_table,
    table,
    value_and_slope,
)
from tests.agents.preference.preference_runs import RAGGED, gradient, make_agent
from tests.agents.preference.test_labels import rng
from tests.agents.preference.test_labels import rollout as labeled_rollout
from tests.agents.preference.toy15_population import (
    REF,
    REF_LOGPROBS,
    REFERENCE,
    WEIGHTS,
    WINS,
    logprobs,
    objective,
    tilted,
    zero_of_field,
)
from tests.rlhf_env.toy15_tables import ACTIONS, SCORES, STATES
from tests.toys import theta_policy, tiny_llama_task

LOG_2 = math.log(2.0)
PAIR_MASS = WEIGHTS.repeat_interleave(2) / 2
EVERY_WEIGHT = torch.ones(15)


@pytest.mark.parametrize(
    ("settings", "value"), [({"loss": "tdpo1"}, 0.671754), ({"loss": "tdpo2"}, 0.671729)]
)
def test_tdpo_of_the_theta_policy(settings: dict[str, Any], value: float, toy15: Task) -> None:
    """All pairs, through the policy's measure of every state; TDPO2's field has norm 0.085971."""
    agent = TDPO(make_envs(toy15), policy=theta_policy(toy15), **settings)
    loss, slope = value_and_slope(agent, every_pair(agent), PAIR_MASS)
    assert loss == pytest.approx(value, abs=1e-6)
    if settings["loss"] == "tdpo2":
        assert slope.norm().item() == pytest.approx(0.085971, abs=1e-6)


def test_tdpo1_stands_still_one_improvement_away(toy15: Task) -> None:
    """π_ref(a|s) exp(Q_ref(s, a)/β) in every state: J 1.063746, not the optimum."""
    agent = TDPO(make_envs(toy15))
    improved = REFERENCE.log_softmax(dim=0) + q_of_reference() / 0.5
    assert objective(improved) == pytest.approx(1.063746, abs=1e-6)
    set_table(agent, improved)
    loss, slope = value_and_slope(agent, every_pair(agent), PAIR_MASS)
    assert loss == pytest.approx(0.511483, abs=1e-6)
    assert slope.norm().item() < 1e-6


def q_of_reference() -> Tensor:
    """[3, 7] the mean score of responses that go through a state and an action."""
    found = torch.zeros(3, 7, dtype=torch.float64)
    for action in range(3):
        for state in range(7):
            through = (ACTIONS.eq(action) & STATES.eq(state)).any(dim=1)
            found[action, state] = (REF * SCORES)[through].sum() / REF[through].sum()
    return found


def test_confidence_weighs_pairs(toy15: Task) -> None:
    """Weights from the theta table, state by state; at π* the weighted slope is 0 as well."""
    agent = DPO(make_envs(toy15), policy=theta_policy(toy15), use_weighting=True)
    theta = table(agent).detach().double()
    p = theta.softmax(dim=0)
    weights = []
    for actions, states in zip(ACTIONS.tolist(), STATES.tolist(), strict=True):
        steps = [(a, s) for a, s in zip(actions, states, strict=True) if a >= 0]
        sure = [(p[a, s] / (p[:, s] ** 2).sum()).log().item() for a, s in steps]
        weights.append(math.exp(sum(sure) / len(sure)))
    rollout = every_pair(agent)
    mass = WEIGHTS * torch.tensor(weights)[rows_of(rollout)[::2]]
    mass = mass * torch.tensor(weights)[rows_of(rollout)[1::2]]
    plain = DPO(make_envs(toy15), policy=theta_policy(toy15))
    expected = value_and_slope(plain, rollout, mass.repeat_interleave(2) / 2)
    found = value_and_slope(agent, rollout, PAIR_MASS)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    torch.testing.assert_close(found[1], expected[1], atol=1e-6, rtol=1e-4)
    set_table(agent, tilted(SCORES / 0.5))
    assert value_and_slope(agent, rollout, PAIR_MASS)[1].norm().item() < 1e-6


def rows_of(rollout: Any) -> Tensor:
    """Which of the 15 responses each row is."""
    every = {tuple(a[a >= 0].tolist()): i for i, a in enumerate(ACTIONS)}
    return torch.tensor([every[tuple(response.tolist())] for response in rollout.responses()])


def test_the_reference_moves_every_so_many_updates() -> None:
    """At the reference the loss is log 2; the task's own reference stays."""
    agent = make_agent(DPO, reference_every=2, learning_rate=0.02)
    before = [p.clone() for p in agent.base.mdp.reference.model.parameters()]
    losses = [agent.update(agent.collect())["preference_loss"] for _ in range(5)]
    at_reference = [abs(loss - LOG_2) < 1e-5 for loss in losses]
    assert at_reference == [True, False, True, False, True]
    assert agent.reference is not agent.base.mdp.reference
    after = agent.base.mdp.reference.model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    rollout = agent.collect()
    assert not torch.equal(agent._referred(rollout).ref_logprobs, rollout.ref_logprobs)


def test_tdpo_measures_from_the_moved_reference() -> None:
    agent = make_agent(TDPO, reference_every=1, learning_rate=0.02)
    agent.update(agent.collect())
    rollout = agent.collect()
    said = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
    assert said.reference_kl.abs().max().item() < 1e-6


def test_sppo_iterates_exactly(toy15: Task) -> None:
    """η = 2 on population win rates: J after the first three iterations."""
    agent: Any = SPPO(make_envs(toy15), beta=0.5, learning_rate=0.02, reference_every=1)
    found, mass, rates = [], REF, WIN_RATES
    for _ in range(3):
        rollout = every_response(agent, rates)
        for _ in range(120):
            agent.learner.optimizer.zero_grad()
            population_loss(agent, rollout, mass).backward()
            agent.learner.optimizer.step()
        agent.iterate.follow(agent.policy)
        now = table(agent).detach().double()
        mass = logprobs(now).exp()
        rates = WINS @ mass
        found.append(objective(now))
    assert found == pytest.approx([0.295714, 0.516977, 0.720232], abs=2e-3)


def test_sppo_draws_from_the_last_iterate(toy15: Task) -> None:
    agent = SPPO(make_envs(toy15, 16), policy=theta_policy(toy15), learning_rate=0.1)
    theta = table(agent).detach().double().clone()
    agent.update(agent.collect())
    assert not torch.equal(table(agent).detach().double(), theta)
    rollout = agent.collect()
    expected = logprobs(theta)[rows_of(rollout)]
    torch.testing.assert_close(rollout.logprobs.sum(dim=1).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("tau", "j"), [(0.5, 0.312731), (0.1, 1.086912), (0.05, 0.965751)])
def test_nash_md_stands_still_at_the_regularized_equilibrium(
    tau: float, j: float, toy15: Task
) -> None:
    agent: Any = NashMD(make_envs(toy15), beta=tau, opponent_mixture=0.0)
    end = REFERENCE
    for _ in range(300):
        now = logprobs(end)
        end = tilted(0.2 * (WINS @ now.exp()) / tau + 0.8 * (now - REF_LOGPROBS))
    assert objective(end) == pytest.approx(j, abs=1e-6)
    set_table(agent, end)
    mass = logprobs(end).exp()
    rollout = every_response(agent, WINS @ mass)
    _, slope = value_and_slope(agent, rollout, mass, weight=EVERY_WEIGHT)
    assert slope.norm().item() < 1e-6
    set_table(agent, REFERENCE)
    rollout = every_response(agent, WIN_RATES)
    _, slope = value_and_slope(agent, rollout, REF, weight=EVERY_WEIGHT)
    # -grad P(pi > pi_ref) at the reference, where the KL has no slope.
    assert slope.norm().item() == pytest.approx(0.072404, abs=1e-6)


def test_nash_md_teaches_the_first_of_two(toy15: Task) -> None:
    agent: Any = NashMD(make_envs(toy15, 16), episodes_per_update=16)
    rollout = agent.collect()
    targets = agent.learner.algorithm.targets(
        rollout, agent.policy.sampler_only(rollout), agent.base.mdp.reference
    )
    assert targets.weight.tolist() == [2.0, 0.0] * 8
    torch.testing.assert_close(targets.good[::2], rollout.preference[::2, 1])


def test_opponents_speak_second(toy15: Task) -> None:
    """XPO's is the reference; Nash-MD's half-way between it and the policy."""
    theta = theta_policy(toy15)
    for kind, weight in ((XPO, 1.0), (NashMD, 0.5)):
        agent: Any = kind(make_envs(toy15, 16), policy=theta, episodes_per_update=32)
        rollout = agent.collect()
        now = table(agent).detach().double()
        mixed = (1 - weight) * now + weight * REFERENCE
        sums, rows = rollout.logprobs.sum(dim=1).double(), rows_of(rollout)
        torch.testing.assert_close(sums[::2], logprobs(now)[rows[::2]], atol=1e-5, rtol=0)
        torch.testing.assert_close(sums[1::2], logprobs(mixed)[rows[1::2]], atol=1e-5, rtol=0)


def test_the_bonus_of_xpo_is_paid_for_what_the_reference_said(toy15: Task) -> None:
    """d loss / d alpha is the mean log π of the second responses."""
    agents = [
        XPO(make_envs(toy15), policy=theta_policy(toy15), xpo_alpha=alpha, episodes_per_update=16)
        for alpha in (0.0, 0.1)
    ]
    rollout = agents[0].collect()
    without, paid = (gradient(agent, rollout).reshape(-1)[:21] for agent in agents)
    policy = agents[0].policy
    policy.zero_grad()
    said = policy.evaluate_tokens(rollout.tokens[1::2], rollout.is_action[1::2])
    said.logprobs.sum(dim=1).mean().backward()
    bonus = next(iter(policy.model.parameters())).grad
    assert bonus is not None
    torch.testing.assert_close(paid - without, 0.1 * bonus.flatten(), atol=1e-6, rtol=1e-4)


def test_labels_of_dno_compare_win_rates(toy15: Task) -> None:
    """Scores 1, 0, 0: rates .731, .384, .384; sigmoid of .346588 is .585790."""
    agent: Any = DNO(make_envs(toy15), group_size=3, episodes_per_update=3)
    rows = labeled_rollout([1.0, 0.0, 0.0])
    plain = label_by_score(rows, "soft", rng())
    assert plain[0].tolist() == pytest.approx([0.5, 0.731059, 0.731059], abs=1e-6)
    found = agent._labeled(rows, 0).preference
    # (0.268941 + 0.5) / 2 = 0.384471
    expected = [[0.5, 0.585790, 0.585790], [0.414210, 0.5, 0.5], [0.414210, 0.5, 0.5]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-6, rtol=0)


def test_exact_iterations_of_dno_are_exponential_weights(toy15: Task) -> None:
    """π_t exp(w_t/β) is where the slope of an iteration is 0, and J is as enumerated."""
    agent: Any = DNO(make_envs(toy15), beta=0.5)
    now, expected = REFERENCE, {1: 0.308518, 5: 1.067972}
    for iteration in range(1, 6):
        mass = logprobs(now).exp()
        rates = WINS @ mass
        end = tilted(rates / 0.5, logprobs(now))
        if iteration in expected:
            assert objective(end) == pytest.approx(expected[iteration], abs=1e-6)
        set_table(agent, now)
        agent.iterate.follow(agent.policy)
        set_table(agent, end)
        rollout = every_pair(agent)
        first, second = rows_of(rollout)[::2], rows_of(rollout)[1::2]
        p = (rates[first] - rates[second]).sigmoid().float()
        half = torch.full_like(p, 0.5)
        matrix = torch.stack([half, p, 1 - p, half], dim=1).reshape(-1, 2)
        pairs = mass[first] * mass[second]
        slope = value_and_slope(
            agent, rollout.replace(preference=matrix), pairs.repeat_interleave(2) / 2
        )[1]
        assert slope.norm().item() < 1e-6
        now = end


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (KTO, {}),
        (BCO, {}),
        (DRO, {}),
        (SPPO, {"reference_every": 2}),
        (DNO, {"reference_every": 2}),
        (NashMD, {"labels": "sampled"}),
        (XPO, {"labels": "sampled"}),
        (DPO, {"reference_every": 2, "labels": "sampled", "lora_rank": 2}),
        (DPO, {"reference_every": 2, "preferences": RAGGED}),
        (BCO, {"preferences": RAGGED}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value.__name__,
)
def test_kill_and_resume(kind: type[PreferenceAgent], settings: Any, tmp_path: Path) -> None:
    """Five updates at once, and three with a new agent that resumes for two: the same bits."""

    def agent() -> PreferenceAgent:
        arguments = {"episodes_per_update": 8, "learning_rate": 0.01, **settings}
        return kind(make_envs(tiny_llama_task(), 8), **arguments)

    straight = agent()
    size = straight.episodes_per_update
    expected = straight.learn(5 * size, progress=False)
    broken = agent()
    broken.learn(3 * size, progress=False)
    broken.save(tmp_path / "at-3")
    resumed = agent()
    resumed.restore(tmp_path / "at-3")
    history = [resumed.update(resumed.collect()) for _ in range(2)]
    for found, wanted in zip(history, expected[3:], strict=True):
        assert found["preference_loss"] == wanted["preference_loss"]
        assert found["gradient_norm"] == wanted["gradient_norm"]
    ours, theirs = (list(each.policy.parameters()) for each in (resumed, straight))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_mixture_of_a_moved_reference() -> None:
    """Nash-MD against the last iterate, where there is one."""
    agent: Any = NashMD(make_envs(tiny_llama_task()), reference_every=1, episodes_per_update=8)
    assert agent.players[1].lm.engine.engines[1] is agent.iterate.lm.engine
    still: Any = NashMD(make_envs(tiny_llama_task()), episodes_per_update=8)
    reference = still.base.mdp.reference
    assert still.players[1].lm.engine.engines[1] is reference.engine
    assert isinstance(geometric_mixture(still.policy, reference, 0.3).lm, LanguageModel)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (XPO, {"preferences": RAGGED}, "XPO compares responses of its own"),
        (NashMD, {"opponent_mixture": None}, "opponent_mixture must be a number for Nash-MD"),
        (NashMD, {"group_size": 4}, "opponent_mixture needs group_size=2"),
        (SPPO, {"draws_from": "people"}, "draws_from must be one of"),
        (DPO, {"reference_every": 0}, "reference_every must be"),
        (SPPO, {"use_weighting": True}, "use_weighting is of pairs"),
        (DPO, {"xpo_alpha": 0.1}, "the loss 'dpo' has no xpo_alpha"),
    ],
)
def test_what_cannot_be_used_is_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(make_envs(tiny_llama_task()), **settings)


def iteration_of_sppo() -> Tensor:
    """The table where one iteration's square is smallest, η = 2, from the reference."""

    def loss(new: Tensor) -> Tensor:
        return (REF * sppo_response(logprobs(new) - REF_LOGPROBS, WIN_RATES, beta=0.5)).sum()

    return zero_of_field(loss)


def regularized_equilibrium() -> Tensor:
    """π_ref exp(P(y > π)/0.5), by damped iteration."""
    end = REFERENCE
    for _ in range(100):
        now = logprobs(end)
        end = tilted(0.5 * (WINS @ now.exp()) / 0.5 + 0.5 * (now - REF_LOGPROBS))
    return end


def kl(of: Tensor, to: Tensor) -> float:
    """KL of whole responses between two tables, nats."""
    ours, theirs = logprobs(of), logprobs(to)
    return (ours.exp() * (ours - theirs)).sum().item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "end", "j"),
    [
        (SPPO, iteration_of_sppo, 0.295714),
        (DNO, lambda: tilted(WIN_RATES / 0.5), 0.308518),
        (NashMD, regularized_equilibrium, 0.312731),
    ],
    ids=["sppo", "dno", "nash"],
)
def test_self_play_from_its_own_responses(
    kind: Any, end: Any, j: float, seed: int, toy15: Task
) -> None:
    """One iteration (Nash-MD: all of it) goes at least four fifths of the way to its fixed point.

    The way is the KL to it, which is that of the reference at the start.
    """
    still = end()
    assert objective(still) == pytest.approx(j, abs=1e-6)
    extra = {"opponent_mixture": 0.0} if kind is NashMD else {"group_size": 8}
    extra |= {} if kind is NashMD else {"reference_every": 200}
    agent = kind(make_envs(toy15, 64), beta=0.5, learning_rate=0.02, seed=seed, **extra)
    agent.learn(64 * 120, progress=False)
    assert kl(table(agent).detach().double(), still) < kl(REFERENCE, still) / 5
