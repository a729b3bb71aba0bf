"""Repeating a recorded step gives the wave's numbers, and so does whatever fails on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.policy import Policy
from agents.rollouts.collect import decode
from agents.rollouts.waves import decoding
from agents.rollouts.waves.decoding import decode_in_waves
from agents.rollouts.waves.waiting import Waits
from agents.rollouts.waves.wave import Wave
from tests.agents.rollouts.waves.some import (
    HORIZON,
    MODELS,
    PLAINLY,
    Looks,
    assert_same,
    drawn,
    half_qwen2,
    with_norm,
)
from tests.agents.rollouts.waves.tape import Tapes
from tests.toys import EOS, tiny_gpt2, tiny_llama

pytestmark = pytest.mark.usefixtures("short_spans")


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_repetitions_are_steps_to_the_last_bit(name: str, greedy: bool) -> None:
    model = MODELS[name](seed=1)
    base, plan = drawn(model.config.vocab_size, greedy=greedy)
    policy, tapes = Policy(model, model.config.vocab_size), Tapes()
    repeated = decode_in_waves(base, policy, plan, lambda: tapes)
    assert_same(repeated, decode_in_waves(base, policy, plan))
    # A recording a span: with prompts of five tokens 6 to 64 are those of four.
    assert tapes.recorded > 3
    assert tapes.repeated > 3 * 20
    if model.dtype == torch.float32:
        # What refilled rows read of the cache is cut elsewhere, and summed in another order.
        assert_same(repeated, decode(base, policy, plan), tolerance=1e-4)


def test_temperature_and_filler_rows() -> None:
    """More rows than episodes, and responses that have ended long before the last one."""
    base, plan = drawn(episodes=3)
    policy, tapes = Policy(tiny_gpt2(seed=1), 32, 0.7), Tapes()
    repeated = decode_in_waves(base, policy, plan, lambda: tapes)
    assert_same(repeated, decode_in_waves(base, policy, plan))
    lengths = repeated.is_action.sum(dim=1)
    assert lengths.min() + 16 < lengths.max() < HORIZON
    # The host found out that all had ended.
    assert 0 < tapes.repeated < HORIZON - 16


def test_a_wave_without_a_second_token_records_nothing() -> None:
    class Ends(Policy):
        def draw(
            self, logits: Tensor, uniforms: Tensor | None, *, is_checked: bool = True
        ) -> tuple[Tensor, Tensor]:
            chosen, logprob = super().draw(logits, uniforms, is_checked=is_checked)
            return torch.full_like(chosen, EOS), logprob

    (base, plan), tapes = drawn(), Tapes()
    rollout = decode_in_waves(base, Ends(tiny_llama(seed=1), 32), plan, lambda: tapes)
    assert tapes.recorded == 0
    assert rollout.is_action.sum(dim=1).tolist() == [1] * 11


class Raises(Tapes):
    """Raises at one of its recordings."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        found = super().record(step)
        if self.recorded == self.at:
            try:
                raise RuntimeError("operation not permitted\nin a capture")
            finally:
                raise ValueError("the capture was invalidated")
        return found


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_recording_that_fails_is_done_without(at: int) -> None:
    base, plan = drawn()
    policy, tapes = Policy(tiny_llama(seed=1), 32), Raises(at)
    cause = "LlamaForCausalLM is " + PLAINLY + "recording raised RuntimeError: operation not permi"
    with pytest.warns(UserWarning, match=cause) as caught:
        repeated = decode_in_waves(base, policy, plan, lambda: tapes)
    assert_same(repeated, decode_in_waves(base, policy, plan))
    assert len(caught) == 1
    assert tapes.recorded == at
    # Neither is it tried nor told again.
    assert_same(decode_in_waves(base, policy, plan, lambda: tapes), repeated)
    assert tapes.recorded == at


def test_what_the_caller_handles_is_not_the_cause() -> None:
    base, plan = drawn()
    policy, tapes = Policy(tiny_llama(seed=1), 32), Raises(1)
    with pytest.warns(UserWarning, match="recording raised RuntimeError: operation"):
        try:
            raise KeyError("of the caller")
        except KeyError:
            decode_in_waves(base, policy, plan, lambda: tapes)


class Differs(Tapes):
    """What it repeats gives other numbers, and writes them."""

    wave: Wave

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        repeat, output = super().record(step)

        def wrong() -> None:
            repeat()
            output.add_(1.0)
            self.spoil()

        return wrong, output

    def spoil(self) -> None:
        """Spoil the wave, too."""
        wave = self.wave
        wave.tokens.fill_(7)
        wave.logprobs.fill_(7.0)
        wave.lengths.fill_(1)
        wave.alive.fill_(False)
        wave.last.fill_(3)
        wave.drawn.add_(5)


def test_a_repetition_with_other_numbers_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    base, plan = drawn()
    policy, tapes = Policy(tiny_llama(seed=1), 32), Differs()
    make = decoding.Wave

    def kept(**fields: Any) -> Wave:
        tapes.wave = make(**fields)
        return tapes.wave

    monkeypatch.setattr(decoding, "Wave", kept)
    with pytest.warns(UserWarning, match=PLAINLY + "a repetition gave other logits") as caught:
        repeated = decode_in_waves(base, policy, plan, lambda: tapes)
    assert len(caught) == 1
    assert (tapes.recorded, tapes.repeated) == (1, 1)
    assert_same(repeated, decode_in_waves(base, policy, plan))


def test_a_repetition_that_was_never_run_is_found_out() -> None:
    """Its logits are what was in memory before."""

    class Idle(Tapes):
        def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            return lambda: None, super().record(step)[1]

    base, plan = drawn()
    policy = Policy(half_qwen2(seed=1), 32)
    with pytest.warns(UserWarning, match="Qwen2ForCausalLM is " + PLAINLY + "a repetition gave"):
        repeated = decode_in_waves(base, policy, plan, Idle)
    assert_same(repeated, decode_in_waves(base, policy, plan))


class Counts(nn.LayerNorm):
    """Uses a number of the host that changes from token to token."""

    count = 0

    def forward(self, input: Tensor) -> Tensor:
        self.count += 1
        return super().forward(input) * (1.0 + 0.01 * self.count)


def test_a_number_of_the_host_that_changes_is_found_out() -> None:
    base, plan = drawn()
    with pytest.warns(UserWarning, match="GPT2LMHeadModel is " + PLAINLY + "a repetition gave"):
        decode_in_waves(base, with_norm(Counts), plan, Tapes)


class Bakes(nn.LayerNorm):
    """Puts a number of the device, as the host sees it, into its operations."""

    def forward(self, input: Tensor) -> Tensor:
        normal = super().forward(input)
        return normal * (1.0 + float(normal[:, 0, 0].square().mean()))


def test_a_number_of_the_token_recorded_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """For that token itself the repetition gives what the step gives."""
    monkeypatch.setattr(Waits, "_waits", lambda *_: False)
    (base, plan), policy = drawn(), with_norm(Bakes)
    with pytest.warns(UserWarning, match=PLAINLY + "a repetition gave other logits"):
        rollout = decode_in_waves(base, policy, plan, Tapes)
    assert_same(rollout, decode_in_waves(base, policy, plan))


def test_a_model_that_waits_is_not_recorded() -> None:
    (base, plan), tapes, policy = drawn(), Tapes(), with_norm(Looks)
    cause = PLAINLY + "the host waits for the device at aten._local_scalar_dense"
    with pytest.warns(UserWarning, match=cause) as caught:
        rollout = decode_in_waves(base, policy, plan, lambda: tapes)
    assert len(caught) == 1
    assert tapes.recorded == 0
    assert_same(rollout, decode_in_waves(base, Policy(tiny_gpt2(seed=1), 32), plan))
