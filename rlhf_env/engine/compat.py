"""The one file that names private parts of torch and transformers.

A name that a release renames is mended here. Every fast path that rests on such a part is checked
once against the plain computation, at first use; if the numbers differ or a name is gone, the path
is left out, `warn_once` says so, and everything is computed the slow way with the same numbers:

=====================  ===========================================  ==============================
path                   rests on                                     checked in
=====================  ===========================================  ==============================
oneDNN products        ``torch.ops.mkldnn._linear_pointwise``       `has_onednn`
key/value cache        the contract of ``Cache`` and its layers     `engine.row_cache`
fused decode           attribute names of the Llama family          `engine.fused_decoder`
fused pass             the same, and PyTorch's attention for CPUs   `engine.fused.trunk`
packed pass            arguments handed on to attention functions   `engine.packed_pass`
flex attention         ``torch.compile`` and Triton, on a GPU       `engine.flex.trunk`
gradient checkpoints   the base class of a model's layers           `knows_layers`
=====================  ===========================================  ==============================
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

LOGGER = logging.getLogger("rlhf_env")
# Rotary embeddings whose angles depend on the longest text of the batch.
_ROPE_OF_THE_BATCH = ("dynamic", "longrope")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@functools.cache
def warn_once(path: str, consequence: str) -> None:
    """Say once in a process that a fast path does not work with the installed libraries."""
    warnings.warn(
        f"{path} does not work with torch {torch.__version__} and transformers "
        f"{transformers.__version__}; {consequence}, with the same numbers",
        stacklevel=3,
    )


def works(path: str, consequence: str, check: Callable[[], bool]) -> bool:
    """Return whether a self-check passes; warn once if it does not, and log what it raises."""
    try:
        passed = check()
    except (AttributeError, ImportError, LookupError, TypeError, ValueError, RuntimeError):
        LOGGER.info("the self-check of %s raised", path, exc_info=True)
        passed = False
    if not passed:
        warn_once(path, consequence)
    return passed


@functools.cache
def plain_llama() -> LlamaForCausalLM:
    """Return a tiny model of the installed transformers, for self-checks; nothing is drawn."""
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8,
        bos_token_id=None,
        eos_token_id=None,
    )
    # Whoever asks first may take no gradients; others may.
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config).float().eval().requires_grad_(False)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            values = torch.arange(weight.numel(), dtype=torch.float32) + number
            weight.copy_(values.mul(0.7).sin().view_as(weight))
    return model


# torch


@functools.cache
def has_onednn() -> bool:
    """Return whether oneDNN's product of float32 matrices is there and gives the right numbers."""
    if not torch.backends.mkldnn.is_available():
        return False
    return works("oneDNN's product", "PyTorch's own is used", _onednn_multiplies)


def onednn_linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return states · weightᵀ + bias, of float32 on the CPU, without a gradient."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def cpu_attention(
    query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Return what PyTorch's attention kernel for CPUs finds, and each row's normalizer.

    Args:
        query: [B, heads, T, D].
        key: [B, key heads, S, D].
        value: [B, key heads, S, D].
        is_causal: whether token i sees the first i + 1.
        **settings: ``attn_mask`` [T, S] or None, added to the scores, and ``scale``.
    """
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return attend(query, key, value, 0.0, is_causal, **settings)


def cpu_attention_backward(
    gradient: Tensor, *known: Tensor, is_causal: bool, **settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by query, key and value.

    Args:
        gradient: by what `cpu_attention` found.
        *known: its three arguments and two results.
        is_causal: as there.
        **settings: as there.
    """
    pull = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return pull(gradient, *known, 0.0, is_causal, **settings)


@torch.no_grad()
def _onednn_multiplies() -> bool:
    states, weight = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    products = [(weight, None), (weight, torch.arange(4.0)), (weight.view(3, 4).t(), None)]
    return all(
        torch.allclose(onednn_linear(states, w, bias), nn.functional.linear(states, w, bias))
        for w, bias in products
    )


def tensor_version(tensor: Tensor) -> int:
    """Return a number that most writes to a tensor raise; 0 where torch keeps none."""
    # Tensors made in inference mode count no versions.
    return 0 if tensor.is_inference() else tensor._version


def child_modules(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return a module's own table of its children, to be read only."""
    return module._modules


def own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield a module's own parameters and buffers, without those of its children."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            yield tensor


def view_of_module(
    module: nn.Module, kind: type[nn.Module], children: dict[str, nn.Module | None]
) -> nn.Module:
    """Return a module with the attributes of another, of a class and with children of its own."""
    made = object.__new__(kind)
    made.__dict__.update(module.__dict__)
    made._modules = children
    return made


def is_modified(module: nn.Module) -> bool:
    """Return whether a module has hooks, forward or backward, or another ``forward`` method."""
    has_hooks = any(getattr(module, name, None) for name in _HOOKS)
    return has_hooks or "forward" in module.__dict__


def compiles() -> bool:
    """Return whether `torch.compile` compiles; TORCH_COMPILE_DISABLE=1, for one, forbids it."""
    # Imported here because only a GPU needs it, and not all versions load it with torch.
    from torch._dynamo import config, eval_frame

    stance = getattr(getattr(eval_frame, "_stance", None), "stance", "default")
    return not config.disable and stance != "force_eager"


# transformers


def attention_implementation(config: object) -> str:
    """Return the name of the attention function that a configuration asks for."""
    return getattr(config, "_attn_implementation", None) or "eager"


def set_attention_implementation(config: Any, name: str) -> None:
    """Let a configuration ask for another attention function.

    Raises:
        RuntimeError: if it still asks for the former one.
    """
    config._attn_implementation = name
    if attention_implementation(config) != name:
        raise RuntimeError("the configuration does not take the name of an attention function")


def looks_up_attention(model: nn.Module) -> bool:
    """Return whether a model looks its attention function up by name."""
    return bool(getattr(model, "_supports_attention_backend", False))


def is_stateful(model: nn.Module) -> bool:
    """Return whether a model keeps a state that cannot be rewound."""
    return bool(getattr(model, "_is_stateful", False))


def rms_norm_epsilon(norm: Any) -> float:
    """Return what a norm of the Llama family adds to the mean square."""
    return norm.variance_epsilon


def rotates_by_position(config: Any) -> bool:
    """Return whether rotary angles depend on positions only, and not on the longest text."""
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("rope_type") not in _ROPE_OF_THE_BATCH


def rotary_angles(trunk: Any, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of a Llama trunk's rotations, each [..., D].

    Args:
        trunk: a model of the Llama family without its output embedding.
        hidden: gives device and type.
        positions: [R, T].
    """
    return trunk.rotary_emb(hidden, positions)


def is_recomputable(module: nn.Module) -> bool:
    """Return whether a module is a layer that transformers would run again for the gradient."""
    return any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(module).__mro__)


@functools.cache
def knows_layers() -> bool:
    """Return whether the layers of a plain Llama are found by `is_recomputable`."""
    return works(
        "gradient checkpointing",
        "each layer keeps what it computed",
        lambda: any(map(is_recomputable, plain_llama().modules())),
    )


def is_transposed_linear(kind: type) -> bool:
    """Return whether a class is GPT-2's linear layer, whose weight is [inputs, outputs]."""
    return kind.__module__.startswith("transformers.") and kind.__name__ == "Conv1D"
