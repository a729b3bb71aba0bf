"""The log-ratio of the optimum is the token's advantage."""

from __future__ import annotations

import numpy as np
import torch

from rlhf_env.exact import solve
from rlhf_env.task import Task
from rlhf_env.tasks.table import table_task
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.verdict import Exceeds, Within

_BETA = 0.5


def _drawn_task(seed: int) -> Task:
    """Return a task of four tokens and responses up to four, all numbers drawn."""
    chance = np.random.default_rng(seed)
    logits: dict[tuple[int, ...], list[float]] = {}
    scores: dict[tuple[int, ...], float] = {}
    return table_task(
        4,
        4,
        lambda prefix: logits.setdefault(prefix, chance.standard_normal(4).tolist()),
        lambda ids: scores.setdefault(ids, float(chance.standard_normal())),
        name="drawn",
    )


def _compute(arm: str, seed: int) -> dict[str, float]:
    task = _drawn_task(seed)
    found = solve(task, _BETA)
    policy = found.policy if arm == "the optimum" else solve(task, 4 * _BETA).policy
    worst = 0.0
    for prefix, value in found.values.items():
        for token, probability in enumerate(policy[prefix]):
            longer = (*prefix, token)
            is_end = token == task.eos_id or len(longer) == task.max_new_tokens
            q = _score(task, longer) if is_end else found.values[longer]
            log_ratio = np.log(probability) - _reference(task, prefix)[token]
            worst = max(worst, abs(_BETA * log_ratio - (q - value)))
    return {"largest error": worst}


def _score(task: Task, ids: tuple[int, ...]) -> float:
    return float(task.reward([task.prompts[0]], [torch.tensor(ids)])[0])


def _reference(task: Task, prefix: tuple[int, ...]) -> np.ndarray:
    ids = torch.cat([task.prompts[0], torch.tensor(prefix, dtype=torch.int64)])
    with torch.no_grad():
        logits = task.reference(input_ids=ids[None]).logits[0, -1]
    return logits.double().log_softmax(-1).numpy()


CLAIM = Claim(
    title="The optimum's log-ratio is each token's advantage",
    citation="From r to Q*, arXiv:2404.12358",
    says="In the token MDP, beta·log(pi*/pi_ref) of a token is Q* − V*, so a DPO policy holds "
    "credit "
    "for every token.",
    reported="a derivation from the Bellman equation",
    setting="Ten tasks of four tokens and up to four of them with random references and scores, "
    "beta "
    "0.5: all states and tokens of each. The other arm takes a policy on the way, the optimum of a "
    "beta 4 times as large, as a policy that is not trained to the end.",
    truth="exact optima and values; the identity is checked at every state and token",
    experiment=Computed(
        arms=("the optimum", "on the way"), measures=("largest error",), compute=_compute
    ),
    contrasts=(
        Contrast(
            says="largest error of the identity over states and tokens: the optimum",
            measure="largest error",
            more="the optimum",
            rule=Within(margin=1e-4),
        ),
        Contrast(
            says="the same: a policy on the way",
            measure="largest error",
            more="on the way",
            rule=Exceeds(size=0.1),
        ),
    ),
)
