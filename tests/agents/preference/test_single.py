"""Agents of single responses: exact slopes, KTO's baseline, BCO's running mean, DRO's value."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from agents import BCO, DPO, DRO, KTO, ResponseGroup
from agents.preference.losses import bco_response
from agents.preference.single import good_shares, mismatched_texts
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.preference.agent_population import (
    GOOD,
    MASS,
    every_response,
    population_loss,
    value_and_slope,
)
from tests.agents.preference.preference_runs import gradient, make_agent, share_of_optimum
from tests.agents.preference.test_labels import rollout as labeled_rollout
from tests.agents.preference.test_toy15_fixed_points import kto_loss
from tests.agents.preference.toy15_population import (
    BEST,
    REF,
    REF_LOGPROBS,
    REFERENCE,
    logprobs,
    objective,
    slope,
    zero_of_field,
)
from tests.toys import EOS, tiny_llama_task

THUMBS = [
    ResponseGroup.single([2, 3], [5, 6, 7, EOS], good=1.0),
    ResponseGroup.single([4], [9, EOS], good=0.0),
    ResponseGroup.single([2, 3, 4], [8, EOS], good=1.0),
    ResponseGroup.single([7], [6, 6, 6, 6, 6, EOS], good=0.0),
]
NONE = torch.zeros(15)


@pytest.mark.parametrize(
    ("kind", "mass", "good", "value", "norm"),
    [
        pytest.param(KTO, MASS, GOOD, 0.5, 0.025781, id="kto"),
        # The table's pairs are two responses each.
        pytest.param(BCO, MASS, GOOD, 1.386294 / 2, 0.103124 / 2, id="bco"),
        pytest.param(DRO, REF, GOOD, 0.406629, 0.190169, id="dro"),
    ],
)
def test_loss_and_slope_at_the_reference(
    kind: Any, mass: Tensor, good: Tensor, value: float, norm: float, toy15: Task
) -> None:
    agent = kind(make_envs(toy15))
    found = value_and_slope(agent, every_response(agent, good), mass, shift=NONE)
    assert found[0] == pytest.approx(value, abs=1e-6)
    assert found[1].norm().item() == pytest.approx(norm, abs=1e-6)


def test_dro_learns_optimum_and_value_together(toy15: Task) -> None:
    """The fixed point of any data law: π*, V = 1.125295, loss 0."""
    agent = DRO(make_envs(toy15), learning_rate=0.05)
    rollout = every_response(agent, GOOD)
    for _ in range(400):
        agent.learner.optimizer.zero_grad()
        population_loss(agent, rollout, REF).backward()
        agent.learner.optimizer.step()
    assert population_loss(agent, rollout, REF).item() < 1e-4
    assert share_of_optimum(agent) > 0.999
    assert agent.policy.value_head.bias.item() + float(
        agent.policy.value_head.weight[0, 0].detach()
    ) == pytest.approx(BEST, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_dro_from_its_own_responses(seed: int, toy15: Task) -> None:
    """Scores have no noise and every residual is 0 at the optimum, so samples add none there."""
    agent = DRO(make_envs(toy15, 64), learning_rate=0.05, seed=seed)
    agent.learn(64 * 400, progress=False)
    assert share_of_optimum(agent) > 0.99


def test_mismatched_rows_come_from_the_next_group() -> None:
    """Prompts (1) (1) (1, 1) of two groups; a group of two meets the other's rows in turn."""
    agent = make_agent(KTO, preferences=THUMBS, episodes_per_update=4)
    rollout = agent.collect()
    tokens, is_action = mismatched_texts(rollout)
    prompts, responses = rollout.prompts(), rollout.responses()
    for row in range(4):
        following = (row + 1) % 4
        text = torch.cat([prompts[row], responses[following]])
        assert torch.equal(tokens[row, : len(text)], text)
        expected = torch.zeros(tokens.shape[1], dtype=torch.bool)
        expected[len(prompts[row]) : len(text)] = True
        assert torch.equal(is_action[row], expected)


def test_mismatched_rows_of_pairs_skip_their_own_prompt() -> None:
    rows = labeled_rollout([0.0] * 5, [3, 3, 8, 8, 8])
    tokens, _ = mismatched_texts(rows)
    # Responses are numbered 2 + row; the smaller group is used in turn.
    assert tokens[:, 1].tolist() == [4, 5, 2, 3, 2]


def test_baseline_is_detached_clamped_and_of_the_whole_update() -> None:
    agent = make_agent(KTO, preferences=THUMBS, episodes_per_update=4, learning_rate=0.05)
    seen = []
    for _ in range(12):
        rollout = agent.collect()
        old = agent.policy.sampler_only(rollout)
        targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
        tokens, is_action = mismatched_texts(rollout)
        ours = agent.policy.evaluate_episodes(tokens, is_action).logprobs.sum(dim=1)
        assert not targets.shift.requires_grad
        assert targets.shift.unique().numel() == 1
        reference = agent_logprobs(agent, tokens, is_action)
        expected = max(0.0, float((ours - reference).mean().detach()))
        assert float(targets.shift[0]) == pytest.approx(expected, abs=1e-5)
        seen.append(float(targets.shift[0]))
        agent.update(rollout)
    assert min(seen) == 0.0


def agent_logprobs(agent: Any, tokens: Tensor, is_action: Tensor) -> Tensor:
    """[B] log π_ref of the actions, row by row from the definition."""
    model, sums = agent.base.mdp.reference.model, []
    for text, is_said in zip(tokens, is_action, strict=True):
        with torch.no_grad():
            logprobs = model(input_ids=text[None]).logits[0].log_softmax(dim=-1)
        steps = is_said.nonzero().flatten()
        sums.append(logprobs[steps - 1, text[steps]].sum())
    return torch.stack(sums)


@pytest.mark.parametrize("kind", [KTO, BCO, DRO])
def test_the_split_into_passes_does_not_matter(kind: Any) -> None:
    agents = [make_agent(kind, preferences=THUMBS, episodes_per_update=4) for _ in range(2)]
    agents[1].learner.max_tokens = 8
    whole, parts = (gradient(agent) for agent in agents)
    assert whole.norm() > 1e-3
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_a_last_minibatch_of_one_uses_the_same_baseline() -> None:
    """Five rows in two minibatches would leave a batch of one to a learner of rows."""
    agent = make_agent(
        KTO, preferences=THUMBS, episodes_per_update=4, minibatches=4, learning_rate=0.01
    )
    metrics = agent.update(agent.collect())
    assert metrics["optimizer_steps"] == 4.0
    assert metrics["shift"] >= 0.0


def test_kto_needs_another_prompt(toy15: Task) -> None:
    with pytest.raises(ValueError, match=r"at least two groups, .* got 1 with"):
        KTO(make_envs(tiny_llama_task()), episodes_per_update=1)
    prompt = toy15.prompts[0]
    thumbs = [ResponseGroup.single(prompt, [1, 0], good=g) for g in (1.0, 0.0)]
    with pytest.warns(UserWarning, match="hold one prompt.* stays 0"):
        KTO(make_envs(toy15), preferences=thumbs, episodes_per_update=2)


def test_running_mean_of_bco_by_hand(toy15: Task) -> None:
    """At the reference all rewards are 0; then 0.9 of the old and 0.1 of the new."""
    agent: Any = BCO(make_envs(toy15, 64), learning_rate=0.2)
    agent.update(agent.collect())
    assert agent.learner.algorithm.state() == {"shift": pytest.approx(0.0, abs=1e-6)}
    rollout = agent.collect()
    rewards = 0.5 * (rollout.logprobs - rollout.ref_logprobs).sum(dim=1).double()
    good = rollout.preference[:, 0].double()
    means = [(w * rewards).sum() / w.sum() for w in (good, 1 - good)]
    agent.update(rollout)
    expected = 0.1 * float(means[0] + means[1]) / 2
    assert agent.learner.algorithm.state()["shift"] == pytest.approx(expected, abs=1e-5)


def test_shares_of_wins_leave_the_response_itself_out() -> None:
    nan = torch.nan
    rows = labeled_rollout([0.0] * 4, [0, 0, 0, 1]).replace(
        preference=torch.tensor(
            [[0.5, 1.0, 0.6], [0.0, 0.5, nan], [0.4, nan, 0.5], [0.7, nan, nan]]
        )
    )
    assert good_shares(rows).tolist() == pytest.approx([0.8, 0.0, 0.4, 0.7])


def test_pairs_are_two_single_responses() -> None:
    """KTO reads what DPO reads; ratings are for DRO, which takes thumbs as scores."""
    pairs = [([2, 3], [5, EOS], [4, 4, EOS]), ([4], [8, EOS], [9, EOS])]
    agent = make_agent(KTO, preferences=pairs, episodes_per_update=4)
    assert sorted(agent.collect().preference[:, 0].tolist()) == [0.0, 0.0, 1.0, 1.0]
    assert len(make_agent(DPO, preferences=pairs).preferences) == 2
    ratings = [ResponseGroup.single([2], [5, EOS], score=3.0) for _ in range(2)]
    with pytest.raises(ValueError, match="2 of 2 that do not; learn from ratings by DRO"):
        make_agent(KTO, preferences=ratings, episodes_per_update=2)
    rated = make_agent(DRO, preferences=ratings, episodes_per_update=2)
    assert rated.collect().score.tolist() == [3.0, 3.0]
    thumbs = make_agent(DRO, preferences=THUMBS, episodes_per_update=4)
    assert sorted(thumbs.collect().score.tolist()) == [0.0, 0.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="rate every response or none, got 2 of 6"):
        make_agent(DRO, preferences=[*ratings, *THUMBS], episodes_per_update=2)


@pytest.mark.parametrize("kind", [KTO, BCO, DRO])
def test_learning_from_thumbs(kind: Any) -> None:
    agent = make_agent(kind, preferences=THUMBS, episodes_per_update=4, learning_rate=0.01)
    before = agent.preference_figures(THUMBS)
    agent.learn(passes=30, progress=False)
    after = agent.preference_figures(THUMBS)
    assert after["loss"] < before["loss"]
    assert after["responses"] == 4.0
    if kind is not DRO:
        assert after["accuracy"] == 1.0
        assert after["good_reward"] > after["bad_reward"]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (KTO, {"gamma": 0.9}, "gamma must be 1 for the loss 'kto'"),
        (DPO, {"loss": "kto"}, "DPO learns from comparisons, got the loss 'kto'"),
        (BCO, {"shift_decay": 1.5}, "shift_decay"),
        (DRO, {"critic": "none"}, "critic"),
        (DRO, {"labels": "soft"}, "DRO learns from scores, got labels='soft'"),
        (KTO, {"dpop_lambda": 1.0}, "the loss 'kto' has no dpop_lambda"),
    ],
)
def test_what_cannot_be_used_is_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(make_envs(tiny_llama_task()), **settings)


@pytest.mark.slow
def test_kto_ends_at_the_boundary() -> None:
    """20,000 plain steps with z = 0: what is bad more often than good goes to probability 0."""
    table = REFERENCE
    for _ in range(20_000):
        table = table - 8 * slope(kto_loss, table)
    assert kto_loss(table).item() == pytest.approx(0.3957, abs=5e-5)
    assert objective(table) / BEST == pytest.approx(0.613, abs=5e-4)
    assert logprobs(table).exp()[GOOD < 0.5].sum().item() < 1e-3


@pytest.mark.parametrize(
    ("is_shifted", "shift", "value", "j"),
    [(False, 0.0, 1.224042, 0.616508), (True, -1.816162, 1.187020, 1.020915)],
)
def test_where_bco_ends(is_shifted: bool, shift: float, value: float, j: float) -> None:
    """With a shift of 0, and with that of its own rewards; losses are sums over two sides.

    Fitting and shifting in turn is slow: after 60 turns the shift is −1.5449 and J 1.0618.
    """

    def mean_reward(table: Tensor) -> Tensor:
        rewards = 0.5 * (logprobs(table) - REF_LOGPROBS).detach()
        good, bad = MASS * GOOD, MASS * (1 - GOOD)
        return ((good @ rewards) / good.sum() + (bad @ rewards) / bad.sum()) / 2

    def loss(table: Tensor) -> Tensor:
        moved = mean_reward(table) if is_shifted else torch.zeros((), dtype=torch.float64)
        ratios = logprobs(table) - REF_LOGPROBS
        return 2 * (MASS * bco_response(ratios, GOOD, beta=0.5, bco_shift=moved)).sum()

    end = zero_of_field(loss)
    assert loss(end).item() == pytest.approx(value, abs=1e-6)
    assert objective(end) == pytest.approx(j, abs=1e-6)
    if is_shifted:
        assert mean_reward(end).item() == pytest.approx(shift, abs=1e-6)
