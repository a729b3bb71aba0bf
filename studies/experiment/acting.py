"""What any agent is asked for, built in or one's own: figures, responses, a twin that may act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium.vector import VectorEnv
from torch import Tensor

from agents import Agent, BestOfN, PreferenceAgent, collect
from agents.evaluation.evaluate import against_reference
from agents.evaluation.metrics import rollout_metrics
from agents.policy import Policy
from agents.rollouts.collect import base_environment
from agents.rollouts.kl_reward import add_policy_logprob
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from studies.experiment.build import make_agent, make_envs
from studies.experiment.grid import RunSettings

Envs = VectorEnv[Any, Any, Any]


def has_policy(agent: Any) -> bool:
    """Return whether an agent evaluates and samples its policy without being changed by it."""
    return isinstance(agent, Agent | BestOfN)


def untrained(
    run: RunSettings,
    task: Task,
    agent: Any,
    more: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> tuple[Any, Envs]:
    """Return an agent that may act before training, and its environment.

    Acting draws from the random numbers of an agent of one's own, so a twin of it acts.

    Args:
        run: that the agent was made for.
        task: of the run.
        agent: the one to be trained.
        more: its settings besides those of the run.
        device: of the twin's environment.
    """
    if has_policy(agent):
        return agent, agent.envs
    envs = make_envs(run, task, device)
    return make_agent(run, envs, more), envs


def evaluate(agent: Any, envs: Envs, episodes: int) -> dict[str, float]:
    """Return an agent's metrics on the task's evaluation prompts.

    If an agent only acts, its episodes are scored and compared with the reference's.
    """
    if has_policy(agent):
        return agent.evaluate(episodes)
    base = base_environment(envs)
    task = base.task
    reference = Policy(base.mdp.reference.model, task.vocab_size)
    ours, theirs = (
        collect(envs, actor, episodes, prompts=task.eval_prompts, seed=0)
        for actor in (agent, reference)
    )
    ours = add_policy_logprob(ours, base.kl_coef)
    return {**rollout_metrics(ours, task), **against_reference(ours, theirs, task)}


def evaluated(agent: Any, envs: Envs, episodes: int) -> dict[str, float]:
    """Return the figures of the responses, and of how held-out comparisons are predicted."""
    found = evaluate(agent, envs, episodes)
    if not isinstance(agent, PreferenceAgent) or agent.held_out is None:
        return found
    held_out = agent.preference_figures()
    return found | {f"held_out_{name}": value for name, value in held_out.items()}


def respond(agent: Any, envs: Envs, prompts: Sequence[Tensor]) -> Rollout:
    """Return one response to each prompt, rewards with the whole KL penalty."""
    if has_policy(agent):
        return add_policy_logprob(agent.sample(prompts))
    rollout = collect(envs, agent, len(prompts), prompts=prompts, seed=0)
    return add_policy_logprob(rollout, base_environment(envs).kl_coef)
