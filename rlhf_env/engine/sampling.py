"""Drawing tokens from logits by the inverse of the cumulative distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlhf_env.engine.projection import row_count

# Probabilities are summed in blocks of this many tokens, and added up one by one in one block only.
_BLOCK = 256


def draw_tokens(
    logits: Tensor, uniforms: Tensor, temperature: float = 1.0, *, is_checked: bool = True
) -> tuple[Tensor, Tensor]:
    """Draw one token per row; a row's draw depends on its own logits and number only.

    Args:
        logits: [N, V] float32.
        uniforms: [N] float32 in [0, 1), the only randomness there is.
        temperature: divides the logits.
        is_checked: look at the logits, for which the host waits for the device.

    Returns:
        [N] tokens, none of probability zero, and [N] log softmax(logits / temperature) of them.

    Raises:
        ValueError: if a row's logits do not define a distribution.
    """
    few = row_count(logits)
    drawn = [
        _draw(rows, numbers[:, None], temperature, first=few * i if is_checked else None)
        for i, (rows, numbers) in enumerate(
            zip(logits.split(few), uniforms.split(few), strict=True)
        )
    ]
    tokens, logprobs = zip(*drawn, strict=True)
    return torch.cat(tokens), torch.cat(logprobs)


def inverse_cdf(probabilities: Tensor, uniforms: Tensor, *, is_checked: bool = True) -> Tensor:
    """Return the token of each row at which the cumulative distribution passes a number, [N].

    The plain form of `draw_tokens`, for distributions that are at hand.

    Args:
        probabilities: [N, V]; each row sums to 1 up to rounding.
        uniforms: [N] numbers in [0, 1).
        is_checked: look at the sums, for which the host waits for the device.

    Raises:
        ValueError: if a row is not a distribution.
    """
    cumulative = probabilities.cumsum(dim=-1)
    # Rounding leaves the last sum a little off 1: the draw is scaled to it and kept below it,
    # so that a token of probability zero is never chosen.
    total = cumulative[:, -1:]
    if is_checked:
        check_rows_finite(total[:, 0])
    wanted = _below(uniforms[:, None] * total, total)
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)


def check_rows_finite(values: Tensor, *, first: int = 0) -> None:
    """Raise ValueError if what was made of a row's logits is not finite.

    Args:
        values: [N] of the rows.
        first: number of the first of them.
    """
    # One number tells of all, unless they are so large that their sum is not finite.
    if math.isfinite(float(values.sum())) or values.isfinite().all():
        return
    row = first + int((~values.isfinite()).nonzero()[0])
    raise ValueError(
        f"the policy's logits for row {row} are not finite, expected numbers; "
        "its weights are damaged: go back to a checkpoint, and lower learning_rate"
    )


def _draw(
    logits: Tensor, uniforms: Tensor, temperature: float, *, first: int | None
) -> tuple[Tensor, Tensor]:
    """Draw for a few rows, of which the first has the number ``first``; None checks nothing."""
    count, vocab_size = logits.shape
    largest = logits.amax(dim=1, keepdim=True)
    padded = logits.new_empty(count, -(-vocab_size // _BLOCK) * _BLOCK)
    padded[:, vocab_size:].zero_()
    weights = torch.sub(logits, largest, out=padded[:, :vocab_size])
    if temperature != 1.0:
        weights.div_(temperature)
    weights.exp_()
    blocks = padded.view(count, -1, _BLOCK)
    ends = blocks.sum(dim=2).cumsum(dim=1)
    total = ends[:, -1:]
    if first is not None:
        check_rows_finite(total[:, 0], first=first)
    wanted = _below(uniforms * total, total)
    block = torch.searchsorted(ends, wanted, right=True)
    if first is None:
        # What is not a number has no place; its log-probability is not a number either.
        block = block.clamp(max=blocks.shape[1] - 1)
    begins = torch.cat([torch.zeros_like(total), ends], dim=1)
    within = blocks.take_along_dim(block[:, :, None], dim=1)[:, 0].cumsum(dim=1)
    wanted = _below(wanted - begins.gather(1, block), within[:, -1:])
    tokens = block * _BLOCK + torch.searchsorted(within, wanted, right=True)
    if first is None:
        tokens = tokens.clamp(max=vocab_size - 1)
    logprobs = (logits.gather(1, tokens) - largest) / temperature - total.log()
    return tokens.squeeze(1), logprobs.squeeze(1)


def _below(values: Tensor, limits: Tensor) -> Tensor:
    """Return the values, or the largest numbers below their limits: rounding may reach these."""
    return torch.minimum(values, limits.nextafter(limits.new_zeros(())))
