"""Episodes of one turn, the same with what an environment said, and what agents make of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from agents import (
    BCO,
    CPO,
    DAPO,
    DPO,
    DRO,
    GRPO,
    GSPO,
    ILQL,
    IPO,
    KTO,
    OREO,
    ORPO,
    PCL,
    PPO,
    RDPO,
    RLOO,
    SPPO,
    TBRM,
    TDPO,
    TRPO,
    AStarPO,
    DrGRPO,
    KLPenaltyPPO,
    LiPO,
    Reinforce,
    ReVal,
    ShiQ,
    SimPO,
    SoftQ,
    TrajectoryBalance,
)
from agents.policy import PolicyOutput
from agents.rollouts.kl_reward import learned_kl
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from tests.dialogues import COMMA
from tests.toys import EOS, tiny_llama_task
from wrappers.macro.span import decisions_of_size

B, T, P = 8, 6, 2
GARBAGE = 100.0

GROUP = 4
OUTPUTS = ("new", "old", "value", "entropy", "reference_kl")

AGENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "PPO": (PPO, {"gamma": 0.9, "gae_lambda": 0.8}),
    "PPO, discounted": (PPO, {"gamma": 0.9, "gradient_form": "discounted"}),
    "PPO, a discount per term": (PPO, {"gamma": {"score": 0.9, "kl": 0.7}, "gae_lambda": 0.8}),
    "PPO, a discount per turn": (PPO, {"gamma": 0.8, "discount_unit": "turn"}),
    "PPO, lambda of the length": (PPO, {"length_adaptive_lambda": 0.5}),
    "PPO, critic's lambda": (PPO, {"gamma": 0.9, "critic_gae_lambda": 1.0}),
    "PPO, clipped values": (PPO, {"value_clip_range": 0.1, "whiten_rewards": True}),
    "PPO, mean over episodes": (PPO, {"aggregation": "episode_mean", "dual_clip": 3.0}),
    "PPO, bonus of entropy": (PPO, {"gamma": 0.9, "entropy_coef": 0.1}),
    "PPO, corrected": (PPO, {"importance": "token", "importance_cap": 2.0}),
    "KL penalty": (KLPenaltyPPO, {"gamma": 0.9}),
    "TRPO": (TRPO, {"gamma": 0.9}),
    "REINFORCE": (Reinforce, {"gamma": 0.9, "baseline": "batch_mean"}),
    "REINFORCE, per turn": (Reinforce, {"gamma": 0.8, "discount_unit": "turn"}),
    "REINFORCE, plain": (Reinforce, {"gamma": 0.9, "baseline": "none", "aggregation": "sum"}),
    "REINFORCE, value": (Reinforce, {"gamma": 0.9, "baseline": "value"}),
    "REINFORCE, corrected": (Reinforce, {"importance": "sequence", "gamma": 0.9}),
    "RLOO": (RLOO, {"gamma": 0.9}),
    "RLOO, to go, per turn": (
        RLOO,
        {"gamma": 0.8, "gradient_form": "standard", "discount_unit": "turn"},
    ),
    "RLOO, to go": (RLOO, {"gamma": 0.9, "gradient_form": "standard"}),
    "RLOO, corrected": (RLOO, {"importance": "geometric", "importance_band": (0.5, 2.0)}),
    "GRPO": (GRPO, {"gamma": 0.9}),
    "RLOO, turn by turn": (
        RLOO,
        {"gamma": 0.8, "discount_unit": "turn", "group_baseline": "turn"},
    ),
    "GRPO, turn by turn": (GRPO, {"group_baseline": "turn", "gradient_form": "standard"}),
    "GRPO, KL in the loss": (GRPO, {"kl_placement": "loss", "kl_estimator": "k3"}),
    "GRPO, finished only": (GRPO, {"skip_unfinished": True}),
    "Dr. GRPO": (DrGRPO, {}),
    "DAPO": (DAPO, {"dynamic_sampling": False}),
    "GSPO": (GSPO, {}),
    "DPO": (DPO, {}),
    "DPO, discounted": (DPO, {"gamma": 0.9}),
    "DPO, weighted": (DPO, {"use_weighting": True}),
    "IPO": (IPO, {}),
    "SimPO": (SimPO, {}),
    "ORPO": (ORPO, {}),
    "CPO": (CPO, {}),
    "RDPO": (RDPO, {}),
    "TDPO": (TDPO, {}),
    "SPPO": (SPPO, {}),
    "LiPO": (LiPO, {}),
    "KTO": (KTO, {}),
    "BCO": (BCO, {}),
    "DRO": (DRO, {}),
    "ShiQ": (ShiQ, {}),
    "OREO": (OREO, {}),
    "A*-PO": (AStarPO, {}),
    "Soft Q": (SoftQ, {}),
    "ILQL": (ILQL, {}),
    "PCL": (PCL, {"gamma": 0.9}),
    "PCL, paths of two": (PCL, {"gamma": 0.9, "path_length": 2}),
    "trajectory balance": (TrajectoryBalance, {"gamma": 0.9}),
    "trajectory balance, learned": (TrajectoryBalance, {"log_z": "learned"}),
    "TBRM": (TBRM, {"gamma": 0.9}),
    "ReVal": (ReVal, {}),
}

COUNTS = st.lists(
    st.lists(st.integers(0, 5), min_size=T - 1, max_size=T - 1), min_size=B, max_size=B
)
"""How many tokens of the environment come before each action but the first, in each episode."""


def indifferent_task() -> Task:
    """A reference to which all texts are one, as what is said to a model may change its logits."""
    task = dataclasses.replace(tiny_llama_task(horizon=T), end_of_turn_id=COMMA)
    torch.nn.init.zeros_(task.reference.lm_head.weight)  # type: ignore[union-attr,arg-type]
    return task


def make(name: str, envs: Any, **more: Any) -> Any:
    """One of `AGENTS`."""
    kind, own = AGENTS[name]
    compares = "group_size" in kind.config_class.__dataclass_fields__ and kind not in (
        PPO,
        KLPenaltyPPO,
        TRPO,
        Reinforce,
    )
    grouped = {"group_size": GROUP} if compares else {}
    return kind(envs, **{"episodes_per_update": B, **grouped, **own, **more})


def random_episodes(seed: int, macro: int) -> tuple[Rollout, dict[str, Tensor]]:
    """Episodes of one turn with random rewards, and outputs of a policy on them."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (B,), generator=draw)
    columns = torch.arange(P + T)
    is_action = (columns >= P) & (columns < P + lengths[:, None])
    own = {
        name: torch.where(is_action, torch.randn(B, P + T, generator=draw), 0.0)
        for name in ("kl", "new", "old", "ref", "value", "entropy", "reference_kl")
    }
    score = torch.zeros(B, P + T).masked_scatter(
        columns == (P + lengths - 1)[:, None], torch.randn(B, generator=draw)
    )
    tokens = torch.randint(2, 32, (B, P + T), generator=draw)
    tokens[::2] = torch.where(columns == (P + lengths - 1)[:, None], EOS, tokens)[::2]
    rollout = Rollout(
        tokens=tokens,
        is_action=is_action,
        logprobs=-own["old"].abs(),
        ref_logprobs=-own["ref"].abs(),
        rewards=score + own["kl"],
        reward_terms={"score": score, "kl": own["kl"]},
        score=score.sum(1),
        terminated=torch.ones(B, dtype=torch.bool),
        group=torch.arange(B) // GROUP,
        prompt_index=torch.zeros(B, dtype=torch.int64),
        decision=torch.where(is_action, columns - P, -1),
        kl_coef=torch.full((B,), 0.1),
        includes_policy_logprob=torch.ones(B, dtype=torch.bool),
        preference=random_preferences(draw),
        ends_turn=is_action & (torch.rand(B, P + T, generator=draw) < 0.4),
    )
    rollout = rollout.replace(decision=decisions_of_size(rollout, macro))
    return rollout, {name: own[name] for name in OUTPUTS}


def random_preferences(draw: torch.Generator) -> Tensor:
    """[B, GROUP] with P(i better than j) = 1 − P(j better than i)."""
    upper = torch.rand(B // GROUP, GROUP, GROUP, generator=draw).triu(1)
    below = torch.ones(GROUP, GROUP).tril(-1) - upper.transpose(1, 2).tril(-1)
    return (upper + below + 0.5 * torch.eye(GROUP)).reshape(B, GROUP)


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
        elif isinstance(value, Tensor) and value.dim() == 2 and each.name != "preference":
            fields[each.name] = spread(value, {"decision": -1}.get(each.name, 0))
    return rollout.replace(**fields), {n: spread(v, GARBAGE) for n, v in outputs.items()}


def as_output(agent: Any, rollout: Rollout, logprobs: Tensor, own: Mapping[str, Tensor]) -> Any:
    names, asked = agent.policy.value_names, agent.policy.measures.names
    blank = agent.policy.sampler_only(rollout)
    measured = {
        "reference_kl": own["reference_kl"].abs(),
        "log_collision": -own["entropy"].abs(),
        "log_normalizer": own["reference_kl"],
    }
    return dataclasses.replace(
        blank,
        **{name: value for name, value in measured.items() if name in asked},
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
    algorithm: Any = agent.learner.algorithm
    state = dict(algorithm.state()) if hasattr(algorithm, "state") else {}
    targets = algorithm.targets(rollout, old, agent.base.mdp.reference)
    logprobs = (-own["new"].abs()).requires_grad_(True)
    values = own["value"].clone().requires_grad_(True)
    new = as_output(agent, rollout, logprobs, {**own, "value": values})
    losses, figures = algorithm.loss(rollout, new, old, targets)
    if state:  # Some keep averages over updates.
        algorithm.load_state(state)
    found = {"losses": losses.detach()}
    found |= {f"figure {name}": value.detach() for name, value in figures.items()}
    gradients = torch.autograd.grad(losses.sum(), [logprobs, values], allow_unused=True)
    for kind, gradient in zip(("policy", "critic"), gradients, strict=True):
        if gradient is not None:
            assert (gradient[~rollout.is_action] == 0).all(), "through the environment's tokens"
            found[f"gradient of the {kind}"] = gradient[rollout.is_action]
    for name, value in vars(targets).items():
        if isinstance(value, Tensor) and name in ("advantages", "returns", "weight", "mask"):
            found[name] = value
    return found
