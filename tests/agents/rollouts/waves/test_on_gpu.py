"""What a machine with CUDA checks of its graphs; `benchmarks/gpu.py` runs it first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from agents.policy import Policy
from agents.rollouts.waves.decoding import decode_in_waves
from agents.rollouts.waves.recorders import CUDAGraphs
from agents.rollouts.waves.waiting import Waits
from tests.agents.rollouts.waves.some import (
    MODELS,
    PLAINLY,
    Looks,
    assert_same,
    drawn,
    gpu,
    with_norm,
)

pytestmark = [*gpu, pytest.mark.usefixtures("short_spans")]


class Counted:
    """Makes recorders of CUDA graphs, and counts what they record."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> CUDAGraphs:
        counted = self

        class Counts(CUDAGraphs):
            def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
                found = super().record(step)
                counted.count += 1
                return found

        return Counts(torch.device("cuda", 0))


@pytest.mark.parametrize("name", MODELS)
def test_graphs_are_steps(name: str) -> None:
    model = MODELS[name](seed=1).cuda()
    base, plan = drawn(model.config.vocab_size, device="cuda")
    policy, recorders = Policy(model, model.config.vocab_size), Counted()
    repeated = decode_in_waves(base, policy, plan, recorders)
    assert_same(repeated, decode_in_waves(base, policy, plan), tolerance=1e-3)
    assert recorders.count > 3


def test_weights_may_change_between_rollouts() -> None:
    base, plan = drawn(device="cuda")
    policy = Policy(MODELS["llama"](seed=1).cuda(), 32)
    for _ in range(2):
        repeated = decode_in_waves(base, policy, plan, Counted())
        assert_same(repeated, decode_in_waves(base, policy, plan), tolerance=1e-3)
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight.mul_(1.1)


def test_a_model_that_waits_is_not_recorded() -> None:
    base, plan = drawn(device="cuda")
    with pytest.warns(UserWarning, match=PLAINLY + "the host waits"):
        decode_in_waves(base, with_norm(Looks, "cuda"), plan, Counted())


def test_after_a_capture_that_failed_everything_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also a capture."""
    base, plan = drawn(device="cuda")
    policy, recorders = with_norm(Looks, "cuda"), Counted()
    with monkeypatch.context() as patch:
        patch.setattr(Waits, "_waits", lambda *_: False)
        with pytest.warns(UserWarning, match=PLAINLY + "recording raised"):
            failed = decode_in_waves(base, policy, plan, recorders)
    assert recorders.count == 0
    plain = with_norm(nn.LayerNorm, "cuda")
    assert_same(failed, decode_in_waves(base, plain, plan), tolerance=1e-3)
    repeated = decode_in_waves(base, plain, plan, recorders)
    assert recorders.count > 3
    assert_same(failed, repeated, tolerance=1e-3)
