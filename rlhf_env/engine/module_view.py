"""A second tree of modules around a model's weights, to run the same model in another way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

from rlhf_env.engine.compat import (
    child_modules,
    is_recomputable,
    knows_layers,
    set_attention_implementation,
    view_of_module,
)
from rlhf_env.engine.matmul import is_large_weight, linear


def clone_modules(
    model: nn.Module, attention: str | None = None, recomputes_layers: bool = False
) -> nn.Module:
    """Return a clone of a model that multiplies large matrices with `rlhf_env.engine.matmul`.

    Parameters, buffers and hooks are the model's own; only modules and configurations are new, so
    other users of the model, also in other threads, are not affected. Attributes of a module are
    those of the moment.

    Args:
        model: any.
        attention: name of the attention function that the clone asks for; the model's when None.
        recomputes_layers: keep of each layer only what goes in, and run it again for the gradient.
            `transformers` does so in training mode only, in which dropout would be on.
    """
    recomputes_layers = recomputes_layers and knows_layers()
    configs: dict[int, PreTrainedConfig] = {}

    def clone(module: nn.Module) -> nn.Module:
        is_swapped = type(module) is nn.Linear and is_large_weight(module.weight)
        children = {
            name: child if child is None else clone(child)
            for name, child in child_modules(module).items()
        }
        made = view_of_module(module, _Linear if is_swapped else type(module), children)
        config = getattr(module, "config", None)
        if attention is not None and isinstance(config, PreTrainedConfig):
            if id(config) not in configs:
                configs[id(config)] = copy.copy(config)
                set_attention_implementation(configs[id(config)], attention)
            made.__dict__["config"] = configs[id(config)]
        if recomputes_layers and is_recomputable(module):
            made.__dict__["forward"] = partial(_recomputed, made.forward)
        return made

    return clone(model)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


class _Linear(nn.Linear):
    def forward(self, states: Tensor) -> Tensor:  # type: ignore[override]
        return linear(states, self.weight, self.bias)
