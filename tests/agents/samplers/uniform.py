"""The simplest sampler there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agents.samplers.protocol import Completion, SamplingRequest

EOS = 0


class Uniform:
    """Chooses among the tokens of "toy15" with probability 1/3 each; plain lists in, out."""

    def __init__(self) -> None:
        self.asked: list[SamplingRequest] = []

    def sample(self, request: SamplingRequest) -> Sequence[Completion]:
        self.asked.append(request)
        found: list[Completion] = []
        for seed in request.seeds:
            drawn = np.random.default_rng(seed).integers(3, size=request.max_new_tokens)
            ids = drawn[: 1 + int((np.append(drawn, EOS) == EOS).argmax())].tolist()
            found.append((ids, [-math.log(3)] * len(ids)))
        return found
