"""The names of all figures that built-in agents' evaluations have, without torch."""

from __future__ import annotations

FIGURES = (
    "score",
    "gold",
    "return",
    "win_rate",
    "kl",
    "kl_k3",
    "kl_exact",
    "kl_bound",
    "entropy",
    "response_length",
    "eos_rate",
    "distinct_1",
    "distinct_2",
    "disagreement",
    "regret",
    "regret_se",
    "j_ratio",
    "reference_score",
    "reference_score_sd",
    "reference_gold",
)
"""Which of them an evaluation has depends on agent, task and reward; see
`agents.evaluation.evaluate.evaluate` and `agents.BestOfN.evaluate`."""


def figure_names(episodes: int) -> tuple[str, ...]:
    """Return all names that an evaluation of so many episodes may have, with those of pass@k."""
    return *FIGURES, *(f"pass_at_{2**power}" for power in range(episodes.bit_length()))
