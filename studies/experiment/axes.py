"""The axes of an ablation: what is varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is varied: every combination that makes sense is run once per seed."""

    agent: tuple[str, ...] = ("ppo", "grpo")
    """Agents: ppo, grpo, ..., or module:Class of your own."""
    task: Annotated[
        tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: toy15 if there is no model)")
    ] = ()
    """Built-in tasks (toy15, reviews, delay-64), or module:function that returns a Task; with
    --horizon families (brackets, chain, delay, lock, needles)."""
    horizon: Annotated[
        tuple[int, ...], tyro.conf.arg(help_behavior_hint="(default: the tasks' own)")
    ] = ()
    """Longest responses in tokens: each family is run at each of them."""
    model: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: none)")] = ()
    """Folders or hub ids of language models, each a task with --prompts, and --ratings or
    --reward."""
    gamma: tuple[float, ...] = (0.9, 1.0)
    """Discount factors per decision, in [0, 1]."""
    density: tuple[str, ...] = ("terminal", "every_k", "potential")
    """When the score is paid: terminal, every_k (see --every-k), every_N, prefix_difference (which
    is every_1), potential, implicit (what a token is worth to the exact optimum); process,
    process_potential, process_raw (by the task's step scores at the ends of turns or lines)."""
    granularity: tuple[str, ...] = ("token", "bandit")
    """What one decision is: token; macro_N (N tokens), macro_punctuation (a clause),
    macro_space_led (about a word), macro_entropy_H (up to where the reference's next token is in
    doubt by H nats or more); turn (of a conversation, or a line); bandit (the whole response)."""
    gae_lambda: tuple[float, ...] = (0.95,)
    """GAE's lambda in [0, 1], for the agents that have one."""
    kl_coef: Annotated[
        tuple[float, ...], tyro.conf.arg(help_behavior_hint="(default: the task's own)")
    ] = ()
    """Weights of the KL penalty, >= 0."""
    kl_placement: Annotated[
        tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: the agent's own)")
    ] = ()
    """Where the KL penalty is paid: reward, loss."""
    kl_estimator: Annotated[
        tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: the agent's own)")
    ] = ()
    """By what the KL is estimated from the tokens chosen: k1, k2, k3."""
    group_size: tuple[int, ...] = (4,)
    """Responses per prompt, for the agents that compare within groups."""
    preference_pairs: Annotated[
        tuple[int, ...], tyro.conf.arg(help_behavior_hint="(default: none, they learn online)")
    ] = ()
    """Pairs of the reference's responses, labeled by the reward, from which the agents that can
    learn from given comparisons (dpo, ipo, kto, ...) do so."""
    set: Annotated[
        tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: the agents' own)")
    ] = ()
    """Further settings of agents, a combination each: default staleness=2 staleness=2,top_k=50; an
    agent is run with those whose settings it has."""
    importance: Annotated[
        tuple[str, ...], tyro.conf.arg(help_behavior_hint="(default: none, no correction)")
    ] = ()
    """How agents that follow a policy gradient weigh episodes of other policies: none, token,
    sequence, geometric."""
    staleness: Annotated[
        tuple[int, ...], tyro.conf.arg(help_behavior_hint="(default: 0, the present weights)")
    ] = ()
    """How many updates old the weights are that sample."""
    replay_ratio: Annotated[
        tuple[float, ...], tyro.conf.arg(help_behavior_hint="(default: 0, fresh episodes only)")
    ] = ()
    """Old episodes for each fresh one in an update, for the agents that may learn from them."""
    seeds: int = 5
    """Seeds per combination."""
    first_seed: int = 0
    """The first of them; the others follow."""
