"""Every estimator at every policy: one row each."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pandas as pd
import torch
from tqdm import tqdm

import wrappers.vector
from agents.exact_gradients import ExactGradients, exact_gradients
from agents.settings import BUILT_IN_AGENTS
from rlhf_env.tasks import load_task
from studies.estimators.cells import BEHAVIORS, SAMPLERS, Cell, cells
from studies.estimators.policies import Policies
from studies.estimators.settings import Study

TASK = "toy15"
KL_COEF = 0.5

# Of the size of single gradients: float32 log-probabilities are rounded by less.
_ROUNDING = 1e-6
# Of a drawn expectation, 3 standard errors are not told apart from nothing.
_SURE = 3.0


def measure(study: Study, *, progress: bool = True) -> pd.DataFrame:
    """Return one row for each estimator and policy."""
    policies = Policies(load_task(TASK), KL_COEF, study.seed)
    wanted = [(cell, name) for cell in cells(study.disputes) for name in cell.policies]
    rows = [
        _row(cell, name, _gradients(cell, name, policies, study))
        for cell, name in tqdm(wanted, unit="cell", disable=not progress)
    ]
    return pd.DataFrame(rows)


def _gradients(cell: Cell, name: str, policies: Policies, study: Study) -> ExactGradients:
    envs: Any = gym.make_vec("RLHF-v0", num_envs=16, task=policies.task, kl_coef=KL_COEF)
    if cell.granularity == "bandit":
        envs = wrappers.vector.SequenceBandit(envs)
    built_in, policy = BUILT_IN_AGENTS[cell.agent], policies.policy(name)
    settings = {"episodes_per_update": cell.episodes, **built_in.preset, **cell.settings}
    settings |= SAMPLERS.get(cell.behavior or "", {})
    agent = built_in.load()(envs, policy=policy, seed=study.seed, **settings)
    with torch.no_grad():
        agent.policy.value_head.weight.copy_(policies.values(cell.critic, policy)[None])
    return exact_gradients(
        agent,
        behavior=policies.behavior(cell.behavior) if cell.behavior in BEHAVIORS else None,
        is_stale=cell.is_stale,
        gamma=cell.gamma,
        draws=study.draws,
        seed=study.seed,
    )


def _row(cell: Cell, policy: str, found: ExactGradients) -> dict[str, Any]:
    return {
        "dispute": cell.dispute,
        "estimator": cell.estimator,
        "policy": policy,
        "scale": found.scale,
        "cosine": found.cosine,
        "relative_bias": found.relative_bias,
        "direction_bias": found.direction_bias,
        "bias_error": found.bias_error,
        "noise_to_signal": found.noise_to_signal,
        "noise_to_signal_per_token": found.noise_to_signal_per_token,
        "effective_sample_size": found.effective_sample_size,
        "enumerated": found.standard_error is None,
        "verdict": verdict(found),
    }


def verdict(found: ExactGradients) -> str:
    """Return "unbiased", "unbiased up to a factor", "biased", or "not told apart".

    A bias is told apart from rounding above 1e-6 of the root mean square of single gradients, and
    where updates were drawn, above three standard errors.
    """
    size = float((found.variance + found.expected.square()).sum().sqrt())
    allowed = max(_ROUNDING * size / float(found.truth.norm()), _SURE * found.bias_error)
    name = "unbiased" if found.standard_error is None else "not told apart"
    if found.relative_bias <= allowed:
        return name
    if found.direction_bias * abs(found.scale) <= allowed:
        return f"{name} up to a factor"
    return "biased"
