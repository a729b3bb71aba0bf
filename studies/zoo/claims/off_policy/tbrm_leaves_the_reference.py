"""Where nothing is paid TBRM moves away from the reference, and ReVal does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

import agents
from agents.exact_gradients import exact_gradients
from rlhf_env.exact import evaluate
from rlhf_env.tasks import load_task
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.verdict import Exceeds, Within

_UPDATES, _EPISODES = 200, 64


def _nothing(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    return torch.zeros(len(responses), dtype=torch.float64)


def _compute(arm: str, seed: int) -> dict[str, float]:
    task = dataclasses.replace(load_task("toy15"), reward=_nothing)
    envs: Any = gym.make_vec("RLHF-v0", num_envs=_EPISODES, task=task, kl_coef=0.5)
    settings = {"episodes_per_update": _EPISODES, "learning_rate": 0.02, "seed": seed}
    agent = getattr(agents, arm)(envs, **settings)
    start = float(exact_gradients(agent).expected.norm())
    largest = last = 0.0
    for _ in range(_UPDATES):
        agent.update(agent.collect())
        last = evaluate(task, agent.policy.model, 1.0).kl
        largest = max(largest, last)
    return {"gradient at the start": start, "largest KL": largest, "last KL": last}


CLAIM = Claim(
    title="TBRM leaves the reference where nothing is paid",
    citation="ReVal, arXiv:2603.23355, of TBRM, arXiv:2505.15311",
    says="Where every response is paid 0, TBRM does not have the reference as its optimum, and "
    "ReVal, "
    "whose value is counted from the reference's, has.",
    reported="proposition 1 of ReVal, as noted; not read at the source",
    setting="toy15 with every response paid 0, beta 0.5; 200 updates of 64 responses, step size "
    "0.02. A policy that has the reference as its optimum has no gradient there, and ends there.",
    truth="exact expected gradients at the reference, and exact KLs",
    experiment=Computed(
        arms=("TBRM", "ReVal"),
        measures=("gradient at the start", "largest KL", "last KL"),
        compute=_compute,
        seeds=5,
    ),
    contrasts=(
        Contrast(
            says="KL after 200 updates: TBRM, less 0.01 nats",
            measure="last KL",
            more="TBRM",
            constant=0.01,
            rule=Exceeds(size=0.01),
        ),
        Contrast(
            says="norm of the expected gradient at the reference: TBRM",
            measure="gradient at the start",
            more="TBRM",
            rule=Exceeds(size=0.1),
        ),
        Contrast(
            says="largest KL on the way: ReVal, nats",
            measure="largest KL",
            more="ReVal",
            rule=Within(margin=1e-3),
        ),
    ),
    guess="Both sides have a point: at the start TBRM has a gradient and moves, ReVal has none; "
    "but at the end TBRM is at the reference again. With free logits its least loss is 0 there, "
    "with a normalizer of 1; what drifts is the way and not the optimum.",
)
