"""A training run: build task, environment and agent; evaluate; train; evaluate again.

The only place in which `scripts/train.py` uses agents and environments.
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from agents import train
from agents.processes.exchange import on_first, together
from agents.processes.group import is_first
from agents.rollouts.collect import base_environment
from rlhf_env.mdp.render import printable
from rlhf_env.rewards.own_randomness import kept_randomness
from rlhf_env.rewards.protocol import score
from rlhf_env.task import Task
from studies.experiment.acting import Envs, evaluated, respond
from studies.reporting.console import evaluation_table, print_samples, sample_records
from studies.results.run_folder import (
    REWARD,
    claim,
    write_evaluation,
    write_samples,
)
from studies.training.assembly import Assembly
from studies.training.settings import Settings
from studies.training.watching import callback_of

# Updates that an interruption may cost; they are done again, with the same result.
CHECKPOINT_EVERY = 10


def run(settings: Settings, assembly: Assembly, asked: dict[str, object], console: Console) -> None:
    """Train in the run's folder, and report the metrics before and after.

    Raises:
        ValueError: if another process uses the folder.
        OSError: if it cannot be written.
    """
    task, agent, envs, learning = assembly.task, assembly.agent, assembly.envs, settings.learning
    with ExitStack() as stack:
        together(lambda: is_first() and stack.enter_context(claim(settings.out, asked)))
        if assembly.learned is not None:
            on_first(partial(assembly.learned.save, settings.out / REWARD))
        describe(assembly, console)
        prompts = shown_prompts(task, settings)
        twin, twin_envs = assembly.untrained, assembly.untrained_envs
        with kept_randomness():
            before = evaluated(twin, twin_envs, learning.eval_episodes)
            first = records(task, twin, twin_envs, prompts, "before")
        console.print(evaluation_table({"before": before}))
        print_samples(console, [first])
        console.print()
        callback = callback_of(settings, agent, before, CHECKPOINT_EVERY)
        train(
            agent,
            envs,
            learning.episodes,
            episodes_per_update=learning.episodes_per_update,
            log_dir=settings.out,
            checkpoint_every=CHECKPOINT_EVERY,
            track=settings.track,
            callback=callback,
        )
        after = evaluated(agent, envs, learning.eval_episodes)
        last = records(task, agent, envs, prompts, "after")
        on_first(lambda: write_samples(settings.out, [*first, *last]))
        figures = None if assembly.figures is None else dataclasses.asdict(assembly.figures)
        evaluation = {
            "episodes": learning.episodes,
            "before": before,
            "after": after,
            "reward": figures,
        }
        on_first(lambda: write_evaluation(settings.out, evaluation))
    console.print(evaluation_table({"before": before, "after": after}))
    print_samples(console, [first, last])
    console.print(f"\nresults in {settings.out}", markup=False)


def describe(assembly: Assembly, console: Console) -> None:
    """Print the task, its reward, and how good a learned reward is."""
    task = assembly.task
    kl_coef = getattr(assembly.agent, "kl_coef", base_environment(assembly.envs).kl_coef)
    weights = sum(parameter.numel() for parameter in task.reference.parameters())
    console.print(
        f"task {printable(task.name)}: {weights:,} weights, {len(task.prompts):,} prompts to "
        f"train on and {len(task.eval_prompts):,} to evaluate on, up to {task.max_new_tokens} new "
        "tokens, "
        f"KL coefficient {kl_coef:g}",
        markup=False,
    )
    if assembly.figures is not None:
        console.print(f"reward from ratings, {assembly.figures}", markup=False)
    console.print()


def shown_prompts(task: Task, settings: Settings) -> list[Any]:
    """Return different evaluation prompts, the same at each call."""
    generator = np.random.default_rng(settings.learning.seed)
    count = min(settings.samples, len(task.eval_prompts))
    rows = generator.choice(len(task.eval_prompts), size=count, replace=False)
    return [task.eval_prompts[row] for row in rows]


def records(
    task: Task, agent: Any, envs: Envs, prompts: list[Any], stage: str
) -> list[dict[str, Any]]:
    """Return the agent's response to each prompt, as the rows of ``samples.jsonl``."""
    if not prompts:
        return []
    rollout = respond(agent, envs, prompts)
    gold = None
    if task.gold is not None:
        gold = score(task.gold, rollout.prompts(), rollout.responses()).tolist()
    return sample_records(rollout, task, gold, stage)
