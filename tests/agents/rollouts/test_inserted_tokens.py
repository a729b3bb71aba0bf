"""What the environment says changes no advantage, return or loss, for any agent.

Episodes of one turn are compared with the same episodes into which tokens of the environment were
inserted, every number of the actions the same. Where the environment speaks, the outputs of the
policy and the critic are 100: reading them anywhere would be seen. Four mistakes of multi-turn
trainers are planted, and the comparison finds each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents import DAPO, GRPO, GSPO, PPO, RLOO, TRPO, DrGRPO, KLPenaltyPPO, Reinforce
from agents.policy import PolicyOutput
from agents.rollouts.kl_reward import learned_kl
from rlhf_env.rollout import Rollout
from tests.toys import tiny_llama_task
from wrappers.macro.span import decisions_of_size

B, T, P = 8, 6, 2
GARBAGE = 100.0

AGENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "PPO": (PPO, {"gamma": 0.9, "gae_lambda": 0.8}),
    "PPO, discounted": (PPO, {"gamma": 0.9, "gradient_form": "discounted"}),
    "PPO, lambda of the length": (PPO, {"length_adaptive_lambda": 0.5}),
    "KL penalty": (KLPenaltyPPO, {"gamma": 0.9}),
    "TRPO": (TRPO, {"gamma": 0.9}),
    "REINFORCE": (Reinforce, {"gamma": 0.9, "baseline": "batch_mean"}),
    "REINFORCE, value": (Reinforce, {"gamma": 0.9, "baseline": "value"}),
    "RLOO": (RLOO, {"gamma": 0.9}),
    "GRPO": (GRPO, {"gamma": 0.9}),
    "GRPO, KL in the loss": (GRPO, {"kl_placement": "loss", "kl_estimator": "k3"}),
    "Dr. GRPO": (DrGRPO, {}),
    "DAPO": (DAPO, {"dynamic_sampling": False}),
    "GSPO": (GSPO, {}),
}


def random_episodes(seed: int, macro: int) -> tuple[Rollout, dict[str, Tensor]]:
    """Episodes of one turn with random rewards, and outputs of a policy on them."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (B,), generator=draw)
    columns = torch.arange(P + T)
    is_action = (columns >= P) & (columns < P + lengths[:, None])
    own = {
        name: torch.where(is_action, torch.randn(B, P + T, generator=draw), 0.0)
        for name in ("reward", "kl", "new", "old", "ref", "value", "entropy")
    }
    score = torch.zeros(B, P + T).masked_scatter(
        columns == (P + lengths - 1)[:, None], torch.randn(B, generator=draw)
    )
    rollout = Rollout(
        tokens=torch.randint(2, 32, (B, P + T), generator=draw),
        is_action=is_action,
        logprobs=-own["old"].abs(),
        ref_logprobs=-own["ref"].abs(),
        rewards=score + own["kl"],
        reward_terms={"score": score, "kl": own["kl"]},
        score=score.sum(1),
        terminated=torch.ones(B, dtype=torch.bool),
        group=torch.arange(B) // 4,
        prompt_index=torch.zeros(B, dtype=torch.int64),
        decision=torch.where(is_action, columns - P, -1),
        kl_coef=torch.full((B,), 0.1),
        includes_policy_logprob=torch.ones(B, dtype=torch.bool),
    )
    rollout = rollout.replace(decision=decisions_of_size(rollout, macro))
    return rollout, {name: own[name] for name in ("new", "old", "value", "entropy")}


def inserted(
    rollout: Rollout, outputs: Mapping[str, Tensor], counts: Tensor
) -> tuple[Rollout, dict[str, Tensor]]:
    """The same episodes with so many tokens of the environment before each later action.

    Args:
        rollout: B episodes of one turn.
        outputs: [B, L] of the policy.
        counts: [B, T] how many tokens are inserted before the t-th action; none before the first.
    """
    index = rollout.is_action.long().cumsum(1) - 1
    shift = torch.where(rollout.is_action, counts.cumsum(1).gather(1, index.clamp(min=0)), 0)
    places = torch.arange(rollout.tokens.shape[1]) + shift
    width = int(places.max()) + 1

    def spread(field: Tensor, fill: float) -> Tensor:
        wide = torch.full((B, width), fill).to(field.dtype)
        # Prompts stay; padding is not copied, as places of actions may follow it.
        for row in range(B):
            kept = rollout.is_action[row] | (torch.arange(field.shape[1]) < P)
            wide[row, places[row][kept]] = field[row][kept]
        return wide

    fields: dict[str, Any] = {}
    for each in dataclasses.fields(Rollout):
        value = getattr(rollout, each.name)
        if isinstance(value, Mapping):
            fields[each.name] = {name: spread(term, 0.0) for name, term in value.items()}
        elif isinstance(value, Tensor) and value.dim() == 2:
            fields[each.name] = spread(value, {"decision": -1}.get(each.name, 0))
    return rollout.replace(**fields), {n: spread(v, GARBAGE) for n, v in outputs.items()}


def as_output(agent: Any, rollout: Rollout, logprobs: Tensor, own: Mapping[str, Tensor]) -> Any:
    names = agent.policy.value_names
    blank = agent.policy.sampler_only(rollout)
    return dataclasses.replace(
        blank,
        logprobs=logprobs,
        entropy=own["entropy"],
        values=own["value"],
        term_values={name: own["value"] / len(names) for name in names},
    )


def learned_numbers(agent: Any, rollout: Rollout, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an algorithm makes of episodes: its targets, its losses, and their gradient."""
    kl = agent.config.kl
    rollout = learned_kl(rollout, kl.placement, kl.estimator, None)
    old: PolicyOutput = as_output(agent, rollout, -own["old"].abs(), own)
    algorithm = agent.learner.algorithm
    targets = algorithm.targets(rollout, old, agent.base.mdp.reference)
    logprobs = (-own["new"].abs()).requires_grad_(True)
    values = own["value"].clone().requires_grad_(True)
    new = as_output(agent, rollout, logprobs, {**own, "value": values})
    losses, _ = algorithm.loss(rollout, new, old, targets)
    found = {"losses": losses.detach()}
    gradients = torch.autograd.grad(losses.sum(), [logprobs, values], allow_unused=True)
    for kind, gradient in zip(("policy", "critic"), gradients, strict=True):
        if gradient is not None:
            assert (gradient[~rollout.is_action] == 0).all(), "through the environment's tokens"
            found[f"gradient of the {kind}"] = gradient[rollout.is_action]
    for name, value in vars(targets).items():
        if isinstance(value, Tensor) and name in ("advantages", "returns", "weight", "mask"):
            found[name] = value
    return found


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    envs = gym.make_vec("RLHF-v0", num_envs=2, task=tiny_llama_task(horizon=T))
    made = {}
    for name, (kind, given_settings) in AGENTS.items():
        grouped = {"group_size": 4} if kind in (RLOO, GRPO, DrGRPO, DAPO, GSPO) else {}
        made[name] = kind(envs, episodes_per_update=B, **grouped, **given_settings)
    return made


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("macro", [1, 2, T])
def test_inserted_tokens_change_nothing(agents: dict[str, Any], name: str, macro: int) -> None:
    for seed in range(5):
        rollout, own = random_episodes(seed, macro)
        draw = torch.Generator().manual_seed(100 + seed)
        counts = torch.randint(0, 4, (B, T), generator=draw)
        counts[:, 0] = 0
        one = learned_numbers(agents[name], rollout, own)
        other = learned_numbers(agents[name], *inserted(rollout, own, counts))
        assert one.keys() == other.keys() >= {"losses"}
        assert len(one) > 1
        for key, value in one.items():
            assert torch.allclose(value.double(), other[key].double(), atol=1e-6), (key, seed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=T - 1, max_size=T - 1))
def test_any_insertion_into_any_episodes(seed: int, row: list[int]) -> None:
    """The generalized advantages of a critic, for any rewards, values and insertions."""
    rollout, own = random_episodes(seed, 1)
    counts = torch.tensor([0, *row]).expand(B, T)
    assert differs(right, rollout, own, counts) < 1e-6


# -- four planted mistakes -------------------------------------------------------------------------
Advantages = Callable[[Rollout, Tensor], Tensor]
GAMMA, LAMBDA = 0.9, 0.8


def over_positions(rewards: Tensor, values: Tensor, is_step: Tensor, gamma: Any) -> Tensor:
    """GAE along positions, those that are no steps passed over; [B, L]."""
    advantages = torch.zeros_like(rewards)
    for row in range(len(rewards)):
        following, next_value = 0.0, 0.0
        for at in reversed(is_step[row].nonzero().flatten().tolist()):
            factor = gamma if isinstance(gamma, float) else gamma(row, at)
            delta = rewards[row, at] + factor * next_value - values[row, at]
            following = float(delta) + factor * LAMBDA * following
            next_value = float(values[row, at])
            advantages[row, at] = following
    return advantages


def right(rollout: Rollout, values: Tensor) -> Tensor:
    return over_positions(rollout.rewards, values, rollout.is_action, GAMMA)


def reward_before_an_observation_is_lost(rollout: Rollout, values: Tensor) -> Tensor:
    """verl#7278: what is paid just before a tool speaks never arrives."""
    goes_on = rollout.is_action.roll(-1, dims=1) | rollout.last_action
    return over_positions(rollout.rewards * goes_on, values, rollout.is_action, GAMMA)


def observations_are_steps(rollout: Rollout, values: Tensor) -> Tensor:
    """miles#1827: tool tokens are steps of GAE, over which rewards decay."""
    columns = torch.arange(rollout.tokens.shape[1])
    spoken = (columns >= rollout.prompt_lengths[:, None]) & (columns < rollout.lengths[:, None])
    quiet = torch.where(rollout.is_action, values, 0.0)
    return over_positions(rollout.rewards, quiet, spoken, GAMMA)


def masked_values_leak(rollout: Rollout, values: Tensor) -> Tensor:
    """ROLL#447: the critic's value at the next position counts, whoever wrote it."""
    advantages = right(rollout, values)
    after = values.roll(-1, dims=1)
    goes_on = rollout.is_action & ~rollout.last_action
    leak = torch.where(goes_on & ~rollout.is_action.roll(-1, dims=1), after, 0.0)
    return advantages + GAMMA * leak


def discount_counts_positions(rollout: Rollout, values: Tensor) -> Tensor:
    """verl#2337: gamma to the power of the distance in the text."""

    def factor(row: int, at: int) -> float:
        later = rollout.is_action[row, at + 1 :].nonzero()
        return GAMMA ** (int(later[0]) + 1) if len(later) else GAMMA

    return over_positions(rollout.rewards, values, rollout.is_action, factor)


def differs(
    advantages: Advantages, rollout: Rollout, own: Mapping[str, Tensor], counts: Tensor
) -> float:
    """Return how much the advantages of the actions change by inserted tokens."""
    wide, wide_own = inserted(rollout, own, counts)
    one = advantages(rollout, own["value"])[rollout.is_action]
    other = advantages(wide, wide_own["value"])[wide.is_action]
    return float((one - other).abs().max())


@pytest.mark.parametrize(
    "planted",
    [
        reward_before_an_observation_is_lost,
        observations_are_steps,
        masked_values_leak,
        discount_counts_positions,
    ],
)
def test_planted_mistakes_are_found(planted: Advantages) -> None:
    rollout, own = random_episodes(0, 1)
    counts = torch.ones(B, T, dtype=torch.int64)
    counts[:, 0] = 0
    nothing = torch.zeros_like(counts)
    assert differs(right, rollout, own, counts) < 1e-6
    assert differs(planted, rollout, own, nothing) == 0.0
    assert torch.allclose(planted(rollout, own["value"]), right(rollout, own["value"]))
    assert differs(planted, rollout, own, counts) > 0.01
