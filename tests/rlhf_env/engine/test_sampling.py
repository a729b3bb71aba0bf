"""Tokens are drawn by the inverse of the cumulative distribution."""

from __future__ import annotations

import pytest
import torch

from rlhf_env.engine.sampling import draw_tokens

TENTHS = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()


@pytest.mark.parametrize(
    ("temperature", "drawn", "probabilities"),
    [
        (1.0, [0, 0, 1, 3, 3], [0.1, 0.1, 0.2, 0.4, 0.4]),
        (0.5, [0, 1, 2, 3, 3], [1 / 30, 4 / 30, 9 / 30, 16 / 30, 16 / 30]),
    ],
)
def test_known_numbers(temperature: float, drawn: list[int], probabilities: list[float]) -> None:
    """Cumulative 0.1, 0.3, 0.6, 1 at temperature 1, and 1/30, 5/30, 14/30, 1 at 1/2."""
    uniforms = torch.tensor([0.0, 0.05, 0.2, 0.7, 0.999999])
    tokens, logprobs = draw_tokens(TENTHS.expand(5, 4), uniforms, temperature)
    assert tokens.tolist() == drawn
    assert logprobs.exp().tolist() == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.parametrize("vocab_size", [255, 256, 257, 700, 50_257])
def test_every_token_of_a_large_vocabulary_has_its_share(vocab_size: int) -> None:
    """Equal logits: the middle of the k-th of V equal parts draws token k."""
    wanted = torch.linspace(0, vocab_size - 1, 40).long()
    uniforms = (wanted.double() + 0.5) / vocab_size
    tokens, logprobs = draw_tokens(torch.full((40, vocab_size), 3.0), uniforms.float())
    assert torch.equal(tokens, wanted)
    assert logprobs.exp().tolist() == pytest.approx([1 / vocab_size] * 40, rel=1e-4)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_a_token_of_probability_zero_is_never_drawn(uniform: float) -> None:
    logits = torch.full((1, 600), -torch.inf)
    logits[0, [3, 300]] = 0.0
    tokens, logprobs = draw_tokens(logits, torch.tensor([uniform]))
    assert tokens.item() == (3 if uniform < 0.5 else 300)
    assert logprobs.item() == pytest.approx(-0.693147, abs=1e-6)


def test_a_row_s_draw_does_not_depend_on_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 700, generator=generator)
    uniforms = torch.rand(300, generator=generator)
    tokens, logprobs = draw_tokens(logits, uniforms)
    for row in (0, 186, 187, 299):
        alone = draw_tokens(logits[row : row + 1], uniforms[row : row + 1])
        assert (tokens[row], logprobs[row]) == (alone[0][0], alone[1][0])


def test_damaged_logits_are_named_by_their_row() -> None:
    logits = torch.zeros(300, 700)
    logits[290, 7] = torch.nan
    with pytest.raises(ValueError, match="logits for row 290 are not finite"):
        draw_tokens(logits, torch.full((300,), 0.5))
