"""Engines whose logits are made of those of others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor

from rlhf_env.engine.engine import Engine


class DerivedEngine(Engine):
    """An engine that changes or mixes the logits of others, which hold the caches."""

    def __init__(self, *engines: Engine) -> None:
        """Take one or more engines of one vocabulary."""
        super().__init__(engines[0].model, engines[0].vocab_size)
        self.engines = engines

    @abstractmethod
    def logits_view(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of each row's next token, [N, V]."""

    def caches(self, capacity: int) -> bool:
        """Return False: every token goes through `logits_view`."""
        return False

    def copy_row(self, source: int, target: int) -> None:
        """Copy one row's cache to another."""
        for engine in self.engines:
            engine.copy_row(source, target)

    def forget_row(self, row: int) -> None:
        """Forget one row's text."""
        for engine in self.engines:
            engine.forget_row(row)

    @contextmanager
    def assume_frozen(self) -> Iterator[None]:
        """Do not look for changed weights."""
        with ExitStack() as frozen:
            for engine in self.engines:
                frozen.enter_context(engine.assume_frozen())
            yield

    def reset_cache(self) -> None:
        """Drop the caches."""
        for engine in self.engines:
            engine.reset_cache()
