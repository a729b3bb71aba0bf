"""A token of a packed row sees its own text, up to itself, and nothing else."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from rlhf_env.engine.flex.mask import BLOCK, Sight, filled_length
from rlhf_env.engine.packing import Packing
from tests.rlhf_env.engine.test_packing import groups


def dense(sight: Sight) -> Tensor:
    """What the mask's function says of all pairs of places, [T, T]."""
    size = len(sight.own)
    return create_mask(sight.blocks().mask_mod, 1, 1, size, size, device="cpu")[0, 0]


def test_a_row_is_at_least_two_blocks() -> None:
    lengths = {1: 256, 256: 256, 257: 384, 384: 384, 385: 512}
    assert {length: filled_length(length) for length in lengths} == lengths


def test_what_the_tokens_of_a_shared_prompt_see() -> None:
    """Prompt (1, 2) with 7, 8 and (5, 6), and prompt (3) with 4; the last place is filling."""
    tokens = torch.tensor([[1, 2, 7, 0], [1, 2, 5, 6], [3, 4, 0, 0], [1, 2, 8, 0]])
    wanted = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]]).bool()
    packing = Packing.of(tokens, wanted)
    assert packing.tokens.tolist() == [1, 2, 3, 7, 8, 5, 6, 4]
    seen = dense(Sight.of(packing, BLOCK))
    expected = [{0}, {0, 1}, {2}, {0, 1, 3}, {0, 1, 4}, {0, 1, 5}, {0, 1, 5, 6}, {2, 7}, {8}]
    assert [set(row.nonzero()[:, 0].tolist()) for row in seen[:9]] == expected


_GROUPS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=4)
_RESTS = st.lists(st.integers(0, 4), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(_GROUPS, _RESTS, st.booleans(), st.integers(0, 10**6))
def test_a_token_sees_its_text_up_to_itself(
    prompts: list[tuple[int, int]], rest: list[int], shares: bool, seed: int
) -> None:
    tokens, wanted = groups([p for p, _ in prompts], [n for _, n in prompts], rest, seed)
    packing = Packing.of(tokens, wanted, shares)
    seen = dense(Sight.of(packing, filled_length(len(packing.tokens))))
    expected = torch.eye(len(seen), dtype=torch.bool)
    lengths = tokens.shape[1] - wanted.flip(1).int().argmax(dim=1)
    for places, length in zip(packing.offsets, lengths.tolist(), strict=True):
        for column in range(length):
            expected[places[column], places[: column + 1]] = True
    assert torch.equal(seen, expected)


def occupied(counts: Tensor, listed: Tensor) -> Tensor:
    """The blocks that are listed, [N, N] bool."""
    found = torch.zeros(listed.shape[2:], dtype=torch.bool)
    for row, (count, order) in enumerate(zip(counts[0, 0], listed[0, 0], strict=True)):
        found[row, order[:count].long()] = True
    return found


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 4)), min_size=1, max_size=3),
    st.lists(st.integers(0, 200), min_size=1, max_size=4),
    st.integers(0, 10**6),
)
def test_blocks_are_those_of_all_pairs(
    prompts: list[tuple[int, int]], rest: list[int], seed: int
) -> None:
    """PyTorch's own function looks at all pairs of places."""
    tokens, wanted = groups([p for p, _ in prompts], [n for _, n in prompts], rest, seed)
    packing = Packing.of(tokens, wanted)
    size = filled_length(len(packing.tokens))
    ours = Sight.of(packing, size).blocks()
    theirs = create_block_mask(ours.mask_mod, None, None, size, size, device="cpu")
    some, expected_some = (occupied(m.kv_num_blocks, m.kv_indices) for m in (ours, theirs))
    whole, expected_whole = (
        occupied(m.full_kv_num_blocks, m.full_kv_indices)  # type: ignore[arg-type]
        for m in (ours, theirs)
    )
    assert ours.shape == theirs.shape
    assert not (some & whole).any()
    assert torch.equal(some | whole, expected_some | expected_whole)
    # Blocks that a prefix and its suffix fill only together are looked into.
    assert not (whole & ~expected_whole).any()


def test_blocks_of_a_shared_prompt_are_not_looked_into() -> None:
    """256 tokens of a prompt, then 256 of responses to it, which see all of them."""
    tokens, wanted = groups([256], [4], [64])
    packing = Packing.of(tokens, wanted)
    mask = Sight.of(packing, filled_length(len(packing.tokens))).blocks()
    assert packing.prefixes == ((256, 1),)
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_num_blocks.tolist() == [[[0, 1, 2, 2]]]
    assert mask.kv_num_blocks.tolist() == [[[1, 1, 1, 1]]]
