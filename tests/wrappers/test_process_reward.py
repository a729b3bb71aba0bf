"""The score at the ends of turns: what each step is paid, stepped and decoded, and what is best."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from torch import Tensor

import wrappers
import wrappers.vector as vector
from agents import PPO, collect
from rlhf_env.conversation import StepScores
from rlhf_env.env import RLHFEnv
from rlhf_env.task import Task
from rlhf_env.testing.as_one import AsOne
from tests.agents.rollouts.test_dialogues import assert_same, policy_of
from tests.dialogues import COMMA, talk_task
from tests.toys import EOS, tiny_llama_task
from tests.wrappers.episodes import paid, soft_macro_optimum, soft_optimum

DENSITIES: dict[str, Callable[[Any, Any], Any]] = {
    "process": lambda w, env: w.ProcessReward(env),
    "process_raw": lambda w, env: w.RawProcessReward(env),
    "process_potential": lambda w, env: w.ProcessPotential(env, gamma=1.0),
    "process_potential, discounted": lambda w, env: w.ProcessPotential(env, gamma=0.9),
    "of a score in other units": lambda w, env: w.ProcessReward(w.NormalizeScore(env, 0.5, 2.0)),
}


def count_of(token: int, weight: float = 1.0) -> StepScores:
    """A step score: how often a token was said so far, by whomever."""

    def step_scores(prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
        return torch.tensor([weight * float((ids == token).sum()) for ids in histories])

    return step_scores


@pytest.fixture
def lines(toy15: Task) -> Task:
    """The toy task, in which 2 ends a line, and a line is as good as the 1s until then."""
    return dataclasses.replace(toy15, end_of_turn_id=2, step_scores=count_of(1))


def of_all_ids(prompts: list[Tensor], histories: list[Tensor]) -> Tensor:
    """A step score that depends on all that was said."""
    return torch.tensor([0.01 * float(ids.sum()) for ids in histories])


def talk(step_scores: StepScores = of_all_ids, **fields: Any) -> Task:
    return talk_task(step_scores=step_scores, **fields)


def test_the_rise_is_paid_at_the_ends_of_lines(lines: Task) -> None:
    env = wrappers.ProcessReward(RLHFEnv(lines))
    # Step scores 1 after "1 2"; the whole responses are worth 0.75 and 0.
    assert paid(env, (1, 2, 0)) == pytest.approx([0.0, 1.0, -0.25])
    assert paid(env, (2, 2, 2)) == pytest.approx([0.0, 0.0, -1.5])
    assert paid(env, (1, 1, 0)) == pytest.approx([0.0, 0.0, 2.25])
    assert paid(env, (0,)) == pytest.approx([0.25])


def test_raw_scores_are_paid_again_at_every_line(lines: Task) -> None:
    env = wrappers.RawProcessReward(RLHFEnv(lines))
    assert paid(env, (1, 2, 0)) == pytest.approx([0.0, 1.0, 0.75])
    assert paid(env, (1, 2, 2)) == pytest.approx([0.0, 1.0, 0.0])


def test_the_potential_is_that_of_the_latest_line(lines: Task) -> None:
    env = wrappers.ProcessPotential(RLHFEnv(lines), gamma=0.5)
    # Phi = 0, 0, 1, then terminal.
    assert paid(env, (1, 2, 0), "shaping") == pytest.approx([0.0, 0.5, -1.0])
    assert paid(env, (1, 2, 0)) == pytest.approx([0.0, 0.0, 0.75])
    # Phi = 0, 0, 1, 1: inside a line a discount per token costs what the potential loses.
    cut = RLHFEnv(lines, length_limit="bootstrap")
    env = wrappers.ProcessPotential(cut, gamma=0.5)
    assert paid(env, (1, 2, 1), "shaping") == pytest.approx([0.0, 0.5, -0.5])
    assert env.shaping_gamma == 0.5


def test_an_episode_that_is_cut_has_no_last_part(lines: Task) -> None:
    env = wrappers.ProcessReward(RLHFEnv(lines, length_limit="bootstrap"))
    assert paid(env, (1, 2, 1)) == pytest.approx([0.0, 1.0, 0.0])
    assert paid(env, (2, 1, 2)) == pytest.approx([0.0, 0.0, 1.0])


def test_only_the_agent_ends_turns(lines: Task) -> None:
    """The environment says the token that ends a turn, and is not scored for it."""

    def comma(prompts: Any, histories: Any, generators: Any) -> list[Tensor]:
        return [torch.tensor([5, COMMA, 5])] * len(prompts)

    env = wrappers.ProcessReward(gym.make("RLHF-v0", task=talk(count_of(5, 0.3), respond=comma)))
    # 5 COMMA (5 COMMA 5) COMMA (5 COMMA 5) EOS: one 5 at the first end, three at the second.
    assert paid(env, (5, COMMA, COMMA, EOS))[:3] == pytest.approx([0.0, 0.3, 0.6])
    parts = paid(env, (5, COMMA, COMMA, EOS))
    assert sum(parts) == pytest.approx(sum(paid(env.env, (5, COMMA, COMMA, EOS))))


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("limit", ["score", "penalize", "bootstrap"])
@pytest.mark.parametrize(
    "task",
    [
        talk(),
        dataclasses.replace(
            tiny_llama_task(horizon=8), end_of_turn_id=COMMA, step_scores=of_all_ids
        ),
    ],
    ids=["conversation", "lines"],
)
def test_decoded_is_stepped(name: str, limit: str, task: Task) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=task, length_limit=limit)
    envs = DENSITIES[name](vector, envs)
    policy = policy_of(envs)
    fast = collect(envs, policy, 12, seed=3)
    assert_same(fast, collect(envs, policy, 12, seed=3, fast=False))
    # A reward somewhere before the end.
    term = "shaping" if "potential" in name else "score"
    assert (fast.reward_terms[term][~fast.last_action] != 0).any()


@pytest.mark.parametrize("name", ["process", "process_potential"])
def test_the_parts_add_up_to_the_score(name: str) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=4, task=talk())
    rollout = collect(DENSITIES[name](vector, envs), policy_of(envs), 24, seed=0)
    total = (rollout.rewards - rollout.reward_terms["kl"]).sum(1)
    assert torch.allclose(total, rollout.score, atol=1e-5)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_rows_are_environments(name: str, mode: str) -> None:
    envs = gym.make_vec("RLHF-v0", num_envs=3, task=talk(), autoreset_mode=mode)
    envs = DENSITIES[name](vector, envs)
    alone = [DENSITIES[name](wrappers, gym.make("RLHF-v0", task=talk())) for _ in range(3)]
    envs.reset(seed=5)
    for row, env in enumerate(alone):
        env.reset(seed=5 + row)
    is_open = torch.ones(3, dtype=torch.bool)
    draw = torch.Generator().manual_seed(0)
    for _ in range(10):
        actions = torch.randint(4, 9, (3,), generator=draw).numpy()
        _, rewards, terminated, _, _ = envs.step(actions)
        for row in is_open.nonzero().flatten().tolist():
            reward = alone[row].step(int(actions[row]))[1]
            assert float(rewards[row]) == pytest.approx(reward, abs=1e-5)
        # Each row's first episode.
        is_open &= ~torch.as_tensor(terminated)
        if mode == "Disabled" and terminated.any():
            envs.reset(options={"reset_mask": terminated})


def test_lines_leave_the_optimum_where_it_is(lines: Task) -> None:
    plain = soft_optimum(RLHFEnv(lines), lines, gamma=0.9)
    shaped = soft_optimum(wrappers.ProcessPotential(RLHFEnv(lines), gamma=0.9), lines, gamma=0.9)
    parts = soft_optimum(wrappers.ProcessReward(RLHFEnv(lines)), lines, gamma=1.0)
    whole = soft_optimum(RLHFEnv(lines), lines, gamma=1.0)
    raw = soft_optimum(wrappers.RawProcessReward(RLHFEnv(lines)), lines, gamma=1.0)
    for prefix in plain:
        assert shaped[prefix] == pytest.approx(plain[prefix], abs=1e-6)
        assert parts[prefix] == pytest.approx(whole[prefix], abs=1e-6)
    assert raw[(1,)] != pytest.approx(whole[(1,)], abs=0.01)


def test_around_turns_as_actions_too(lines: Task) -> None:
    """One decision a line: its shaping leaves the optimum of lines where it is."""
    env = wrappers.MacroAction(RLHFEnv(lines), boundary="turn")
    plain = soft_macro_optimum(env, lines, gamma=0.9)
    shaped = soft_macro_optimum(wrappers.ProcessPotential(env, gamma=0.9), lines, gamma=0.9)
    for prefix in plain:
        assert shaped[prefix] == pytest.approx(plain[prefix], abs=1e-6)


@pytest.mark.parametrize("kind", ["ProcessReward", "RawProcessReward", "ProcessPotential"])
@pytest.mark.parametrize("package", [wrappers, vector])
def test_a_task_without_step_scores_is_refused(kind: str, package: Any) -> None:
    make = gym.make_vec if package is vector else gym.make
    given = {"gamma": 1.0} if kind == "ProcessPotential" else {}
    with pytest.raises(ValueError, match=f"{kind} needs a task that scores ended turns, got 'toy"):
        getattr(package, kind)(make("RLHF-v0", task="toy15"), **given)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step_scores": 3}, r"step_scores must be a function \(prompts, histories\)"),
        ({"step_scores": count_of(1)}, "step_scores is of tasks with turns"),
    ],
)
def test_tasks_that_cannot_score_turns(toy15: Task, fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(toy15, **fields)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(2), r"must return 1 finite numbers, one per history, got \[0.0, 0.0\] of"),
        (torch.tensor([float("nan")]), r"must return 1 finite numbers, one per history, got \[nan"),
    ],
)
def test_scores_that_cannot_be_used(toy15: Task, answer: Tensor, message: str) -> None:
    task = dataclasses.replace(toy15, end_of_turn_id=2, step_scores=lambda *given: answer)
    env = wrappers.ProcessReward(RLHFEnv(task))
    env.reset(seed=0)
    env.step(1)
    with pytest.raises(ValueError, match=message):
        env.step(2)


@pytest.mark.parametrize("name", DENSITIES)
def test_the_checkers_pass(name: str, lines: Task) -> None:
    for task in (lines, talk()):
        check_env(AsOne(DENSITIES[name](wrappers, gym.make("RLHF-v0", task=task))))
        check_sb3_env(DENSITIES[name](wrappers, gym.make("RLHF-v0", task=task)), warn=True)


@pytest.mark.parametrize("name", ["process", "process_raw", "process_potential, discounted"])
@pytest.mark.parametrize("granularity", ["token", "turn"])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(
    name: str, granularity: str, tmp_path: Path
) -> None:
    runs = []
    for stop in (None, 1):
        agents = []
        for _ in range(2):
            envs = gym.make_vec("RLHF-v0", num_envs=4, task=talk())
            if name.startswith("process_potential"):
                envs = vector.MacroAction(envs, boundary="turn") if granularity == "turn" else envs
                envs = DENSITIES[name](vector, envs)
            else:
                envs = DENSITIES[name](vector, envs)
                envs = vector.MacroAction(envs, boundary="turn") if granularity == "turn" else envs
            agents.append(PPO(envs, gamma=0.9, episodes_per_update=8, learning_rate=1e-3, seed=1))
        folder = tmp_path / str(stop)
        if stop:
            agents[0].learn(8 * stop, log_dir=folder, progress=False)
        agents[1].learn(8 * 3, log_dir=folder, progress=False)
        weights = [each.detach().flatten() for each in agents[1].policy.parameters()]
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [{k: v for k, v in json.loads(each).items() if "second" not in k} for each in lines]
        runs.append((torch.cat(weights), kept))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert len(runs[0][1]) == 3
