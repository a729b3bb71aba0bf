"""Packed texts through a trunk with flex attention, where that gives the numbers of padded ones.

What is computed is what `rlhf_env.engine.packed_pass` computes with one call of scaled-dot-product
attention for every prefix and length. On a CPU flex attention has no gradient.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rlhf_env.engine.compat import LOGGER, compiles, warn_once, works
from rlhf_env.engine.flex.attention import NAME, FlexFailed
from rlhf_env.engine.flex.mask import Sight, filled_length
from rlhf_env.engine.module_view import clone_modules
from rlhf_env.engine.packing import Packing
from rlhf_env.engine.row_cache import attention_window

_WARNING = "flex attention", "each text attends by itself"
# Triton multiplies matrices that are at least so wide.
_NARROWEST_HEAD = 16
# The longest text of the self-check: two blocks of the mask.
_LONGEST_PROBE = 256
# What was found out about each trunk.
_IS_EXACT: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def flex_hidden(
    trunk: Any, packing: Packing, wanted: Tensor, *, recomputes_layers: bool = False
) -> Tensor | None:
    """Return a trunk's output at some positions, [M, H], row by row.

    Args:
        trunk: one for which `supports_flex` holds.
        packing: the texts, in a row.
        wanted: [B, L] bool.
        recomputes_layers: keep of each layer only what goes in, and run it again for the gradient.

    Returns:
        None where flex attention failed; it is not asked for this trunk again.
    """
    fill = 0, filled_length(len(packing.tokens)) - len(packing.tokens)
    try:
        hidden = _row_hidden(
            trunk, packing, recomputes_layers, input_ids=pad(packing.tokens, fill)[None]
        )
    except FlexFailed:
        LOGGER.info("flex attention failed after its self-check", exc_info=True)
        _IS_EXACT[trunk] = False
        warn_once(*_WARNING)
        return None
    return hidden[packing.offsets[wanted]]


def supports_flex(trunk: Any) -> bool:
    """Return whether a trunk gives its own numbers and their gradient with flex attention.

    Found out once for each trunk on a GPU; a trunk that ought to and does not is warned of.
    """
    if not _may_flex(trunk):
        return False
    if trunk not in _IS_EXACT:
        # The check takes gradients, wherever it is asked for first, in the weights' own type.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(trunk.device.type, enabled=False),
        ):
            _IS_EXACT[trunk] = works(*_WARNING, lambda: _is_exact(trunk))
    return _IS_EXACT[trunk]


def _may_flex(trunk: Any) -> bool:
    """Return whether flex attention is for this device and these heads, and no dropout is on."""
    if trunk.device.type != "cuda" or trunk.training:
        return False
    config = trunk.config
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    return width >= _NARROWEST_HEAD and compiles()


def _row_hidden(trunk: Any, packing: Packing, recomputes_layers: bool, **inputs: Tensor) -> Tensor:
    """Return the output for a filled row, [T, H].

    Args:
        trunk: any that can be packed.
        packing: the texts.
        recomputes_layers: as in `flex_hidden`.
        **inputs: ``input_ids`` [1, T] or ``inputs_embeds`` [1, T, H].
    """
    (row,) = inputs.values()
    size = row.shape[1]
    positions = pad(packing.positions, (0, size - len(packing.positions)))[None]
    mask: Any = Sight.of(packing, size).blocks()
    clone = clone_modules(trunk, NAME, recomputes_layers)
    output = clone(position_ids=positions, use_cache=False, packing=mask, **inputs)
    return output.last_hidden_state[0]


def _is_exact(trunk: Any) -> bool:
    """Return whether rows of two lengths get the numbers of padded texts, and their gradient."""
    return all(_is_exact_for(trunk, prompts) for prompts in (2, 1))


def _is_exact_for(trunk: Any, prompts: int) -> bool:
    tokens, wanted = _probe(trunk, prompts)
    packing = Packing.of(tokens, wanted)
    size = filled_length(len(packing.tokens))
    embedded = trunk.get_input_embeddings()(pad(packing.tokens, (0, size - len(packing.tokens))))
    row = embedded.detach().requires_grad_()
    found = _row_hidden(trunk, packing, True, inputs_embeds=row[None])[packing.offsets[wanted]]
    texts = row[packing.offsets.clamp(max=size - 1)]
    plain = clone_modules(trunk, recomputes_layers=True)
    expected = plain(inputs_embeds=texts, use_cache=False).last_hidden_state[wanted]
    slopes = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(expected)
    try:
        slope = torch.autograd.grad(found, row, slopes)[0]
    except Exception as error:
        # Compilers raise all kinds.
        raise FlexFailed("flex attention has no gradient here") from error
    expected_slope = torch.autograd.grad(expected, row, slopes)[0]
    return _is_close(found, expected) and _is_close(slope, expected_slope)


def _probe(trunk: Any, prompts: int) -> tuple[Tensor, Tensor]:
    """Return four texts to each prompt [B, L], of several lengths, and what follows [B, L]."""
    limits = getattr(trunk.config, "max_position_embeddings", None), attention_window(trunk.config)
    width = min(_LONGEST_PROBE, *(limit for limit in limits if limit))
    opening = max(1, width // 2)
    rest = width - opening
    lengths = torch.tensor([1, min(2, rest), max(1, rest // 2), rest] * prompts) + opening
    ids, generator = getattr(trunk.config, "vocab_size", 2), torch.Generator().manual_seed(0)
    openings = torch.randint(ids, (prompts, opening), generator=generator)
    answers = torch.randint(ids, (len(lengths), rest), generator=generator)
    tokens = torch.cat([openings.repeat_interleave(4, dim=0), answers], dim=1)
    columns = torch.arange(width)
    wanted = (columns >= opening - 1) & (columns < lengths[:, None])
    return tokens.to(trunk.device), wanted.to(trunk.device)


@torch.no_grad()
def _is_close(found: Tensor, expected: Tensor) -> bool:
    """Return whether no token's vector is far off, relative to the longest one."""
    # Norms work in float32 whatever the weights are.
    tolerance = max(torch.finfo(kind).eps for kind in (expected.dtype, torch.float32)) ** 0.5
    off = (found - expected).float().norm(dim=-1).max()
    return bool(off <= tolerance * expected.float().norm(dim=-1).max())
