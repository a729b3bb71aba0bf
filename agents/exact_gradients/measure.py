"""The expected gradient of an agent's update, its covariance, and the gradient it should be."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.agent import Agent
from agents.algorithm import reads_old
from agents.exact_gradients.continued import (
    continuations_of,
    is_linear,
    repeated,
    with_drawn_values,
)
from agents.exact_gradients.derivatives import (
    LossDerivatives,
    as_double,
    output_jacobian,
)
from agents.exact_gradients.moments import Moments
from agents.exact_gradients.objective import objective_slope, response_probabilities
from agents.exact_gradients.responses import every_response
from agents.exact_gradients.units import Units, count_groups, drawn_updates, every_group
from agents.policy import PolicyOutput
from rlhf_env.checks import check_count, check_number
from rlhf_env.exact.solution import Policy as AnyPolicy
from rlhf_env.rollout import Rollout

# Of groups that are enumerated together: the 319,770 of 8 out of 15 responses take seconds.
_MOST_GROUPS = 400_000
# Of updates that are enumerated one by one: the 3,060 of 4 out of 15 responses likewise.
_MOST_UPDATES = 5_000
_PROBES = 6


@dataclass(frozen=True, kw_only=True)
class ExactGradients:
    """The gradient of an agent's update, before clipping, and that of the objective.

    Both point uphill, over the P trainable weights of the policy's language model. Distances are
    Euclidean.
    """

    expected: Tensor
    """[P] float64, the expectation over all updates."""
    truth: Tensor
    """[P] float64, the gradient of J."""
    variance: Tensor
    """[P] variances of one unit's gradient: of one group, or of one update if its groups are not
    independent."""
    covariance: Tensor | None
    """[P, P] likewise; None for more than 1,024 weights."""
    unit_episodes: int
    """Episodes of one unit."""
    mean_length: float
    """Tokens of an episode on average."""
    effective_sample_size: float
    """1 / E[w²] for w = pi/mu of whole responses: the share of the episodes of the policy that
    acted that is left after weighing them; 1 on-policy (Kong 1992)."""
    standard_error: Tensor | None
    """[P] of ``expected``, where updates were drawn; None where all were enumerated."""

    @property
    def scale(self) -> float:
        """The factor of the truth that comes nearest to the expectation."""
        return float(self.expected @ self.truth / self.truth.square().sum())

    @property
    def cosine(self) -> float:
        """Of the angle between expectation and truth."""
        return float(self.expected @ self.truth / self.expected.norm() / self.truth.norm())

    @property
    def relative_bias(self) -> float:
        """|E − truth| / |truth|."""
        return float((self.expected - self.truth).norm() / self.truth.norm())

    @property
    def direction_bias(self) -> float:
        """|E − s·truth| / |s·truth| for the best factor s: what no learning rate mends."""
        best = self.scale * self.truth
        return float((self.expected - best).norm() / best.norm())

    @property
    def bias_error(self) -> float:
        """The standard error of ``relative_bias`` that sampling leaves; 0 where enumerated."""
        if self.standard_error is None:
            return 0.0
        return float(self.standard_error.norm() / self.truth.norm())

    @property
    def noise_to_signal(self) -> float:
        """√(n · tr Cov) / |E| for units of n episodes: the noise of an episode's gradient."""
        noise = math.sqrt(float(self.variance.sum()) * self.unit_episodes)
        return noise / float(self.expected.norm())

    @property
    def noise_to_signal_per_token(self) -> float:
        """The same for as many tokens as make one episode: times the root of its length."""
        return self.noise_to_signal * math.sqrt(self.mean_length)


def exact_gradients(
    agent: Agent,
    *,
    behavior: AnyPolicy | None = None,
    is_stale: bool = False,
    gamma: float = 1.0,
    draws: int = 4096,
    seed: int = 0,
) -> ExactGradients:
    """Compute the expected gradient of an agent's first optimizer step on a rollout.

    Responses, and groups of them, are enumerated with their probabilities. Where the groups of an
    update depend on each other (whitening, means over the decisions of a batch) or are too many,
    whole updates are drawn, and the standard error is part of the answer. The loss on pretraining
    texts has no part in it.

    Args:
        agent: of any algorithm, in an environment with at most 4,096 responses; nothing about it
            is changed.
        behavior: the policy that acts, in any form that `rlhf_env.exact.evaluate` takes; the
            one that samples the agent's next rollout when None.
        is_stale: the behavior is the policy at the beginning of the update, as in its later steps,
            and ratios are relative to it; otherwise it is a sampler that the agent takes for its
            own policy.
        gamma: discount of the objective J whose gradient is the truth.
        draws: number of updates to draw, where they are drawn.
        seed: of the draws.

    Raises:
        ValueError: if the responses cannot be enumerated, or a number is out of range.
    """
    check_count("draws", draws, minimum=2)
    check_number("gamma", gamma, minimum=0.0, maximum=1.0)
    responses = every_response(agent, behavior)
    rollout = responses.rollout
    said = agent.policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    old = _acted(agent, rollout, said, is_stale=is_stale)
    rule = LossDerivatives(
        agent=agent,
        responses=dataclasses.replace(responses, rollout=agent.learned(rollout, old)),
        old=as_double(old),
        new=as_double(said),
    )
    generator, continued = np.random.default_rng(seed), continuations_of(agent)
    if continued is not None:
        rule = dataclasses.replace(rule, values=continued.expected)
    units = _units(rule, draws, generator)
    ways, is_drawn = [(rule, units)], units.is_drawn
    if continued is not None:
        noisy = with_drawn_values(rule, continued, generator), repeated(units, draws)
        if is_linear(rule, continued, generator):
            ways.append(noisy)
        else:
            ways, is_drawn = [noisy], True
    slopes = [[each.of(rows) for rows, _ in some.chunks()] for each, some in ways]
    truth = objective_slope(agent, rollout, said, gamma)
    used = [part.indices()[1] for parts in slopes for part in parts]
    columns = torch.cat([truth.nonzero()[:, 0], *used]).unique()
    jacobian = output_jacobian(agent, responses, columns)
    moments = [Moments(jacobian.shape[1]) for _ in ways]
    for found, parts, (_, some) in zip(moments, slopes, ways, strict=True):
        for part, (_, weight) in zip(parts, some.chunks(), strict=True):
            found.add(part.index_select(1, columns).to_dense() @ jacobian, weight)
    # Where values are drawn, the noise is of the draws, and the expectation need not be.
    mean, spread = moments[0].mean, moments[-1]
    share = responses.probability / responses.prompts
    ratio = torch.where(share > 0, response_probabilities(said) / responses.probability, 0.0)
    return ExactGradients(
        expected=mean,
        truth=truth[columns] @ jacobian,
        variance=spread.variance,
        covariance=spread.covariance,
        unit_episodes=units.rows.shape[1],
        mean_length=float(share @ rollout.response_lengths.double()),
        effective_sample_size=1 / float(share @ ratio.square()),
        standard_error=(spread.variance / len(ways[-1][1])).sqrt() if is_drawn else None,
    )


def _acted(agent: Agent, rollout: Rollout, said: PolicyOutput, *, is_stale: bool) -> PolicyOutput:
    """Return what the agent takes for the outputs of the policy that acted."""
    if is_stale:
        return dataclasses.replace(said, logprobs=rollout.logprobs)
    return said if reads_old(agent.learner.algorithm) else agent.policy.sampler_only(rollout)


def _units(rule: LossDerivatives, draws: int, generator: np.random.Generator) -> Units:
    """Return the groups of an update, if its gradient is their mean; else updates."""
    config, responses = rule.agent.config, rule.responses
    size, episodes = config.group_size, config.episodes_per_update
    if _is_mean_of_groups(rule):
        if count_groups(responses, size) <= _MOST_GROUPS:
            return every_group(responses, size, is_joint=True)
        return drawn_updates(responses, 1, size, draws, generator)
    # One group, or episodes that are groups of one: an update is a multiset of responses.
    is_one_draw = size == episodes or (size == 1 and responses.prompts == 1)
    if is_one_draw and count_groups(responses, episodes) <= _MOST_UPDATES:
        return every_group(responses, episodes, is_joint=False)
    return drawn_updates(responses, episodes // size, size, draws, generator)


def _is_mean_of_groups(rule: LossDerivatives) -> bool:
    """Return whether a loss treats groups alone as it treats them together, by trying some."""
    generator = np.random.default_rng(0)
    size = rule.agent.config.group_size
    some = drawn_updates(rule.responses, 1, size, _PROBES, generator).rows
    together = rule.of(some).to_dense()
    alone = torch.cat([rule.of(rows[None]) for rows in some]).to_dense()
    return torch.allclose(together, alone, rtol=1e-9, atol=1e-12)
