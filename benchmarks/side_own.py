"""This project's side of the comparison."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import agents
import rlhf_env
from agents.algorithms.rloo import RLOO
from benchmarks.answers import pair_ids
from benchmarks.works import Order, conversation
from rlhf_env.rewards.classifier import ClassifierReward
from studies.execution.threads import flush_denormals, own_process, set_threads


def main() -> None:
    """Collect a rollout and learn from it, as often as asked."""
    with conversation() as (order, bell):
        # As the commands do.
        own_process()
        flush_denormals()
        agent, phase = make_agent(order), order.work.phase
        reference = agent.base.mdp.reference.model
        set_threads(order.threads or None, sum(p.numel() for p in reference.parameters()))
        rollout = agent.collect() if phase == "update" else None
        bell.ready(torch=torch.__version__, transformers=transformers.__version__)
        while bell.wait():
            begun = time.perf_counter()
            if phase != "update":
                rollout = agent.collect()
            assert rollout is not None
            if phase != "rollout":
                agent.update(rollout)
            bell.done(time.perf_counter() - begun, int(rollout.is_action.sum()))


def make_agent(order: Order) -> agents.Agent:
    """Return the agent that does the order's work."""
    work = order.work
    envs: Any = gym.make_vec("RLHF-v0", num_envs=work.episodes, task=make_task(order))
    shared = {
        "learning_rate": order.learning_rate,
        "episodes_per_update": work.episodes,
        "epochs": work.epochs,
        "kl_coef": order.kl_coef,
    }
    if work.algorithm == "ppo":
        # As many optimizer steps as the others take.
        return agents.PPO(envs, gamma=1.0, value_clip_range=0.2, minibatches=1, **shared)
    if work.algorithm == "dpo":
        return dpo_agent(order, envs, shared)
    kind = agents.GRPO if work.algorithm == "grpo" else RLOO
    return kind(envs, group_size=work.group_size, **shared)


def dpo_agent(order: Order, envs: Any, shared: dict[str, Any]) -> agents.Agent:
    """Return an agent that learns from the order's pairs, the reference asked already."""
    agent = agents.DPO(envs, preferences=pair_ids(order), **shared)
    agent.collect()
    return agent


def make_task(order: Order) -> rlhf_env.Task:
    """Return the task of the order's model and prompts."""
    tokenizer = AutoTokenizer.from_pretrained(order.folder)
    return rlhf_env.Task(
        name=order.work.algorithm,
        tokenizer=tokenizer,
        reference=AutoModelForCausalLM.from_pretrained(order.folder, dtype=torch.float32),
        reward=_classifier(order) if order.work.algorithm == "ppo" else even_ids,
        prompts=[torch.tensor(ids) for ids in order.prompts()],
        max_prompt_tokens=order.work.prompt_tokens,
        max_new_tokens=order.work.new_tokens,
    )


def even_ids(prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    """Score a response by its share of even token ids."""
    return torch.tensor([float((ids % 2 == 0).double().mean()) for ids in responses])


def _classifier(order: Order) -> ClassifierReward:
    transformers.set_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        order.folder, num_labels=1, dtype=torch.float32
    )
    return ClassifierReward(model=model, tokenizer=AutoTokenizer.from_pretrained(order.folder))


if __name__ == "__main__":
    main()
