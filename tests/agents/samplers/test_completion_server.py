"""Episodes of a real server in another process: the right ones are learned from, others refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import torch
from torch import nn

from agents import GRPO, PPO, RLOO, Agent
from agents.exact_gradients import exact_gradients
from agents.exact_gradients.derivatives import trained_weights
from agents.exact_gradients.responses import every_response
from agents.rollouts.collect import collect
from agents.samplers.completion_server import CompletionServer
from agents.samplers.protocol import SamplerError
from rlhf_env.exact import evaluate, solve
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.agents.episodes import make_envs
from tests.agents.samplers.serving import begin, serve_weights, served
from tests.toys import tiny_gpt2_task
from wrappers.vector import EveryK, MacroAction, SequenceBandit

ENGINES = ("vllm", "sglang")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture
def fresh_url(url: str) -> str:
    """The server with the reference of "toy15"."""
    begin(url, "toy15")
    return url


def moved(task: Task, size: float = 1.0) -> nn.Module:
    """The reference with other logits."""
    policy = copy.deepcopy(task.reference).requires_grad_(True)
    (table,) = policy.parameters()
    with torch.no_grad():
        table.add_(size * torch.sin(torch.arange(21.0)).view(3, 7))
    return policy


def agent_of(url: str, task: Task, kind: type[Agent] = RLOO, **settings: Any) -> Agent:
    server = CompletionServer(url, engine=settings.pop("engine", "vllm"), retries=0)
    return kind(
        make_envs(task, 16, kl_coef=0.5), sampler=server, **{"importance": "token", **settings}
    )


def assert_consistent(agent: Agent, rollout: Rollout) -> None:
    """The sampler's log-probabilities are the policy's, and the rewards those of its tokens."""
    own = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    assert torch.allclose(rollout.logprobs, own.logprobs, atol=1e-4)
    paid = agent.base.task.reward(rollout.prompts(), rollout.responses())
    assert torch.allclose(rollout.score, torch.as_tensor(paid).float(), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_policy_behind_a_server_is_the_policy(fresh_url: str, toy15: Task, engine: str) -> None:
    agent = agent_of(fresh_url, toy15, engine=engine, episodes_per_update=512)
    rollout = agent.collect()
    assert_consistent(agent, rollout)
    assert torch.equal(rollout.tokens, agent.collect().tokens)
    every = every_response(agent)
    names = ["".join(map(str, ids.tolist())) for ids in rollout.responses()]
    for ids, chance in zip(every.rollout.responses(), every.probability.tolist(), strict=True):
        share = names.count("".join(map(str, ids.tolist()))) / 512
        assert abs(share - chance) <= 4.5 * (chance * (1 - chance) / 512) ** 0.5
    metrics = agent.update(rollout)
    assert metrics["importance_max"] == pytest.approx(1.0, abs=1e-3)
    assert abs(metrics["sampler_kl"]) < 1e-4
    assert metrics["sampler_age"] == 0.0


@pytest.mark.parametrize("kind", [PPO, GRPO])
@pytest.mark.parametrize(
    "wrap", [lambda e: e, lambda e: MacroAction(e, 2), SequenceBandit, lambda e: EveryK(e, 2)]
)
def test_every_granularity_is_learned_from(
    fresh_url: str, toy15: Task, kind: type[Agent], wrap: Any
) -> None:
    envs = wrap(make_envs(toy15, 16, kl_coef=0.5))
    server = CompletionServer(fresh_url)
    agent = kind(envs, sampler=server, importance="sequence", episodes_per_update=16)
    rollout = agent.collect()
    assert_consistent(agent, rollout)
    seed, size = (0, 0, 0), agent.config.group_size
    plain = collect(envs, agent.policy, 16, seed=seed, group_size=size)
    for name in ("group", "prompt_index"):
        assert torch.equal(getattr(rollout, name), getattr(plain, name))
    assert rollout.decision.max() == plain.decision.max()
    assert agent.update(rollout)["importance_max"] == pytest.approx(1.0, abs=1e-3)


def test_a_run_with_new_weights_after_every_update(
    fresh_url: str, toy15: Task, tmp_path: Path
) -> None:
    """The exact objective rises as with the built-in sampler, and ratios stay 1."""
    told: list[int] = []

    def refresh(agent: Agent, update: int) -> None:
        told.append(update)
        serve_weights(fresh_url, agent.policy.model, tmp_path)

    settings: dict[str, Any] = {"learning_rate": 0.3, "episodes_per_update": 64}
    server = CompletionServer(fresh_url, refresh=refresh)
    envs = make_envs(toy15, 16, kl_coef=0.5)
    agent = RLOO(envs, sampler=server, importance="sequence", **settings)
    rows = agent.learn(64 * 12, progress=False, log_dir=tmp_path / "run")
    assert told == list(range(12))
    assert max(row["importance_max"] for row in rows) < 1.001
    assert {row["sampler_age"] for row in rows} == {0.0}
    plain = RLOO(make_envs(toy15, 16, kl_coef=0.5), **settings)
    plain.learn(64 * 12, progress=False)
    best = solve(toy15, 0.5).objective
    shares = [evaluate(toy15, each.policy.model, 0.5).objective / best for each in (agent, plain)]
    assert min(shares) > 0.9, shares
    again = RLOO(envs, sampler=server, importance="sequence", **settings)
    again.learn(64 * 14, progress=False, log_dir=tmp_path / "run")
    assert told == [*range(12), 12, 13]


def test_a_stale_server_is_corrected(fresh_url: str, toy15: Task) -> None:
    """The reference samples for another policy: only weighed episodes follow the gradient."""
    policy = moved(toy15)
    found = {}
    for importance in ("sequence", "none"):
        settings: dict[str, Any] = {"group_size": 2, "aggregation": "sum"}
        settings |= {"importance": importance, "episodes_per_update": 1024}
        warned = pytest.warns(UserWarning, match="taken for the policy's own")
        with warned if importance == "none" else nullcontext():
            agent = agent_of(fresh_url, toy15, policy=policy, **settings)
        rollout = agent.collect()
        assert torch.allclose(rollout.logprobs, rollout.ref_logprobs, atol=1e-4)
        old = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
        new = agent.policy.evaluate_tokens(rollout.tokens, rollout.is_action)
        learned, rule = agent.learned(rollout, old), agent.learner.algorithm
        targets = rule.targets(learned, old, agent.base.mdp.reference)
        losses, _ = rule.loss(learned, new, old, targets)
        slopes = torch.autograd.grad(-losses.mean(), trained_weights(agent))
        sampled = torch.cat([slope.flatten() for slope in slopes]).double()
        exact = exact_gradients(agent, behavior=toy15.reference)
        error = (exact.variance / 512).sqrt().clamp(min=1e-6)
        assert float(((sampled - exact.expected) / error).abs().max()) <= 4.5
        found[importance] = float(((sampled - exact.truth) / error).abs().max())
        metrics = agent.update(rollout)
        assert metrics.get("sampler_kl", 0.0) > 0.05 or importance == "none"
    assert found["sequence"] <= 4.5 < found["none"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_temperature_is_the_sampler_s_too(fresh_url: str, toy15: Task, engine: str) -> None:
    settings: dict[str, Any] = {"temperature": 0.6, "importance": "token"}
    if engine == "vllm":
        agent = agent_of(fresh_url, toy15, **settings)
        with pytest.raises(ValueError, match="--logprobs-mode processed_logprobs"):
            agent.collect()
    server = CompletionServer(fresh_url, engine=engine, processed_logprobs=engine == "vllm")
    agent = RLOO(make_envs(toy15, 16), sampler=server, **settings)
    assert_consistent(agent, agent.collect())


FAULTS = {
    "no-logprobs": "without log-probabilities, which the importance ratios need",
    "text": "text instead of token ids, such as ' soup'",
    "no-stop-token": r"stopped response \d+ after token .*, expected EOS, 0, as its last token",
    "short": r"cut response \d+ after 1 of 3 tokens; raise its longest context",
    "cut-prompt": r"read 0 tokens of prompt \d+, got 1: it cuts prompts",
    "outside": r"must hold ids below 3, got 1000000; the sampler has another vocabulary",
    "not-numbers": "must be a pair of token ids and log-probabilities",
    "positive": "log-probabilities that are finite and <= 0, got 0.5",
    "aborted": r"ended response \d+ with 'abort'",
    "broken": r"after 1 tries the server at .* answered 503: .*no <b>capacity</b>",
    "forbidden": "refused a request with 401: .*look at model, engine and api_key",
    "html": "must answer with JSON, got '<html>'; correct url",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_learned_from_is_refused(fresh_url: str, toy15: Task, fault: str) -> None:
    agent = agent_of(f"{fresh_url}/faults/{fault}", toy15)
    before = copy.deepcopy(agent.policy.state_dict())
    with pytest.raises(SamplerError, match=FAULTS[fault]) as caught:
        agent.collect()
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[n]) for n, v in agent.policy.state_dict().items())


def test_of_sglang_too(fresh_url: str, toy15: Task) -> None:
    agent = agent_of(f"{fresh_url}/faults/no-logprobs", toy15, engine="sglang")
    with pytest.raises(SamplerError, match="without output_token_logprobs"):
        agent.collect()
    agent = agent_of(f"{fresh_url}/faults/forbidden", toy15, engine="sglang")
    with pytest.raises(SamplerError, match="401"):
        agent.collect()


def test_older_servers_name_their_ids(fresh_url: str, toy15: Task) -> None:
    agent = agent_of(f"{fresh_url}/faults/older", toy15)
    assert_consistent(agent, agent.collect())


def test_a_busy_server_is_asked_again(fresh_url: str, toy15: Task) -> None:
    server = CompletionServer(f"{fresh_url}/faults/busy", retries=3, concurrency=1)
    agent = RLOO(make_envs(toy15, 16), sampler=server, importance="token")
    assert_consistent(agent, agent.collect())


def test_a_slow_server_or_none(fresh_url: str, toy15: Task) -> None:
    envs = make_envs(toy15, 16)
    slow = CompletionServer(f"{fresh_url}/faults/slow", timeout=0.3, retries=1)
    with pytest.raises(SamplerError, match=r"after 2 tries .* no answer in 0.3 s; raise timeout"):
        RLOO(envs, sampler=slow, importance="token", episodes_per_update=4).collect()
    # A port that no test's server is given.
    nobody = CompletionServer("http://127.0.0.1:1", retries=1)
    with pytest.raises(SamplerError, match=r"cannot be reached: .*; start it, or correct url"):
        RLOO(envs, sampler=nobody, importance="token").collect()


def test_several_requests_run_at_once(fresh_url: str, toy15: Task) -> None:
    policy = RLOO(make_envs(toy15)).policy
    for limit in (1, 4):
        begin(fresh_url, "toy15")
        server = CompletionServer(f"{fresh_url}/faults/pause", concurrency=limit)
        collect(make_envs(toy15, 16), policy, 8, sampler=server, seed=0)
        told = httpx.get(fresh_url, timeout=60).json()
        assert told["asked"] == {"pause": 8}
        assert 1 <= told["most_running"] <= limit
    assert told["most_running"] > 1


def test_an_exported_model_is_served(url: str, tmp_path: Path) -> None:
    """A Hugging Face model, whose folder the server loads after each update."""
    begin(url, "gpt2")

    def refresh(agent: Agent, update: int) -> None:
        folder = tmp_path / f"update-{update}"
        agent.export(folder)
        httpx.post(f"{url}/load", json={"path": str(folder)}, timeout=60).raise_for_status()

    server = CompletionServer(url, engine="sglang", refresh=refresh)
    settings: dict[str, Any] = {"importance": "token", "importance_cap": 2.0}
    settings |= {"episodes_per_update": 8, "learning_rate": 0.02}
    agent = PPO(make_envs(tiny_gpt2_task(), 8), sampler=server, **settings)
    for _ in range(3):
        rollout = agent.collect()
        assert_consistent(agent, rollout)
        agent.update(rollout)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, "url must be a server's address"),
        ({"engine": "tgi"}, r"engine must be one of \['vllm', 'sglang'\]"),
        ({"concurrency": 0}, "concurrency must be an integer"),
        ({"timeout": 0.0}, "timeout must be"),
        ({"retries": -1}, "retries must be"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], message: str) -> None:
    url = settings.pop("url", "http://localhost:8000/v1")
    with pytest.raises(ValueError, match=re.compile(message)):
        CompletionServer(url, **settings)


def test_the_address_may_end_with_the_version() -> None:
    assert CompletionServer("http://localhost:8000/v1/").url == "http://localhost:8000"
