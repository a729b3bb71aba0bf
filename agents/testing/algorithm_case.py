"""A learning rule that is checked, beside episodes as its learner hands them over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor
from torch.nn.functional import pad

from agents.agent import Agent
from agents.algorithm import check_algorithm, checked_loss
from agents.policy import PolicyOutput, detached
from rlhf_env.rollout import Rollout

EPISODES = 16


@dataclass(frozen=True)
class AlgorithmCase:
    """A learning rule, and episodes as its learner hands them over."""

    agent: Agent
    rollout: Rollout
    old: PolicyOutput

    @property
    def rule(self) -> Any:
        """What is checked."""
        return self.agent.learner.algorithm

    def targets(self, rollout: Rollout | None = None) -> Any:
        """Return the targets of the episodes."""
        given = self.rollout if rollout is None else rollout
        return self.rule.targets(given, self.old, self.agent.base.mdp.reference)

    def losses(
        self, rollout: Rollout, old: PolicyOutput, targets: Any, shift: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Return the losses [b] and the slope of their sum in the log-probabilities [b, L].

        Args:
            rollout: b episodes.
            old: outputs of the policy that acted, which is the one being trained too.
            targets: of these episodes.
            shift: added to the log-probabilities of the policy being trained.
        """
        new = leaves(old, shift * rollout.is_action)
        losses, _ = checked_loss(self.rule.loss(rollout, new, old, targets), len(rollout))
        (slope,) = torch.autograd.grad(losses.sum(), new.logprobs, allow_unused=True)
        return losses.detach(), torch.zeros_like(new.logprobs) if slope is None else slope


def algorithm_case(algorithm: Any) -> AlgorithmCase:
    """Return a learning rule with episodes: itself, its agent, or a function that makes either.

    A function may take the environment.
    """
    envs = gym.make_vec("RLHF-v0", num_envs=8, task="toy15")
    made = _made(algorithm, envs)
    if not isinstance(made, Agent):
        check_algorithm(made)
        made = Agent(envs, algorithm=made, episodes_per_update=EPISODES)
    made.policy.eval()
    rollout = made.collect()
    old = detached(made.policy.evaluate_episodes(rollout.tokens, rollout.is_action))
    return AlgorithmCase(made, made.learned(rollout, old), old)


def _made(algorithm: Any, envs: Any) -> Any:
    if isinstance(algorithm, type) and issubclass(algorithm, Agent):
        # All groups of eight responses are too many to be enumerated in a moment.
        is_large = getattr(algorithm.config_class, "group_size", 1) > 4
        settings: dict[str, Any] = {"group_size": 4} if is_large else {}
        return algorithm(envs, **settings)
    if isinstance(algorithm, Agent) or hasattr(algorithm, "targets"):
        # A class with the two methods is made here, without arguments.
        return algorithm() if isinstance(algorithm, type) else algorithm
    return algorithm(envs) if _takes_one(algorithm) else algorithm()


def leaves(outputs: PolicyOutput, shift: Tensor) -> PolicyOutput:
    """Return outputs of a policy, moved in its log-probabilities, as leaves of a graph."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().clone().requires_grad_(True)
        return value and {name: leaf(part) for name, part in value.items()}

    moved = dataclasses.replace(outputs, logprobs=outputs.logprobs + shift)
    fields = dataclasses.fields(PolicyOutput)
    return PolicyOutput(**{each.name: leaf(getattr(moved, each.name)) for each in fields})


def widened(record: Any, columns: int = 3) -> Any:
    """Return a rollout or outputs with more padding on the right."""

    def wide(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: wide(name, part) for key, part in value.items()}
        if not isinstance(value, Tensor) or value.ndim != 2 or name == "preference":
            return value
        return pad(value, (0, columns), value=-1 if name == "decision" else 0)

    fields = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
    fields = {k: dict(v) if hasattr(v, "items") else v for k, v in fields.items()}
    return dataclasses.replace(record, **{name: wide(name, v) for name, v in fields.items()})


def tensors(record: Any) -> list[tuple[str, Tensor]]:
    """Return the tensors of a record, those in mappings too, with their names."""
    found = []
    for each in dataclasses.fields(record):
        value = getattr(record, each.name)
        parts = value.items() if hasattr(value, "items") else [(each.name, value)]
        found += [(name, part) for name, part in parts if isinstance(part, Tensor)]
    return found


def _takes_one(make: Callable[..., Any]) -> bool:
    code = getattr(make, "__code__", None)
    return code is not None and code.co_argcount == 1
