"""Running layers again for the gradient changes memory, and no number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from agents import GRPO, PPO
from agents.policy import Policy
from tests.agents.episodes import make_envs
from tests.rlhf_env.engine.test_engine import eager_llama
from tests.rlhf_env.engine.test_update_memory import peak_bytes, small_llama
from tests.toys import tiny_gpt2, tiny_llama, tiny_llama_task

BUILDS = {
    "llama": tiny_llama,
    "gpt2 with dropout": lambda: tiny_gpt2(dropout=0.3),
    "padded": eager_llama,
}


def episodes(rows: int = 5, width: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 32, (rows, width), generator=generator)
    columns = torch.arange(width)
    lengths = torch.tensor([12, 7, 9, 12, 5])[:rows, None]
    return tokens, (columns >= 3) & (columns < lengths)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS.keys())
def test_the_gradient_is_the_same(build: Callable[[], nn.Module]) -> None:
    tokens, is_action = episodes()
    found = []
    for again in (False, True):
        policy = Policy(build(), 32, gradient_checkpointing=again)
        described = policy.evaluate_tokens(tokens, is_action)
        (described.logprobs.sum() + 0.1 * described.entropy.sum()).backward()
        gradients = [p.grad for p in policy.model.parameters() if p.grad is not None]
        found.append([described.logprobs.detach(), *gradients])
    assert len(found[0]) > 10
    for kept, recomputed in zip(*found, strict=True):
        assert torch.equal(kept, recomputed)


def test_less_is_held() -> None:
    """Eight layers, of which each keeps a few times its input."""
    tokens = torch.randint(0, 64, (4, 256))
    is_action = torch.arange(256).expand(4, 256) >= 8
    peaks = []
    for again in (False, True):
        model = small_llama(64, 256)
        layers = [small_llama(64, 256).model.layers[0] for _ in range(8)]
        for number, layer in enumerate(layers):
            layer.self_attn.layer_idx = number
        model.model.layers = nn.ModuleList(layers)
        model.config.num_hidden_layers = 8
        policy = Policy(model, 64, gradient_checkpointing=again)
        policy.evaluate_tokens(tokens[:1], is_action[:1])
        peaks.append(
            peak_bytes(
                lambda p=policy: p.evaluate_tokens(tokens, is_action).logprobs.sum().backward()
            )
        )
    assert peaks[1] < peaks[0] / 2


@pytest.mark.parametrize("kind", [GRPO, PPO])
def test_agents_learn_the_same(kind: type[GRPO | PPO]) -> None:
    weights = []
    for again in (False, True):
        agent = kind(
            make_envs(tiny_llama_task(), 8),
            episodes_per_update=8,
            group_size=4 if kind is GRPO else 1,
            gradient_checkpointing=again,
        )
        agent.update(agent.collect())
        weights.append(torch.cat([p.detach().flatten() for p in agent.policy.parameters()]))
    assert torch.equal(*weights)
