"""R agents that learn side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agents.agent import Agent
from agents.algorithm import reads_old, take_rows
from agents.evaluation.metrics import metrics_by_run
from agents.policy import PolicyOutput, detached
from agents.rollouts.kl_reward import learned_kl
from agents.rollouts.sampling_plan import Stream
from agents.stacked.learner import StackedLearner, longest_first
from agents.stacked.payment import Cashier
from agents.stacked.policy import StackedPolicy
from agents.stacked.rollouts import collect_stacked, episodes_of
from agents.stacked.stackable import stack_key, why_not_stackable
from agents.stacked.targets import StackedTargets, stacked_targets
from rlhf_env.rollout import Rollout


class Stack:
    """Agents of one learning rule, shape and schedule, trained as one.

    Gamma, lambda, beta, step size, entropy bonus and seed may differ, and so may the
    environments: their wrappers (reward density, granularity) and their beta. What happens to one
    agent depends on nothing of the others, and is what would happen to it alone.
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        """Put the agents' weights side by side.

        Args:
            agents: at least one. Those that share an environment are paid together.

        Raises:
            ValueError: if one cannot be stacked, or they differ in what a stack has one of.
        """
        for agent in agents:
            if (reason := why_not_stackable(agent)) is not None:
                raise ValueError(f"agents must be stackable, got one of which {reason}")
        keys = [stack_key(agent) for agent in agents]
        if len(set(map(repr, keys))) != 1:
            raise ValueError(
                "the agents of a stack must have one class, task and model, and one value of each "
                "setting but those of agents.stacked.stackable.PER_RUN, got several; make a stack "
                "of each kind"
            )
        self._cashiers: dict[int, Cashier] = {}
        self.failures: dict[int, ValueError] = {}
        self.agents = list(agents)
        self._take(list(range(len(agents))))

    def _take(self, numbers: list[int]) -> None:
        """Go on with some of the agents."""
        self.numbers = numbers
        self.present = [self.agents[number] for number in numbers]
        if not numbers:
            return
        self.policy = StackedPolicy([agent.policy for agent in self.present])
        self.learner = StackedLearner(self.policy, self.present)
        self.cashiers = [self._cashier(agent) for agent in self.present]

    def _cashier(self, agent: Agent) -> Cashier:
        if id(agent.envs) not in self._cashiers:
            self._cashiers[id(agent.envs)] = Cashier(agent.envs, agent.policy.temperature)
        return self._cashiers[id(agent.envs)]

    def collect(self) -> Rollout:
        """Return the episodes of the next update, one block of rows for each present agent."""
        config = self.present[0].config
        return collect_stacked(
            self.policy,
            self.present,
            self.cashiers,
            config.episodes_per_update,
            [(agent.config.seed, Stream.ROLLOUT, agent.updates) for agent in self.present],
            group_size=config.group_size,
        )

    def learn_once(self) -> dict[str, Tensor]:
        """Collect and learn from what was collected.

        An agent that fails is left out from now on, and is named in ``failures``.

        Returns:
            The figures of the update by name, [R] float64 for the R agents of ``numbers``; none
            where no agent is left.
        """
        while self.present:
            rollout = self.collect()
            old = self._evaluate(rollout)
            learned = learned_kl(rollout, self._config.kl_placement, self._config.kl_estimator)
            found = self._targets(learned, old)
            if found is not None:
                return self._learn(rollout, learned, old, found)
        return {}

    def _learn(
        self,
        rollout: Rollout,
        learned: Rollout,
        old: PolicyOutput,
        aims: StackedTargets,
    ) -> dict[str, Tensor]:
        runs = len(self.present)
        figures = metrics_by_run(rollout, self.present[0].base.task, runs)
        figures |= self.learner.update(learned, old, aims.targets) | aims.figures
        figures["return"] = learned.rewards.sum(dim=1).view(runs, -1).mean(dim=1).double()
        coefs = [agent.kl_coef for agent in self.present]
        figures["kl_coef"] = torch.tensor(coefs, dtype=torch.float64)
        for run, agent in enumerate(self.present):
            agent.updates += 1
            agent.episodes += agent.episodes_per_update
            if agent.config.kl_target is not None:
                agent.steer_kl(episodes_of(learned, run, runs, self.cashiers[run].terms))
        return self._without(self.learner.failures, figures)

    @property
    def _config(self) -> Any:
        return self.present[0].config

    def _without(
        self, failures: dict[int, ValueError], found: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Leave agents out that have failed; return what was found of the others."""
        if not failures:
            return found
        self.failures |= {self.numbers[run]: error for run, error in failures.items()}
        kept = [run for run in range(len(self.numbers)) if run not in failures]
        self._take([self.numbers[run] for run in kept])
        return {name: values.cpu()[kept] for name, values in found.items()}

    @torch.no_grad()
    def _evaluate(self, rollout: Rollout) -> PolicyOutput:
        """Return the outputs of the policies that acted, as far as the learning rule reads them."""
        if not reads_old(self.present[0].learner.algorithm):
            return self.present[0].policy.sampler_only(rollout)
        return self.evaluate(rollout)

    @torch.no_grad()
    def evaluate(self, rollout: Rollout) -> PolicyOutput:
        """Return the outputs of the present agents' policies on their own episodes."""
        rows = torch.arange(len(rollout), device=rollout.tokens.device)
        order = longest_first(rollout.is_action, rows.view(len(self.present), -1)).flatten()
        found = self.policy.evaluate(rollout.tokens[order], rollout.is_action[order])
        return take_rows(detached(found), order.argsort())

    def _targets(self, rollout: Rollout, old: PolicyOutput) -> StackedTargets | None:
        """Return what each agent's learning rule aims at, and what it says of it.

        None if an agent failed; it is left out then, and the update has to be begun anew.
        """
        terms = [cashier.terms for cashier in self.cashiers]
        found = stacked_targets(self.present, rollout, old, terms)
        if isinstance(found, StackedTargets):
            return found
        self._without(found, {})
        return None
