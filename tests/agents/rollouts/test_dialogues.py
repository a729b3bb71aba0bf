"""Conversations as rollouts: decoded = stepped, under every wrapper, and learned from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

import wrappers
import wrappers.vector as vector
from agents import GRPO, PPO, RLOO, Reinforce, collect
from agents.math import discounted_returns
from agents.policy import Policy
from agents.rollouts.decisions import first_of_decision, is_decision, sum_per_decision
from rlhf_env.exact import evaluate, regret, solve
from rlhf_env.rollout import Rollout
from tests.dialogues import COMMA, talk_task
from tests.rlhf_env.exact.test_dialogue_tree import risk
from tests.toys import EOS
from tests.wrappers.stacks import moved_reference
from wrappers.record_episodes import read_episodes, replay

FIELDS = ("tokens", "is_action", "decision", "terminated", "group")
NUMBERS = ("logprobs", "ref_logprobs", "rewards", "score")

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda envs: envs,
    "every 3": lambda envs: vector.EveryK(envs, k=3),
    "differences": vector.PrefixDifference,
    "prefixes": vector.PrefixReward,
    "shaping": lambda envs: vector.PotentialShaping(envs, gamma=0.9),
    "length": lambda envs: vector.LengthPenalty(envs, coef=0.1, free_tokens=3),
    "repetition": lambda envs: vector.RepetitionPenalty(envs, coef=0.1, n=2),
    "last id": lambda envs: vector.TokenReward(envs, lambda p, r: 0.01 * float(r[-1]) + len(r)),
    "implicit": lambda envs: vector.ImplicitReward(envs, moved_reference(envs), beta=0.5),
    "normalized": lambda envs: vector.NormalizeScore(envs, episodes=16, seed=0),
}


def conversation(**fields: Any) -> Any:
    return gym.make_vec("RLHF-v0", num_envs=4, task=talk_task(**fields), **{})


def policy_of(envs: Any, seed: int = 0) -> Policy:
    """A policy that ends turns often, unlike its reference."""
    model = copy.deepcopy(envs.unwrapped.task.reference)
    text = torch.randint(32, (1, 64), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        usual = model.model(text).last_hidden_state.mean((0, 1))
        model.lm_head.weight.mul_(0.3)
        # The logit of the turn's end is about 3 everywhere.
        model.lm_head.weight[COMMA] = 3.0 * usual / (usual @ usual)
    return Policy(model, 32)


def assert_same(one: Rollout, other: Rollout) -> None:
    for name in FIELDS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in NUMBERS:
        assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-4), name
    for name, term in one.reward_terms.items():
        assert torch.allclose(term, other.reward_terms[name], atol=1e-4), name


@pytest.mark.parametrize("name", WRAPPERS)
def test_decoded_is_stepped(name: str) -> None:
    envs = WRAPPERS[name](conversation())
    policy = policy_of(envs)
    fast = collect(envs, policy, 12, seed=3)
    assert_same(fast, collect(envs, policy, 12, seed=3, fast=False))
    said = [own.logical_not().sum() for own in fast.responses_are_actions()]
    assert sum(said) > 20  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("wrap", ["nothing", "shaping"])
def test_decoded_is_stepped_in_every_autoreset_mode(mode: str, wrap: str) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=5, task=talk_task(), autoreset_mode=mode)
    envs = WRAPPERS[wrap](envs)
    policy = policy_of(envs)
    assert_same(collect(envs, policy, 17, seed=1), collect(envs, policy, 17, seed=1, fast=False))


@pytest.mark.parametrize("span", [{"n": 2}, {"boundary": "turn"}, {"n": 1}])
@pytest.mark.parametrize("shaped", [False, True])
def test_macro_actions_end_with_their_turn(span: dict[str, Any], shaped: bool) -> None:
    envs = vector.MacroAction(conversation(), **span)
    if shaped:
        envs = vector.PotentialShaping(envs, gamma=0.9)
    policy = policy_of(envs)
    fast = collect(envs, policy, 12, seed=3)
    stepped = collect(envs, policy, 12, seed=3, fast=False)
    assert torch.equal(fast.tokens, stepped.tokens)
    assert torch.equal(fast.decision, stepped.decision)
    # Stepping knows rewards of a whole decision only.
    for name in ("rewards", "ref_logprobs"):
        totals = [getattr(each, name).sum(1) for each in (fast, stepped)]
        assert torch.allclose(*totals, atol=1e-4), name
    for row in range(len(fast)):
        turn = (fast.tokens[row] == COMMA).long().cumsum(0) - (fast.tokens[row] == COMMA).long()
        own = fast.is_action[row]
        for number in fast.decision[row][own].unique():
            inside = turn[own & (fast.decision[row] == number)]
            assert inside.unique().numel() == 1
    if span == {"boundary": "turn"}:
        turns = ((fast.tokens == COMMA) & fast.is_action).sum(1)
        ended = fast.tokens[fast.last_action] == COMMA
        assert (fast.decision.amax(1) + 1 == turns + ~ended).all()


def test_a_conversation_can_be_one_decision_when_decoded() -> None:
    envs = vector.SequenceBandit(conversation())
    rollout = collect(envs, policy_of(envs), 8, seed=0)
    assert (rollout.decision[rollout.is_action] == 0).all()
    with pytest.raises(ValueError, match="cannot be stepped in a conversation"):
        collect(envs, policy_of(envs), 8, seed=0, fast=False)
    # The value of a decision that goes on after an answer is that of its first token, once.
    values = torch.where(rollout.is_action, rollout.tokens.float(), 0.0)
    first = values.gather(1, rollout.prompt_lengths[:, None])
    assert torch.equal(first_of_decision(values, rollout), first)


def test_rows_do_not_matter() -> None:
    few, many = (gym.make_vec("RLHF-v0", num_envs=n, task=talk_task()) for n in (1, 7))
    policy = policy_of(few)
    assert_same(collect(few, policy, 9, seed=5), collect(many, policy, 9, seed=5))


@pytest.mark.parametrize("wrap", ["nothing", "every 3"])
def test_recorded_conversations_are_replayed_exactly(tmp_path: Path, wrap: str) -> None:
    task = talk_task()
    envs = WRAPPERS[wrap](gym.make_vec("RLHF-v0", num_envs=3, task=task))
    envs = vector.RecordEpisodes(envs, tmp_path / "said.jsonl")
    collect(envs, policy_of(envs), 6, seed=2)
    collect(envs, policy_of(envs), 6, seed=3, fast=False)
    recorded = list(read_episodes(tmp_path / "said.jsonl"))
    # Stepping also records what idle rows say until all episodes are over.
    assert len(recorded) >= 12
    assert any(episode.is_action is not None for episode in recorded)
    env = gym.make("RLHF-v0", task=task)
    if wrap == "every 3":
        env = wrappers.EveryK(env, k=3)
    for old, new in zip(recorded, replay(tmp_path / "said.jsonl", env), strict=True):
        assert new.response_ids == old.response_ids
        assert new.is_action == old.is_action
        assert new.finish_reason == old.finish_reason
        assert new.rewards == pytest.approx(list(old.rewards), abs=1e-4)


@pytest.mark.parametrize("agent_class", [PPO, GRPO, RLOO, Reinforce])
def test_agents_learn_and_resume(agent_class: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"episodes_per_update": 16, "learning_rate": 1e-3, "seed": 1}
    runs = []
    for stop in (None, 2):
        envs = gym.make_vec("RLHF-v0", num_envs=8, task=talk_task())
        agent = agent_class(envs, **settings)
        folder = tmp_path / str(stop)
        if stop:
            agent.learn(stop * 16, log_dir=folder, progress=False)
            agent = agent_class(envs, **settings)
        agent.learn(4 * 16, log_dir=folder, progress=False)
        runs.append(torch.cat([p.detach().flatten() for p in agent.policy.parameters()]))
    assert torch.equal(*runs)


def test_learning_approaches_the_optimum_of_a_game() -> None:
    task = risk()
    envs = gym.make_vec("RLHF-v0", num_envs=64, task=task, kl_coef=0.3)
    agent = RLOO(envs, episodes_per_update=128, group_size=64, learning_rate=0.01, seed=0)
    before = evaluate(task, agent, 0.3).objective
    agent.learn(128 * 60, progress=False)
    optimum = solve(task, 0.3).objective
    after = evaluate(task, agent, 0.3).objective
    assert before < 0.5 * optimum
    assert after > 0.95 * optimum
    # The gap, sampled: beta times the KL to the optimal policy on the agent's own episodes.
    rollout = collect(envs, agent.policy, 2000, seed=0)
    gap, error = regret(task, rollout, agent, 0.3)
    assert abs(gap - (optimum - after)) < 4 * error


def test_the_implicit_reward_is_of_the_agents_tokens() -> None:
    """Against the two models' log-probabilities of each action in all that was said."""
    envs = conversation()
    policy = moved_reference(envs)
    wrapped = vector.ImplicitReward(envs, policy, beta=0.5, keep_total=False)
    rollout = collect(wrapped, policy_of(envs), 8, seed=0)
    reference = envs.unwrapped.task.reference
    for row in range(len(rollout)):
        said = rollout.tokens[row : row + 1, : int(rollout.lengths[row])]
        new, old = (
            model(input_ids=said).logits[0, :-1].log_softmax(-1) for model in (policy, reference)
        )
        ratio = (new - old).gather(1, said[0, 1:, None])[:, 0]
        own = rollout.is_action[row, 1 : said.shape[1]]
        paid = rollout.reward_terms["score"][row, 1 : said.shape[1]]
        assert torch.allclose(paid[own], 0.5 * ratio[own], atol=1e-4)


def test_a_turn_that_is_not_answered_is_finished() -> None:
    """What skip_unfinished leaves out is what the limit cut, and nothing else."""
    envs = conversation(horizon=4, max_turns=2)
    agent = GRPO(envs, skip_unfinished=True, group_size=4, episodes_per_update=16)
    rollout = collect(envs, policy_of(envs), 16, seed=0, group_size=4)
    old = agent.policy.evaluate_rollout(rollout)
    targets = agent.learner.algorithm.targets(rollout, old, agent.base.mdp.reference)
    last = rollout.tokens[rollout.last_action]
    assert torch.equal(targets.weight > 0, (last == COMMA) | (last == EOS))
    assert (targets.weight > 0)[last == COMMA].sum() > 2
    assert (targets.weight == 0).any()


def test_what_the_environment_says_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy runs on every token of a conversation once, its prompt included."""
    envs = conversation()
    policy, ran = policy_of(envs), []
    engine = policy.lm.engine
    run = engine._run

    def counted(memory: Any, rows: Any, tokens: Any, positions: Any, is_new: Tensor) -> Tensor:
        ran.append(int(is_new.sum()))
        return run(memory, rows, tokens, positions, is_new)

    monkeypatch.setattr(engine, "_run", counted)
    rollout = collect(envs, policy, 4, seed=0)
    # All but the last action are read, and equal prompts in one go.
    assert sum(ran) <= int((rollout.lengths - 1).sum())
    assert sum(ran) > int((rollout.lengths - rollout.prompt_lengths - 1).sum())


def test_discount_counts_decisions_and_not_what_the_environment_says() -> None:
    """Returns with gamma = 1/2 are those of the actions' rewards alone, one after the other."""
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=talk_task())
    rollout = collect(envs, policy_of(envs), 6, seed=0)
    rewards = sum_per_decision(rollout.rewards, rollout)
    mask = is_decision(rollout)
    assert torch.equal(mask.sum(1), rollout.response_lengths)
    returns = discounted_returns(rewards, mask, 0.5)
    for row in range(len(rollout)):
        own: Tensor = rollout.rewards[row][rollout.is_action[row]]
        expected = sum(0.5**t * float(r) for t, r in enumerate(own))
        assert float(returns[row, 0]) == pytest.approx(expected, abs=1e-5)
