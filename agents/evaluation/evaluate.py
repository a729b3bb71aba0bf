"""Evaluation of a policy: scores, distance from the reference, and text statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from agents.evaluation.exact import exact_metrics
from agents.evaluation.metrics import distinct_ngrams, rollout_metrics
from agents.evaluation.pass_at_k import pass_metrics
from agents.policy import Policy
from agents.rollouts.collect import base_environment, collect
from agents.rollouts.kl_reward import add_policy_logprob
from rlhf_env.engine.language_model import LanguageModel, length_batches
from rlhf_env.engine.projection import chunk_rows
from rlhf_env.kl import exact_kl
from rlhf_env.rewards.protocol import score
from rlhf_env.rollout import Rollout
from rlhf_env.task import Task
from rlhf_env.vector_env import RLHFVectorEnv

# Rows of logits held at once; fewer if the vocabulary is large.
_MOST_ROWS = 1024


def evaluate(
    envs: VectorEnv[Any, Any, Any],
    policy: Policy,
    episodes: int = 256,
    seed: Sequence[int] = (0,),
    kl_coef: float | None = None,
) -> dict[str, float]:
    """Return the means over responses to the task's evaluation prompts.

    Args:
        envs: a vector environment of RLHF-v0.
        policy: the policy to evaluate.
        episodes: how many; prompts are used in turn.
        seed: of the responses; the reference answers with the same random numbers.
        kl_coef: beta of ``return``; the environment's own when None.

    Returns:
        The keys of `agents.evaluation.metrics.rollout_metrics`; ``kl_exact`` (nats per sequence,
        over the whole vocabulary at every visited state), ``entropy`` (nats per token),
        ``distinct_1``, ``distinct_2``; ``win_rate`` against the reference's responses to the same
        prompts, by the gold reward where there is one, ties counting half; where the reward says
        what is solved, those of `agents.evaluation.pass_at_k.pass_metrics`; ``reference_score`` and
        ``reference_score_sd`` of those responses, and ``reference_gold``; where the exact optimum
        is known, those of `agents.evaluation.exact.exact_metrics`.
    """
    base = base_environment(envs)
    prompts = base.task.eval_prompts
    rollout = collect(envs, policy, episodes, seed=seed, prompts=prompts, kl_coef=kl_coef)
    rollout = add_policy_logprob(rollout)
    opponent = Policy(base.mdp.reference.model, base.task.vocab_size, policy.temperature)
    other = collect(envs, opponent, episodes, seed=seed, prompts=prompts)
    return evaluation_figures(base, policy, rollout, other)


def evaluation_figures(
    base: RLHFVectorEnv, policy: Policy, rollout: Rollout, other: Rollout
) -> dict[str, float]:
    """Return what `evaluate` does of episodes that were drawn for it.

    Args:
        base: the environment that paid them.
        policy: the policy that is evaluated.
        rollout: its episodes, the rewards with the whole KL penalty.
        other: the reference's episodes, drawn with the same random numbers.
    """
    task = base.task
    described = policy.evaluate_episodes(rollout.tokens, rollout.is_action)
    return {
        **rollout_metrics(rollout, task),
        **pass_metrics(rollout, task),
        **against_reference(rollout, other, task),
        "kl_exact": mean_exact_kl(policy, base.mdp.reference, rollout),
        "entropy": float(described.entropy.sum() / rollout.is_action.sum()),
        "distinct_1": distinct_ngrams(rollout, 1),
        "distinct_2": distinct_ngrams(rollout, 2),
        **_exact_metrics(base, policy, rollout),
    }


def _exact_metrics(base: RLHFVectorEnv, policy: Policy, rollout: Rollout) -> dict[str, float]:
    options = base.mdp.options
    horizon = options.max_new_tokens or base.task.max_new_tokens
    if options.length_limit != "score" or horizon != base.task.max_new_tokens:
        return {}
    return exact_metrics(rollout, base.task, policy, base.kl_coef)


def against_reference(rollout: Rollout, other: Rollout, task: Task) -> dict[str, float]:
    """Compare responses with the reference's responses to the same prompts.

    Args:
        rollout: B episodes.
        other: the reference's episodes.
        task: its gold reward, if it has one, decides which response wins.

    Returns:
        ``win_rate``, ties counting half; ``reference_score``, ``reference_score_sd`` and, where
        there is a gold reward, ``reference_gold``.
    """
    ours, theirs = rollout.score, other.score
    found = {
        "reference_score": float(theirs.mean()),
        "reference_score_sd": float(theirs.std()) if len(theirs) > 1 else 0.0,
    }
    if task.gold is not None:
        ours, theirs = (score(task.gold, r.prompts(), r.responses()) for r in (rollout, other))
        found["reference_gold"] = float(theirs.mean())
    wins = (ours > theirs).float() + 0.5 * (ours == theirs).float()
    return found | {"win_rate": float(wins.mean())}


@torch.no_grad()
def mean_exact_kl(policy: Policy, reference: LanguageModel, rollout: Rollout) -> float:
    """Return KL(pi || pi_ref) over the vocabulary, summed over visited states, per episode."""
    total, count = 0.0, min(_MOST_ROWS, chunk_rows(policy.lm.vocab_size))
    for rows, width in length_batches(rollout.is_action):
        tokens = rollout.tokens[rows, : width - 1]
        asked = rollout.is_action[rows, 1:width]
        ours = policy.lm.hidden(tokens)[asked]
        theirs = reference.hidden(tokens)[asked]
        for a, b in zip(ours.split(count), theirs.split(count), strict=True):
            logits = policy.lm.logits(a), reference.logits(b)
            scaled = [part / policy.temperature for part in logits]
            total += float(exact_kl(*scaled).sum())
    return total / len(rollout)
