"""Finished texts through a small decoder of the Llama family, a layer at a time.

The numbers are those of the modules in a packed pass, up to rounding, and so is the gradient; what
is saved is the overhead of each of a module's operations and most of what they would keep.
"""

from __future__ import annotations

import functools
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rlhf_env.engine.compat import plain_llama, works
from rlhf_env.engine.fused.attention import PackedAttention
from rlhf_env.engine.fused.layer import run_layer
from rlhf_env.engine.fused.norm import RootMeanSquareNorm
from rlhf_env.engine.fused.weights import LayerShape, is_plain_decoder, layer_weights, turns
from rlhf_env.engine.packing import Packing

# What was found out about each trunk, and of which modules it was made then.
_IS_EXACT: WeakKeyDictionary[nn.Module, tuple[list[int], bool]] = WeakKeyDictionary()


def fused_hidden(
    trunk: Any, packing: Packing, places: Tensor, *, recomputes_layers: bool = False
) -> Tensor:
    """Return the output of a trunk for which `supports_fused_pass` holds, [M, H].

    Args:
        trunk: a decoder without its output embedding.
        packing: the texts, in a row.
        places: [M] the tokens of the row whose output is wanted, in any order; some may be equal.
        recomputes_layers: keep of each layer only what goes in, and run it again for the gradient.
    """
    shape = LayerShape.of(trunk)
    hidden = trunk.embed_tokens(packing.tokens)
    by, attention = turns(trunk, hidden, packing.positions), PackedAttention(packing, shape)
    # The last layer's own tokens are seen by none but themselves, except as keys and values.
    rows, which = places.unique(return_inverse=True)
    for layer in trunk.layers:
        asked = rows if layer is trunk.layers[-1] else None
        inputs = hidden, layer_weights(layer), shape, attention, by, asked
        if recomputes_layers and torch.is_grad_enabled():
            hidden = checkpoint(run_layer, *inputs, use_reentrant=False, preserve_rng_state=False)
        else:
            hidden = run_layer(*inputs)
    normed = RootMeanSquareNorm.apply(hidden, shape.epsilon) * trunk.norm.weight
    return normed.index_select(0, which)


def supports_fused_pass(trunk: nn.Module) -> bool:
    """Return whether `fused_hidden` gives the trunk's numbers and their gradient."""
    is_plain = (
        is_plain_decoder(trunk)
        and next(trunk.parameters()).is_cpu
        and not torch.is_autocast_enabled("cpu")
    )
    # The check takes gradients, wherever it is asked for first.
    with torch.inference_mode(False):
        if not is_plain or not _knows_family():
            return False
        modules = [id(module) for module in trunk.modules()]
        if trunk not in _IS_EXACT or _IS_EXACT[trunk][0] != modules:
            _IS_EXACT[trunk] = modules, _is_exact(trunk)
        return _IS_EXACT[trunk][1]


@functools.cache
def _knows_family() -> bool:
    """Return whether the plain Llama of the installed transformers is built as expected."""
    return works(
        "the fused pass", "finished texts run the modules", lambda: _is_exact(plain_llama().model)
    )


def _is_exact(trunk: Any) -> bool:
    """Return whether texts that share a beginning get the trunk's numbers and gradient."""
    tokens = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]])
    wanted = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 0, 1]]).bool()
    weight: Tensor = trunk.layers[0].self_attn.k_proj.weight
    probes = weight, trunk.embed_tokens.weight
    frozen = [probe for probe in probes if not probe.requires_grad]
    try:
        with torch.enable_grad():
            for probe in frozen:
                probe.requires_grad_(True)
            expected = trunk(input_ids=tokens, use_cache=False).last_hidden_state[wanted]
            packing = Packing.of(tokens, wanted)
            found = fused_hidden(trunk, packing, packing.offsets[wanted])
            slopes = torch.linspace(-1.0, 1.0, expected.numel()).view_as(expected)
            pairs = [torch.autograd.grad(each, probes, slopes) for each in (expected, found)]
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    finally:
        for probe in frozen:
            probe.requires_grad_(False)
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4) and all(
        torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))
        for theirs, ours in zip(*pairs, strict=True)
    )
