"""Which agents can be trained as one, and what keeps others from it."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from agents.agent import Agent
from agents.algorithms.grpo import GRPO
from agents.critics.agent import ActorCritic
from agents.policy import Policy
from agents.rollouts.collect import rollout_transforms
from agents.settings.off_policy import OffPolicyConfig
from agents.stacked.modules import unstackable_module
from agents.training.learner import Learner
from rlhf_env.tasks.automaton_lm import AutomatonLM
from rlhf_env.tasks.table_lm import TableLM

PER_RUN = frozenset(
    {
        "gamma",
        "gae_lambda",
        "critic_gae_lambda",
        "length_adaptive_lambda",
        "kl_coef",
        "kl_target",
        "kl_target_unit",
        "kl_horizon",
        "learning_rate",
        "adam_epsilon",
        "max_grad_norm",
        "entropy_coef",
        "seed",
    }
)
"""Settings that may differ between the runs of a stack."""

SHARED = frozenset(
    {
        "temperature",
        "episodes_per_update",
        "group_size",
        "epochs",
        "minibatches",
        "kl_placement",
        "kl_estimator",
        "kl_importance_ratio",
        "aggregation",
        "gradient_form",
        "value_clip_range",
        "value_coef",
        "whiten_advantages",
        "whiten_rewards",
        "clip_range",
        "clip_range_high",
        "dual_clip",
        "baseline",
        "ratio",
        "scale_by_std",
        "skip_unfinished",
        "max_draws",
    }
)
"""Settings that a stack has one value of. Any other must be what it is by default."""

# Beyond it, tokens are drawn block by block.
_LARGEST_VOCABULARY = 1024

_METHODS = ("collect", "resample", "update", "targets", "learned", "sampling", "_evaluate")
# Classes whose own methods do what those of `Agent` do where no setting asks for more.
_KNOWN: tuple[type[Agent], ...] = (GRPO, ActorCritic, Agent)


def why_not_stackable(agent: Any) -> str | None:
    """Return what keeps an agent from being trained in a stack, as words; None if nothing does."""
    if not isinstance(agent, Agent):
        return f"{type(agent).__name__} is not an agent of this package's rollouts and learner"
    for reason in (_of_class(agent), _of_settings(agent), _of_model(agent), _of_envs(agent)):
        if reason is not None:
            return reason
    return None


def stack_key(agent: Agent) -> tuple[Any, ...]:
    """Return what the agents of one stack have in common, for agents that can be stacked."""
    config = agent.config
    shared = tuple(
        (field.name, getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name in SHARED
    )
    # A critic has an output for each reward term that has a discount of its own.
    outputs = agent.policy.value_names
    model = agent.policy.model
    shapes = tuple((name, tuple(p.shape)) for name, p in model.named_parameters())
    task, options = agent.base.task, agent.base.mdp.options
    # Each run has a beta of its own.
    alike = dataclasses.replace(options, kl_coef=None)
    return type(agent), shared, outputs, type(model), shapes, task.name, alike


def _of_class(agent: Agent) -> str | None:
    kind = type(agent)
    known = next(each for each in _KNOWN if isinstance(agent, each))
    for name in _METHODS:
        if getattr(kind, name) is not getattr(known, name):
            return f"{kind.__name__} has a {name.strip('_')}() of its own"
    if type(agent.learner) is not Learner:
        return f"{kind.__name__} has a learner of its own"
    if type(agent.policy) is not Policy or agent.policy.measures.names:
        return f"{kind.__name__} has a policy of its own"
    if len(agent.learner.optimizer.param_groups) != 1:
        return f"{kind.__name__} has several step sizes"
    return None


def _of_settings(agent: Agent) -> str | None:
    if agent.replay is not None:
        return "it learns from old episodes too"
    config = agent.config
    if isinstance(config, OffPolicyConfig):
        return "its loss, not only what it aims at, depends on the run's discount"
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "dynamic_sampling":
            if value:
                return "dynamic_sampling draws again for one run at a time"
        elif field.name not in PER_RUN | SHARED and value != field.default:
            return f"{field.name} is {value!r}"
    return None


def _of_model(agent: Agent) -> str | None:
    model = agent.policy.model
    if not isinstance(model, TableLM | AutomatonLM):
        return f"{type(model).__name__} is neither a table nor the policy of an automaton task"
    if agent.policy.lm.vocab_size > _LARGEST_VOCABULARY:
        return f"the vocabulary has {agent.policy.lm.vocab_size} tokens"
    odd = unstackable_module(model)
    return None if odd is None else _of_module(odd)


def _of_module(module: nn.Module) -> str:
    return f"a {type(module).__name__} has weights that are frozen, or of an unknown kind"


def _of_envs(agent: Agent) -> str | None:
    base, task = agent.base, agent.base.task
    if task.respond is not None:
        return "the task is a conversation"
    if rollout_transforms(agent.envs) is None:
        return "a wrapper can only be stepped"
    if task.respond is not None:
        return "the task is a conversation"
    if base.mdp.options.policy is not None or base.mdp.options.kl_penalty != "reference":
        return "the environment pays the policy's part of the KL"
    lengths = {len(prompt) for prompt in (*task.prompts, *task.eval_prompts)}
    if lengths != {task.max_prompt_tokens}:
        return "the prompts are not all of one length"
    return None
