"""The alignment tax: what training cost elsewhere, in perplexity and in a score of one's own.

"Alignment tax" is Askell et al.'s word (arXiv:2112.00861) for what a model loses at other work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents import Agent
from rlhf_env.rewards.protocol import as_reward, score
from rlhf_env.rollout import Rollout
from rlhf_env.statistics import Estimate, Floats, Rows, bootstrap_rows, percentile_estimate
from rlhf_env.text.prompts import encode_prompt, read_prompts
from studies.evaluation.intervals import mean
from studies.evaluation.likelihood import Likelihood, likelihood, perplexity

_RESAMPLES = 2000


def perplexities(agent: Agent, path: Path, field: str | None) -> dict[str, Estimate]:
    """Return the perplexity of given texts under the reference and the agent, and their ratio.

    Each text is read from its second token on; what exceeds the model's window is cut off.

    Args:
        agent: whose task has the tokenizer.
        path: a text file, a text per line, or a JSONL or Parquet file.
        field: of such a file; "prompt", else "text", when None.

    Returns:
        "reference", "agent" and "ratio", with percentile bootstrap intervals over texts.

    Raises:
        ValueError: if the file cannot be read, or no text has two tokens.
    """
    tokenizer, window = agent.base.task.tokenizer, _window(agent)
    ids = [
        encode_prompt(text, f"text {number}", tokenizer)[:window]
        for number, text in enumerate(read_prompts(path, "--texts", field))
    ]
    ids = [each for each in ids if len(each) > 1]
    if not ids:
        raise ValueError(f"--texts must hold a text of two tokens or more, got none in {path}")
    starts = [1] * len(ids)
    before = likelihood(agent.base.mdp.reference, ids, starts, agent.policy.temperature)
    after = likelihood(agent.policy.lm, ids, starts, agent.policy.temperature)

    def estimate(value: Callable[[Any], float]) -> Estimate:
        def of_texts(drawn: Rows) -> Floats:
            flat = drawn.reshape(-1, drawn.shape[-1])
            return np.array([value(rows) for rows in flat]).reshape(drawn.shape[:-1])

        resampled = bootstrap_rows(of_texts, len(ids), resamples=_RESAMPLES)
        return percentile_estimate(value(np.arange(len(ids))), resampled, len(ids))

    return {
        "reference": estimate(lambda rows: perplexity(before, rows)),
        "agent": estimate(lambda rows: perplexity(after, rows)),
        "ratio": estimate(lambda rows: _ratio(before, after, rows)),
    }


def probe_scores(
    probe: Callable[..., Any], agent: Agent, before: Rollout, after: Rollout
) -> dict[str, Estimate]:
    """Return the mean of a score of one's own on both policies' responses, and of the change.

    Args:
        probe: ``f(prompts, responses) -> numbers`` on texts, as any reward.
        agent: whose task has the tokenizer.
        before: responses of the reference.
        after: those of the agent, to the same prompts.

    Raises:
        ValueError: if the probe cannot be used.
    """
    reward = as_reward(probe, agent.base.task.tokenizer)
    first, second = (
        score(reward, each.prompts(), each.responses(), "--probe").double().numpy()
        for each in (before, after)
    )
    return {"reference": mean(first), "agent": mean(second), "change": mean(second - first)}


def _ratio(before: Likelihood, after: Likelihood, rows: Sequence[int]) -> float:
    chosen = np.asarray(rows)
    return perplexity(after, chosen) / perplexity(before, chosen)


def _window(agent: Agent) -> int | None:
    """Return how many tokens the model can read; None for any number."""
    return getattr(getattr(agent.policy.model, "config", None), "max_position_embeddings", None)
