"""When a step is recorded and when a recording is trusted."""

from __future__ import annotations

import functools
import itertools
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from weakref import WeakSet

import torch
from torch import Tensor, nn

from agents.rollouts.waves.recorders import Recorder
from agents.rollouts.waves.waiting import Waits
from agents.rollouts.waves.wave import Wave

# Steps before the first recording of a wave, as many as PyTorch's documentation takes, and before
# that of every further span, whose shapes are new.
_FIRST_STEPS, _FURTHER_STEPS = 3, 1
# Fewer tokens of a span are not worth a recording, which takes as long as some steps; more than are
# drawn until the first repetition stands.
_FEWEST = 16
# Logits of a repetition may differ so much from those of the step, absolutely and relatively: the
# operations are the same, but a library may multiply in another order.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_TOLERANCE_16_BITS = 3e-2

# Models that are not recorded again in this process.
_REFUSED: WeakSet[nn.Module] = WeakSet()


class Repeating:
    """Draws the tokens of a wave, most of them by repeating a recorded step.

    Nothing is taken on trust. The first step is looked at for operations that cannot be recorded;
    a recording that fails has done nothing; and the first repetition of a wave is undone, done
    again step by step, and compared. It is that of a later token than the one recorded, so that a
    number of the host that should have changed is found out. Whatever fails, the wave goes on step
    by step from where it is, later waves of the model do so from the start, and a warning says
    why.
    """

    def __init__(self, wave: Wave, recorder: Recorder | None) -> None:
        """Take a wave whose first tokens are drawn; without a recorder nothing is repeated."""
        self._wave = wave
        self._model = wave.policy.lm.model
        self._recorder = None if self._model in _REFUSED else recorder
        self._is_checked = False

    def draws(self, spans: Iterable[tuple[int, int]]) -> Iterator[Callable[[], object]]:
        """Yield what draws a token, for each token in turn; each is to be called before the next.

        Args:
            spans: every span and its number of tokens.
        """
        for span, count in spans:
            yield from self._at_span(partial(self._wave.step, span), count)

    def _at_span(self, step: Callable[[], Tensor], count: int) -> Iterator[Callable[[], object]]:
        if self._recorder is None or count < _FEWEST:
            yield from itertools.repeat(step, count)
            return
        plain = _FURTHER_STEPS
        if not self._is_checked:
            yield partial(self._watched, step)
            count, plain = count - 1, _FIRST_STEPS - 1
        yield from itertools.repeat(step, plain)
        count -= plain
        recorded = self._recorded(step)
        if recorded is None:
            yield from itertools.repeat(step, count)
            return
        repeat, output = recorded
        if not self._is_checked:
            yield step
            yield partial(self._checked, step, repeat, output)
            count -= 2
        # Their memory may serve what is recorded next.
        del recorded, output
        yield from itertools.repeat(step if self._recorder is None else repeat, count)

    def _watched(self, step: Callable[[], Tensor]) -> None:
        """Do a step and look for operations that no recording can hold."""
        with Waits(self._wave.tokens.device) as waits:
            step()
        if waits.found:
            self._give_up(f"the host waits for the device at {waits.found[0]}")

    def _recorded(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor] | None:
        if self._recorder is None:
            return None
        around = sys.exception()
        try:
            return self._recorder.record(step)
        # Whatever is wrong with the step itself is raised by the step that follows.
        except Exception as error:
            self._give_up(f"recording raised {_first_line(error, around)}")
            return None

    def _checked(
        self, step: Callable[[], Tensor], repeat: Callable[[], None], output: Tensor
    ) -> None:
        """Draw a token both ways, and let that of the step stand."""
        before = self._wave.saved()
        repeat()
        self._wave.restore(before)
        logits = step()
        dtype = next(self._model.parameters()).dtype
        tolerance = _TOLERANCE.get(dtype, _TOLERANCE_16_BITS)
        self._is_checked = torch.allclose(
            output, logits, rtol=tolerance, atol=tolerance, equal_nan=True
        )
        if not self._is_checked:
            self._give_up("a repetition gave other logits than the step")

    def _give_up(self, reason: str) -> None:
        self._recorder = None
        _REFUSED.add(self._model)
        _warn(type(self._model).__name__, reason)


def _first_line(error: BaseException, around: BaseException | None) -> str:
    """Return what went wrong first: ending a capture that failed raises an error that says less.

    Args:
        error: what was raised.
        around: what the caller was handling already, which is not its cause.
    """
    while error.__context__ not in (None, around):
        error = error.__context__
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


@functools.cache
def _warn(model: str, reason: str) -> None:
    warnings.warn(
        f"{model} is decoded without CUDA graphs, with the same numbers: {reason}", stacklevel=2
    )
