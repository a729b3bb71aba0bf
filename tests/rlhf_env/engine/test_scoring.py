"""Normalizers of finished episodes are those of the logits that the model itself answers with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rlhf_env.engine import projection
from rlhf_env.engine.language_model import LanguageModel
from rlhf_env.engine.scoring import rollout_log_normalizers, score_rollout
from tests.toys import tiny_gpt2, tiny_llama

TOKENS = torch.tensor([[2, 3, 4, 9, 1, 0], [2, 5, 1, 0, 0, 0], [7, 8, 9, 2, 4, 6]])
# Row 2 has what the environment said between two actions.
IS_ACTION = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 1, 1]]).bool()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("is_hooked", [False, True], ids=["weights", "module"])
@pytest.mark.parametrize("build", [tiny_llama, tiny_gpt2])
def test_normalizers_of_every_state(
    build: Callable[[], nn.Module],
    is_hooked: bool,
    temperature: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunk by chunk, of packed texts; a log-probability is a logit less its normalizer."""
    model = build()
    logits = model(input_ids=TOKENS).logits / temperature
    if is_hooked:
        model.get_output_embeddings().register_forward_hook(lambda *call: None)  # type: ignore[operator]
    monkeypatch.setattr(projection, "_CHUNK_ELEMENTS", 2 * 32)
    lm = LanguageModel(model, 32)
    found = rollout_log_normalizers(lm, TOKENS, IS_ACTION, temperature)
    expected = torch.where(IS_ACTION, logits.logsumexp(dim=-1).roll(1, dims=1), 0.0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    chosen = logits.roll(1, dims=1).gather(2, TOKENS[:, :, None]).squeeze(2)
    logprobs = score_rollout(lm, TOKENS, IS_ACTION, temperature)
    torch.testing.assert_close(
        logprobs[IS_ACTION], (chosen - found)[IS_ACTION], atol=1e-5, rtol=1e-5
    )
