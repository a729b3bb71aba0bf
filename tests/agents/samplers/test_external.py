"""Samplers of one's own: what they are asked, how their answers are checked, who refuses them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents import DPO, PPO, RLOO, SFT, SPPO, Agent, BestOfN
from agents.rollouts.collect import collect
from agents.samplers.external import ask
from agents.samplers.protocol import SamplerError, SamplingRequest
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.samplers.uniform import EOS, Uniform
from tests.toys import tiny_gpt2_task
from wrappers.vector import RecordEpisodes


class Refreshed(Uniform):
    """Says how old its weights are: every other update takes over new ones."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []

    def refresh(self, agent: Agent, update: int) -> int | None:
        self.told.append(update)
        return None if update % 2 == 0 else update - 1


def test_what_a_sampler_is_asked_for(toy15: Task) -> None:
    sampler = Uniform()
    settings: dict[str, Any] = {"temperature": 0.8, "importance": "sequence", "group_size": 4}
    agent = RLOO(make_envs(toy15), sampler=sampler, episodes_per_update=16, **settings)
    rollout = agent.collect()
    (request,) = sampler.asked
    assert (request.max_new_tokens, request.temperature) == (3, 0.8)
    assert (request.eos_id, request.vocab_size) == (EOS, 3)
    assert [prompt.tolist() for prompt in request.prompts] == [[0]] * 16
    assert len(set(request.seeds)) == 16
    assert all(0 <= seed < 2**31 for seed in request.seeds)
    assert rollout.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    expected = torch.where(rollout.is_action, -math.log(3), 0.0)
    assert torch.allclose(rollout.logprobs, expected)
    # Ratios of whole responses: the policy's probability times 3 for each token.
    own = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action).logprobs
    ratios = (own - rollout.logprobs).sum(dim=1).exp()
    metrics = agent.update(rollout)
    assert metrics["importance_max"] == pytest.approx(float(ratios.max()), rel=1e-5)
    agent.collect()
    assert sampler.asked[1].seeds != request.seeds


def test_the_age_of_its_weights_is_recorded(toy15: Task, tmp_path: Path) -> None:
    sampler = Refreshed()
    settings: dict[str, Any] = {"importance": "token", "episodes_per_update": 16}
    agent = PPO(make_envs(toy15), sampler=sampler, **settings)
    rows = agent.learn(16 * 4, progress=False, log_dir=tmp_path)
    assert sampler.told == [0, 1, 2, 3]
    assert [row["sampler_age"] for row in rows] == [0.0, 1.0, 0.0, 1.0]
    resumed = PPO(make_envs(toy15), sampler=(again := Refreshed()), **settings)
    resumed.learn(16 * 6, progress=False, log_dir=tmp_path)
    assert again.told == [4, 5]
    plain = PPO(make_envs(toy15), sampler=Uniform(), **settings)
    rows = plain.learn(16 * 3, progress=False)
    assert [row["sampler_age"] for row in rows] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("served", [-1, 1, True, "now", 0.0])
def test_an_age_that_cannot_be(toy15: Task, served: Any) -> None:
    sampler = Refreshed()
    sampler.refresh = lambda agent, update: served  # type: ignore[method-assign]
    agent = PPO(make_envs(toy15), sampler=sampler, importance="token")
    with pytest.raises(SamplerError, match="must return the number of updates that made"):
        agent.collect()


def test_preference_agents_compare_its_responses(toy15: Task) -> None:
    agent = DPO(make_envs(toy15), sampler=Uniform(), episodes_per_update=8)
    rollout = agent.collect()
    assert rollout.preference is not None
    assert "sampler_kl" not in agent.update(rollout)


REQUEST = SamplingRequest(
    prompts=[torch.tensor([2, 2]), torch.tensor([2])],
    seeds=[1, 2],
    max_new_tokens=3,
    temperature=1.0,
    eos_id=EOS,
    vocab_size=4,
)


class Says:
    """Answers with what it was given."""

    def __init__(self, *answer: Any) -> None:
        self.answer = answer

    def sample(self, request: SamplingRequest) -> Any:
        return self.answer


def test_answers_become_rows() -> None:
    says = Says((np.array([3, 0]), torch.tensor([-0.5, -1.0])), ([1, 1, 2], (-1, -2, 0)))
    found = ask(says, REQUEST, 6, pad_id=9)
    assert found.tokens.tolist() == [[2, 2, 3, 0, 9, 9], [2, 1, 1, 2, 9, 9]]
    assert (found.starts.tolist(), found.lengths.tolist()) == ([2, 1], [4, 4])
    assert found.logprobs.tolist() == [[0, 0, -0.5, -1, 0, 0], [0, -1, -2, 0, 0, 0]]


GOOD = ([0], [-1.0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "must return 2 responses, one a prompt, got 0"),
        ([GOOD], "must return 2 responses, one a prompt, got 1"),
        ([GOOD, None], "response 1 of the sampler must be a pair"),
        ([GOOD, ([], [])], "at least one token id"),
        ([GOOD, ([0], [])], r"a log-probability for each, got shapes \[1\] and \[0\]"),
        ([GOOD, ([[0]], [[-1.0]])], r"got shapes \[1, 1\]"),
        ([GOOD, ([0.0], [-1.0])], r"must have integer token ids, got torch\.float32"),
        ([GOOD, ([4, 0], [-1.0, -1.0])], "must hold ids below 4, got 4"),
        ([GOOD, ([-1, 0], [-1.0, -1.0])], "must hold ids below 4, got -1"),
        ([GOOD, ([1, 0, 1], [-1.0] * 3)], "must end at its first EOS, 0, got 1 tokens after it"),
        ([GOOD, ([1, 1], [-1.0] * 2)], "must end with EOS, 0, or have 3 tokens, got 2"),
        ([GOOD, ([1, 1, 1, 0], [-1.0] * 4)], "at most 3 tokens, got 4"),
        ([GOOD, ([0], [0.1])], "finite and <= 0, got 0.1"),
        ([GOOD, ([0], [math.nan])], "finite and <= 0, got nan"),
        ([GOOD, ([0], [-math.inf])], "finite and <= 0, got -inf"),
    ],
)
def test_what_is_no_response(answer: list[Any], message: str) -> None:
    with pytest.raises(SamplerError, match=message):
        ask(Says(*answer), REQUEST, 6, pad_id=9)


def test_who_has_no_use_for_a_sampler(toy15: Task) -> None:
    envs, sampler = make_envs(toy15), Uniform()
    with pytest.raises(ValueError, match="SFT does not sample its episodes"):
        SFT(make_envs(tiny_gpt2_task()), demonstrations=[("w2", "w3")], sampler=sampler)
    with pytest.raises(ValueError, match="SPPO does not sample its episodes with the policy alone"):
        SPPO(envs, sampler=sampler)
    with pytest.raises(ValueError, match="BestOfN has no setting 'sampler'"):
        BestOfN(envs, sampler=sampler)
    for bad in (Uniform, "http://localhost:8000", object()):
        with pytest.raises(ValueError, match=r"sampler must be an object with sample\(request\)"):
            PPO(envs, sampler=bad, importance="token")  # type: ignore[arg-type]
    for name, value in {"staleness": 1, "behavior_noise": 0.1, "top_k": 2, "top_p": 0.5}.items():
        with pytest.raises(ValueError, match=f"draws the episodes itself, got {name} too"):
            PPO(envs, sampler=sampler, importance="token", **{name: value})
    with pytest.warns(UserWarning, match="are taken for the policy's own"):
        PPO(envs, sampler=sampler)


def test_episodes_that_must_be_stepped(toy15: Task, tmp_path: Path) -> None:
    policy = PPO(make_envs(toy15)).policy
    with pytest.raises(ValueError, match="a sampler writes whole responses"):
        collect(make_envs(toy15), policy, 4, sampler=Uniform(), greedy=True)
    with pytest.raises(ValueError, match="a sampler writes whole responses"):
        collect(make_envs(toy15), policy, 4, sampler=Uniform(), fast=False)
    recorded = RecordEpisodes(make_envs(toy15), tmp_path / "episodes")
    assert len(collect(recorded, policy, 4, sampler=Uniform())) == 4
