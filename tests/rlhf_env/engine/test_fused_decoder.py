"""Decoding in fewer operations gives the numbers of the model's own modules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from rlhf_env.engine import engine as engine_module
from rlhf_env.engine.engine import Engine
from rlhf_env.engine.fused import weights as fused_weights
from rlhf_env.engine.fused_decoder import FusedDecoder, supports_fused_decode
from tests.rlhf_env.engine.test_engine import eager_llama, tiny_mistral
from tests.toys import tiny_gpt2, tiny_llama

V = 32


def llama(**changes: object) -> nn.Module:
    torch.manual_seed(1)
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "vocab_size": V}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}
    config = LlamaConfig(**{**sizes, **heads, "attention_bias": True, **changes})
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def qwen2(tied: bool = True) -> nn.Module:
    torch.manual_seed(2)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=V,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=1,
            tie_word_embeddings=tied,
        )
    )
    for layer in model.model.layers:
        for name in ("q_proj", "k_proj", "v_proj"):
            nn.init.normal_(getattr(layer.self_attn, name).bias)
    return model.eval().requires_grad_(False)


LEAN = {
    "llama": tiny_llama,
    "biases and shared key heads": llama,
    "feed-forward biases": lambda: llama(mlp_bias=True),
    "yarn": lambda: llama(
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 8,
        }
    ),
    "qwen2": qwen2,
    "untied": lambda: qwen2(tied=False),
    "mistral": lambda: tiny_mistral(window=None),
}


@pytest.mark.parametrize("build", LEAN.values(), ids=LEAN.keys())
def test_the_numbers_are_those_of_the_modules(
    build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of different lengths, one of which begins anew, and one that is shown twice."""
    model = build()
    assert supports_fused_decode(model)
    lean = Engine(model, V)
    monkeypatch.setattr(engine_module, "supports_fused_decode", lambda model: False)
    plain = Engine(model, V)
    monkeypatch.undo()
    called: list[int] = []
    original = FusedDecoder.__call__
    monkeypatch.setattr(
        FusedDecoder, "__call__", lambda *call: (called.append(1), original(*call))[1]
    )
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, V, (4, 14), generator=generator)
    lengths = torch.tensor([1, 3, 5, 2])
    for step in range(8):
        if step == 4:
            tokens[2] = torch.randint(0, V, (14,), generator=generator)
            lengths[2] = 3
        found = lean(tokens, lengths)
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, "supports_fused_decode", lambda model: False)
            expected = plain(tokens, lengths)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)
        lengths = lengths + (torch.arange(4) != step % 4)
    # Twice where texts begin and others go on.
    assert len(called) == 10


def hooked() -> nn.Module:
    model = tiny_llama()
    model.model.layers[0].mlp.register_forward_hook(lambda *_: None)
    return model


def patched() -> nn.Module:
    model = tiny_llama()
    norm = model.model.norm
    forward = norm.forward
    norm.forward = lambda states: forward(states) * 2.0
    return model


def adapted() -> nn.Module:
    model = tiny_llama()
    return inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj"]), model)


class Louder(LlamaForCausalLM):
    """A model of somebody's own."""


def of_another_class() -> nn.Module:
    return Louder(tiny_llama().config)


def with_another_norm() -> nn.Module:
    model = tiny_llama()
    model.model.norm = nn.LayerNorm(model.config.hidden_size)
    return model


class ShiftedNorm(nn.Module):
    """Looks like a norm of the family, and is none."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, 1e-6

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(states, self.weight.shape, 1.0 + self.weight, 1e-6)


def with_a_shifted_norm() -> nn.Module:
    model = tiny_llama()
    model.model.norm = ShiftedNorm(model.model.norm)
    return model


OTHERS = {
    "gpt2": tiny_gpt2,
    "eager": eager_llama,
    "16 bits": lambda: tiny_llama().to(torch.bfloat16),
    "another activation": lambda: llama(hidden_act="gelu"),
    "hooked": hooked,
    "patched": patched,
    "adapted": adapted,
    "of another class": of_another_class,
    "another norm": with_another_norm,
    "shifted norm": with_a_shifted_norm,
}


@pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS.keys())
def test_other_models_run_their_modules(build: Callable[[], nn.Module]) -> None:
    assert not supports_fused_decode(build())


def test_large_models_run_their_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    weights = sum(p.numel() for p in model.model.parameters())
    monkeypatch.setattr(fused_weights, "_MOST_PARAMETERS", weights - 1)
    assert not supports_fused_decode(model)


def test_a_module_that_is_exchanged_is_noticed() -> None:
    model = tiny_llama()
    assert supports_fused_decode(model)
    model.model.norm = ShiftedNorm(model.model.norm)
    assert not supports_fused_decode(model)


def test_new_weights_are_followed() -> None:
    model = tiny_llama()
    engine = Engine(model, V)
    tokens = torch.arange(24).view(2, 12) % V
    for length in (4, 5):
        engine(tokens, torch.full((2,), length))
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.mul_(3.0)
    for length in (6, 7):
        found = engine(tokens, torch.full((2,), length))
    expected = model(input_ids=tokens[:, :7]).logits[:, -1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
