"""log n − (n − 1)/n is only a bound on the KL of the best of n."""

from __future__ import annotations

import copy
import dataclasses
import math

import torch

from rlhf_env.exact.best_of_n import best_of_n
from rlhf_env.tasks import load_task
from studies.zoo.claim import Claim, Contrast
from studies.zoo.experiments.computed import Computed
from studies.zoo.verdict import Exceeds, NotBelow

_N = {f"n = {n}": n for n in (4, 16, 64)}


def _compute(arm: str, seed: int) -> dict[str, float]:
    task, n = load_task("toy15"), _N[arm]
    reference = copy.deepcopy(task.reference)
    (table,) = reference.parameters()
    noise = torch.randn(table.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        table.add_(noise)
    found = best_of_n(dataclasses.replace(task, reference=reference), n)
    bound = math.log(n) - (n - 1) / n
    return {"bound": bound, "kl": found.kl, "slack": bound - found.kl}


CLAIM = Claim(
    title="log n − (n − 1)/n is a bound, not the KL of the best of n",
    citation="Beirami et al., arXiv:2401.01879",
    says="The usual formula for the KL of best of n is not its value but an upper bound, and far "
    "off where few responses share the probability.",
    reported="a proof, and examples with a gap that grows with n; from memory",
    setting="toy15 with standard normal noise on the reference's logits, ten references; the best "
    "of "
    "n by the score, ties shared.",
    truth="the exact distribution of the best of n",
    experiment=Computed(arms=tuple(_N), measures=("kl", "bound", "slack"), compute=_compute),
    contrasts=(
        Contrast(
            says="bound minus KL at n = 64, nats",
            measure="slack",
            more="n = 64",
            rule=Exceeds(size=0.5),
        ),
        Contrast(
            says="bound minus KL at n = 4, nats",
            measure="slack",
            more="n = 4",
            rule=NotBelow(margin=1e-6),
        ),
    ),
    guess="The formula is a bound at every n, and exact where no response has much probability; "
    "with 15 responses it is 0.4 nats too high at n = 64, less than the half nat that was asked "
    "for.",
)
