"""What an agent of comparisons learns from, and what its figures are, on ragged pairs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import (
    CPO,
    DPO,
    IPO,
    ORPO,
    RDPO,
    SPPO,
    TDPO,
    LiPO,
    PreferenceAgent,
    ResponseGroup,
    SimPO,
)
from agents.training.run_log import read_metrics
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from tests.agents.episodes import make_envs
from tests.agents.preference.preference_runs import RAGGED, gradient, make_agent
from tests.toys import EOS, tiny_gpt2_task, tiny_llama_task
from wrappers import vector

LOG_2 = math.log(2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7},
        {"lora_rank": 2},
        {"gradient_checkpointing": True},
        {"minibatches": 2, "epochs": 2, "learning_rate": 0.0},
        {"gamma": 0.9},
        {"loss": "cdpo"},
        {"loss": "dpo_norm"},
        {"loss": "tdpo1"},
        {"loss": "fdpo", "f_divergence": "forward_kl"},
    ],
)
def test_the_loss_at_the_reference_is_log_2(settings: dict[str, Any]) -> None:
    task = tiny_gpt2_task(dropout=0.1)
    metrics = make_agent(task=task, **settings).learn(16, progress=False)[0]
    assert metrics["preference_loss"] == pytest.approx(LOG_2, abs=1e-6)
    assert metrics["margin"] == pytest.approx(0.0, abs=1e-6)


def test_a_forward_pass_in_16_bits_is_near_it() -> None:
    agent = make_agent(task=tiny_gpt2_task(), precision="bf16")
    metrics = agent.learn(16, progress=False)[0]
    assert metrics["preference_loss"] == pytest.approx(LOG_2, abs=1e-3)


def test_the_reference_does_not_move() -> None:
    agent = make_agent()
    before = [p.clone() for p in agent.base.mdp.reference.model.parameters()]
    first = agent.collect().ref_logprobs
    agent.learn(32, progress=False)
    after = list(agent.base.mdp.reference.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    # Other rows share a pass, which rounds otherwise.
    again = agent.preferences.rollout(0.1).ref_logprobs.sum()
    assert float(again) == pytest.approx(float(first.sum()), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        (DPO, LOG_2),
        (IPO, 25.0),
        (SimPO, None),
        (ORPO, None),
        (CPO, None),
        (RDPO, None),
        (TDPO, LOG_2),
        # 500 squared times the mean of (2p - 1) squared over the labels.
        (SPPO, 164_722.222),
        (LiPO, None),
    ],
)
def test_every_named_agent_learns_from_data_and_from_its_own_responses(
    kind: type[PreferenceAgent], loss: float | None
) -> None:
    offline = make_agent(kind, learning_rate=0.003)
    history = offline.learn(passes=15, progress=False)
    if loss is not None:
        assert history[0]["preference_loss"] == pytest.approx(loss, rel=1e-5)
    assert history[-1]["preference_loss"] < history[0]["preference_loss"]
    assert history[-1]["accuracy"] > 0.6
    online = kind(make_envs(tiny_llama_task()), episodes_per_update=8)
    assert math.isfinite(online.learn(16, progress=False)[-1]["preference_loss"])


def test_a_pass_sees_every_pair_once_in_an_order_of_its_own() -> None:
    agent = make_agent(episodes_per_update=4)
    seen: list[list[int]] = []
    for _ in range(8):
        seen += [ids.tolist() for ids in agent.collect().responses()]
        agent.updates += 1
    wanted = sorted(list(said) for group in RAGGED for said in group.responses)
    assert sorted(seen[:16]) == sorted(seen[16:]) == wanted
    assert seen[:16] != seen[16:]
    assert agent.episodes_of(3) == 48


def test_nothing_is_scored_by_the_tasks_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    task = tiny_llama_task()
    agent = make_agent(task=task)

    def refuse(*_: Any) -> Any:
        raise AssertionError("the reward was asked")

    monkeypatch.setattr(type(task.reward), "__call__", refuse)
    metrics = agent.learn(16, progress=False)[0]
    assert not {"score", "kl", "return"} & set(metrics)
    assert {"accuracy", "margin", "chosen_reward", "rejected_reward", "chosen_logprob"} <= set(
        metrics
    )


def test_held_out_pairs_are_in_the_log(tmp_path: Path) -> None:
    agent = make_agent(held_out=RAGGED[:4], held_out_every=2)
    agent.learn(64, log_dir=tmp_path, progress=False)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert ["held_out_accuracy" in row for row in rows] == [False, True, False, True]
    figures = agent.preference_figures(RAGGED[:4])
    for name, value in figures.items():
        assert rows[-1][f"held_out_{name}"] == pytest.approx(value, abs=1e-6)


def test_figures_by_hand() -> None:
    """Labels 1, 1, .7, .5, 1, 1, 2/3, 1 are predicted as well as one answer to each can be."""
    figures = make_agent().preference_figures(RAGGED)
    assert figures["pairs"] == 8.0
    assert figures["loss"] == pytest.approx(LOG_2, abs=1e-6)
    agent = make_agent(learning_rate=0.01, beta=1.0)
    agent.learn(passes=60, progress=False)
    after = agent.preference_figures(RAGGED)
    assert after["accuracy"] == pytest.approx((5 + 0.7 + 0.5 + 2 / 3) / 8, abs=1e-6)
    gap = after["chosen_reward"] - after["rejected_reward"]
    assert after["margin"] == pytest.approx(gap, abs=1e-4)


def test_ties_pull_together_and_have_no_gradient_at_the_reference() -> None:
    tie = [ResponseGroup.pair([2, 3], [5, 6, EOS], [4, EOS], p=0.5)]
    agent = make_agent(preferences=tie, episodes_per_update=2)
    assert gradient(agent).norm() < 1e-6
    agent.learn(0, progress=False)
    with torch.no_grad():
        for parameter in agent.learner.parameters:
            parameter.add_(0.05 * torch.ones_like(parameter).cumsum(-1).sin())
    before = agent.preference_figures(tie)["loss"]
    agent.learn(40, progress=False)
    assert LOG_2 - 1e-6 < agent.preference_figures(tie)["loss"] < before


def test_two_votes_to_one_are_two_pairs_and_one_exchanged() -> None:
    prompt, a, b = [2, 3], [5, 6, EOS], [4, EOS]
    voted = [ResponseGroup.pair(prompt, a, b, p=2 / 3)]
    single = [ResponseGroup.pair(prompt, *sides) for sides in ((a, b), (a, b), (b, a))]
    one = gradient(make_agent(preferences=voted, episodes_per_update=2))
    three = gradient(make_agent(preferences=single, episodes_per_update=6))
    assert torch.allclose(one, three, atol=1e-6)


def test_a_list_weighs_no_more_than_a_pair() -> None:
    """A group's loss is the mean over its pairs, and groups weigh alike."""
    ranked = ResponseGroup.ranked([7], [[3, EOS], [4, EOS], [5, 5, EOS]], [3, 2, 1], scored=False)
    pair = RAGGED[0]
    mixed = gradient(make_agent(preferences=[ranked, pair], episodes_per_update=6))
    alone = [
        gradient(make_agent(preferences=[one], episodes_per_update=2 * len(one)))
        for one in (ranked, pair)
    ]
    assert torch.allclose(mixed, (alone[0] + alone[1]) / 2, atol=1e-6)


def test_the_gradient_does_not_depend_on_what_a_decision_is() -> None:
    """Tokens, macro actions and the bandit learn the same from whole responses."""
    task = tiny_llama_task()
    kinds = [make_envs(task), vector.MacroAction(make_envs(task), n=2)]
    kinds.append(vector.SequenceBandit(make_envs(task)))
    fixed = [DPO(e, preferences=RAGGED, episodes_per_update=16) for e in kinds]
    first, *others = [gradient(agent) for agent in fixed]
    assert all(torch.equal(first, other) for other in others)
    drawn = [DPO(e, episodes_per_update=8, seed=3) for e in kinds]
    first, *others = [gradient(agent) for agent in drawn]
    assert all(torch.allclose(first, other, atol=1e-7) for other in others)


def test_a_discount_is_of_decisions() -> None:
    """Under the bandit a response is one decision, so nothing is discounted."""
    task = tiny_llama_task()
    plain = gradient(DPO(make_envs(task), preferences=RAGGED, episodes_per_update=16))
    bandit = vector.SequenceBandit(make_envs(task))
    whole = gradient(DPO(bandit, preferences=RAGGED, episodes_per_update=16, gamma=0.5))
    tokens = gradient(DPO(make_envs(task), preferences=RAGGED, episodes_per_update=16, gamma=0.5))
    assert torch.equal(plain, whole)
    assert not torch.allclose(plain, tokens, atol=1e-3)


def test_a_discounted_sum_by_hand(toy15: Task) -> None:
    """At gamma 0 only the first token counts, whose logit was raised by 1: beta is 0.5."""
    pairs = [ResponseGroup.pair(toy15.prompts[0], [1, 1, 1], [2, 0])]
    agent = DPO(make_envs(toy15), preferences=pairs, episodes_per_update=2, gamma=0.0)
    with torch.no_grad():
        agent.policy.model.lm_head.weight[1, 0] += 1.0
    figures = agent.preference_figures(pairs)
    assert figures["margin"] == pytest.approx(0.5, abs=1e-5)


def test_beta_is_the_kl_coefficient_unless_it_is_given() -> None:
    agent = make_agent()
    assert agent.beta == agent.kl_coef == 0.1
    agent.kl_coef = 0.3
    assert agent.update(agent.collect())["beta"] == 0.3
    assert make_agent(beta=2.0).beta == 2.0
    assert make_agent(SimPO).beta == 2.0
    halved, full = (gradient(make_agent(beta=b)) for b in (0.05, 0.1))
    assert torch.allclose(2 * halved, full, atol=1e-6)


def test_trl_names_of_losses() -> None:
    assert make_agent(loss_type="sigmoid_norm").config.loss == "dpo_norm"
    with pytest.raises(ValueError, match="loss_type must be one of"):
        make_agent(loss_type="sigmoids")


def test_a_robust_loss_below_0_is_reported_once() -> None:
    sure = [group for group in RAGGED if group.preference[0, 1] in (0.0, 1.0)]
    agent = make_agent(
        preferences=sure, episodes_per_update=10, loss="robust", label_smoothing=0.4, beta=1.0
    )
    with pytest.warns(UserWarning, match="'robust' is below 0: fewer labels are flipped") as found:
        agent.learn(passes=40, progress=False)
    assert len(found) == 1


def test_labels_come_from_a_judge() -> None:
    def longer(prompts: list[str], a: list[str], b: list[str]) -> list[float]:
        return [float(len(x) > len(y)) for x, y in zip(a, b, strict=True)]

    agent = DPO(make_envs(tiny_llama_task()), labels=longer, episodes_per_update=8)
    rollout = agent.collect()
    lengths = rollout.response_lengths.tolist()
    assert rollout.preference is not None
    for row in range(0, 8, 2):
        if lengths[row] > lengths[row + 1]:
            assert rollout.preference[row, 1] == 1.0


def test_a_saved_agent_is_loaded_with_its_data_or_judge(tmp_path: Path) -> None:
    agent = make_agent()
    agent.learn(16, progress=False)
    agent.save(tmp_path / "offline")
    loaded = DPO.load(tmp_path / "offline", agent.envs, preferences=RAGGED)
    assert loaded.preference_figures(RAGGED) == agent.preference_figures(RAGGED)

    def judge(prompts: list[str], a: list[str], b: list[str]) -> list[float]:
        return [0.5] * len(a)

    judged = DPO(make_envs(tiny_llama_task()), labels=judge, episodes_per_update=8)
    judged.save(tmp_path / "online")
    assert DPO.load(tmp_path / "online", judged.envs, labels=judge).config == judged.config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "dop"}, "loss must be one of .*, got 'dop'; did you mean 'dpop'"),
        ({"loss": "simpo"}, "beta must be a number for the loss 'simpo'"),
        ({"loss": "simpo", "beta": 2.0, "gamma": 0.9}, "gamma must be 1 for the loss 'simpo'"),
        ({"loss": "rrhf", "beta": 1.0}, "the loss 'rrhf' has no beta, got 1"),
        ({"beta": 0.0}, "beta must be a finite number greater than 0"),
        ({"kl_coef": 0.0}, "beta is the KL coefficient, which is 0"),
        ({"label_smoothing": 0.1}, "the loss 'dpo' has no label_smoothing, got 0.1"),
        ({"loss": "robust", "label_smoothing": 0.5}, "label_smoothing must be below 0.5, got 0.5"),
        ({"kl_placement": "loss"}, "kl_placement is of a KL in the reward"),
        ({"kl_estimator": "k3"}, "kl_estimator is of a KL in the reward"),
        ({"kl_target": 6.0}, "kl_target is of a KL in the reward"),
        ({"labels": "soft"}, "preferences are compared already, got labels too"),
        ({"preferences": None, "labels": "loud"}, "labels must be one of"),
        ({"preferences": None, "label_rule": "judge"}, "labels must be one of"),
        ({"loss": "rpo"}, "the loss 'rpo' needs the responses' scores, got preferences without"),
        ({"minibatches": 16}, "minibatches must be at most the number of groups, 8, got 16"),
        ({"loss": "ipo", "beta": 0.1, "sft_normalization": "batch"}, "has no likelihood"),
        ({"group_size": 1}, "group_size must be an integer >= 2"),
        ({"loss_type": "sigmoid", "loss": "dpo"}, "loss_type must be one of"),
    ],
)
def test_what_cannot_be_used_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent(**settings).update(make_agent(**settings).collect())


def test_learn_takes_episodes_or_passes() -> None:
    with pytest.raises(ValueError, match="learn needs total_episodes or passes, got None and None"):
        make_agent().learn(progress=False)
    online = DPO(make_envs(load_task("toy15")), episodes_per_update=8)
    with pytest.raises(ValueError, match="got 2 passes without preferences"):
        online.learn(passes=2, progress=False)


def test_truncated_episodes_are_refused() -> None:
    envs = make_envs(tiny_llama_task(), length_limit="bootstrap")
    agent = DPO(envs, episodes_per_update=32)
    with pytest.raises(ValueError, match="preference optimization has no critic to bootstrap from"):
        agent.learn(32, progress=False)


def test_weights_of_groups_of_several_sizes() -> None:
    ranked = ResponseGroup.ranked([7], [[3, EOS], [4, EOS], [5, EOS]], [3, 2, 1], scored=False)
    agent = make_agent(preferences=[ranked, RAGGED[0]], episodes_per_update=6)
    rollout = agent.collect()
    targets = agent.learner.algorithm.targets(rollout, None, None)
    sizes = rollout.group.unique_consecutive(return_counts=True)[1].repeat_interleave(
        rollout.group.unique_consecutive(return_counts=True)[1]
    )
    assert torch.allclose(targets.weight * sizes, torch.full((5,), 2.5))
