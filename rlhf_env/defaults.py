"""Defaults and names of choices that a command line needs before torch is imported."""

from __future__ import annotations

MAX_PROMPT_TOKENS = 64
"""Longest prompt of a task, in tokens."""

MAX_NEW_TOKENS = 64
"""T, the horizon of a task: the longest response, in tokens."""

KL_COEF = 0.05
"""beta of a task: the weight of the KL penalty in nats."""

KL_PENALTIES = ("reference", "sampled", "exact")
"""Who supplies log pi to the KL penalty; see `rlhf_env.mdp.options.Options`."""

LENGTH_LIMITS = ("score", "penalize", "bootstrap")
"""What reaching the horizon without EOS means; see `rlhf_env.mdp.options.Options`."""

DISCOUNT_UNITS = ("decision", "turn")
"""What a discount is per: every decision, or every turn of the agent, within which nothing is
discounted."""

HORIZONS = {
    "countdown": 24,
    "countdown-4": 30,
    "countdown-small": 18,
    "guess": 9,
    **{f"guess-{turns}": 2 * turns - 1 for turns in range(2, 9)},
    "reverse": 16,
    "reverse-small": 4,
    "reviews": 40,
    "toy15": 3,
}
"""T of each built-in task, in tokens."""

ENSEMBLE_RULES = ("mean", "worst", "uncertainty")
"""How the scores of several reward models become one; see `rlhf_env.rewards.Ensemble`."""

POLICIES = ("table", "timed_table", "transformer")
"""What copies of an automaton task's reference learn; see `rlhf_env.tasks.automaton_task`."""
