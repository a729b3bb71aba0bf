"""One rule for the ids of a response: after its prompt where that changes nothing of the prompt."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from rlhf_env.text.responses import response_ids
from tests.toys import EOS, tiny_tokenizer

PIECES = ["<unk>", "</s>", "▁", "a", "b", "▁a", "▁b", "ab", "▁ab"]


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer in the manner of SentencePiece: a text begins with a space, "a" + "b" merge."""
    merges = [("▁", "a"), ("▁", "b"), ("a", "b"), ("▁a", "b")]
    vocab = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


@pytest.mark.parametrize(
    ("prompt", "text", "pieces"),
    [
        # Alone " b" begins with two spaces: in its place it is what the policy writes.
        ("a", " b", ["▁b"]),
        # "a" and "b" would merge, so that the prompt would be another.
        ("a", "b", ["▁b"]),
        (None, " b", ["▁", "▁b"]),
        ([5], " b", ["▁", "▁b"]),
        ("", "b", ["▁b"]),
    ],
)
def test_ids_of_a_response(prompt: object, text: str, pieces: list[str]) -> None:
    ids = response_ids(text, "response", merging_tokenizer(), prompt)
    assert [PIECES[i] for i in ids.tolist()] == [*pieces, "</s>"]


def test_words_that_join_to_an_unknown_one_are_read_alone() -> None:
    tokenizer = tiny_tokenizer()
    assert response_ids("w3", "response", tokenizer, "w2").tolist() == [3, EOS]
    with pytest.raises(ValueError, match="a response cannot be encoded, got 'nobody'"):
        response_ids("nobody", "a response", tokenizer, "w2")


def test_without_an_end_token_nothing_is_added() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    assert response_ids("w3", "response", tokenizer, "w2").tolist() == [3]
