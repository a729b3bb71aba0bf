"""Prompts from lists, files and data sets, and what is said about bad ones."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from rlhf_env.text.prompts import encode_prompt, encode_prompts, read_prompts
from tests.toys import tiny_tokenizer

HOSTILE = ["a\u2028b", "\u202eevil", "naïve 猫 👩‍👩‍👧", "tab\there", "nul\x00byte", "</s> w2"]


def read(path: Path | str, **options: Any) -> list[Any]:
    return read_prompts(path, "prompts", **options)


class TestSources:
    def test_lists(self) -> None:
        assert read_prompts(["a", "b"], "prompts") == ["a", "b"]
        assert read_prompts((), "prompts") == []
        assert read_prompts((x for x in "ab"), "prompts") == ["a", "b"]

    def test_text(self, tmp_path: Path) -> None:
        path = tmp_path / "p.txt"
        path.write_bytes("\ufeffone\r\ntwo \r\n\r\n  \n".encode() + "thrée\u2028still\n".encode())
        assert read(path) == ["one", "two ", "thrée\u2028still"]
        packed = tmp_path / "p.txt.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert read(str(packed)) == ["one", "two ", "thrée\u2028still"]

    def test_jsonl(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"prompt": HOSTILE, "score": range(len(HOSTILE))})
        for name in ("p.jsonl", "p.jsonl.gz", "p.json"):
            frame.to_json(tmp_path / name, orient="records", lines=True)
            assert read(tmp_path / name) == HOSTILE
        (tmp_path / "q.jsonl").write_text('{"text": "b", "question": "a"}\n\n')
        assert read(tmp_path / "q.jsonl") == ["b"]
        assert read(tmp_path / "q.jsonl", column="question") == ["a"]

    def test_parquet(self, tmp_path: Path) -> None:
        pd.DataFrame({"prompt": HOSTILE}).to_parquet(tmp_path / "p.parquet")
        assert read(tmp_path / "p.parquet") == HOSTILE

    def test_parquet_of_ids(self, tmp_path: Path) -> None:
        pd.DataFrame({"prompt": [[2, 3], [4]]}).to_parquet(tmp_path / "p.parquet")
        encoded = encode_prompts(read(tmp_path / "p.parquet"), tiny_tokenizer(), 4)
        assert [ids.tolist() for ids in encoded] == [[2, 3], [4]]

    def test_data_set_column(self) -> None:
        data = Dataset.from_dict({"question": ["a", "b"]})
        assert read_prompts(data["question"], "prompts") == ["a", "b"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("p.csv", "a", r"prompts must be a .txt, .jsonl, .* file, got .*p.csv"),
            ("p", "a", "prompts must be a .txt"),
            ("p.jsonl", '{"prompt": "a"}\n{oops\n', "prompts: line 2 of .* is not JSON"),
            ("p.jsonl", '"text"\n', "line 1 of .* must be a JSON object, got 'text'"),
            ("p.jsonl", "", "must hold at least one row, got none"),
            ("p.jsonl", '{"question": "a"}\n', r"column 'prompt' or 'text', got \['question'\]"),
            ("p.jsonl", '{"prompt": "a"}\n{"text": "b"}\n', "row 2 of .* has no 'prompt'"),
            ("p.parquet", "PAR1 no", "prompts: cannot read .*p.parquet' as Parquet"),
            ("p.txt", b"\xff\xfe\x00", "prompts: cannot read .* as UTF-8 text"),
            ("p.txt.gz", "not packed", "cannot read"),
            ("p.txt.gz", gzip.compress(b"one\n" * 99, mtime=0)[:-12], "cannot read"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(ValueError, match=message):
            read(path)

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "link.txt").symlink_to(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "pipe.txt")
        for path in (tmp_path, tmp_path / "link.txt", tmp_path / "pipe.txt", "/dev/zero", "Hello"):
            with pytest.raises(ValueError, match="list of texts or an existing file, got"):
                read(path)
        for value in (5, None, True):
            with pytest.raises(ValueError, match="a list, a file or a data set column, got"):
                read_prompts(value, "prompts")

    def test_missing_column(self, tmp_path: Path) -> None:
        path = tmp_path / "p.jsonl"
        path.write_text('{"prompt": "a", "id": 1}')
        with pytest.raises(ValueError, match=r"column 'promt', got \['id', 'prompt'\]"):
            read(path, column="promt")


class TestEncoding:
    def test_ids_of_every_kind(self) -> None:
        for ids in ([2, 3], (2, 3), np.array([2, 3]), torch.tensor([2, 3], dtype=torch.int32)):
            encoded = encode_prompt(ids, "prompt 0", tiny_tokenizer())
            assert encoded.tolist() == [2, 3]
            assert encoded.dtype == torch.int64

    def test_it_is_a_copy(self) -> None:
        ids = torch.tensor([2, 3])
        encode_prompt(ids, "prompt 0", tiny_tokenizer()).zero_()
        assert ids.tolist() == [2, 3]

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            ("", "prompt 7 has no tokens"),
            ("   ", "prompt 7 has no tokens"),
            ([], "prompt 7 has no tokens"),
            (None, "text or a list of token ids, got None"),
            (3, "got 3"),
            (2.5, "got 2.5"),
            ([2.5], "got"),
            ([[2, 3]], "got"),
            ({"prompt": "a"}, "got"),
            (["w2", "w3"], "got"),
            ([True, False], "got"),
            ([2, 32], r"holds the id 32, outside the vocabulary \[0, 32\)"),
            ([-1], "holds the id -1"),
            ("w2 \ud800", "prompt 7 is not valid Unicode"),
        ],
    )
    def test_bad_prompts(self, prompt: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            encode_prompt(prompt, "prompt 7", tiny_tokenizer())

    def test_messages_stay_short(self) -> None:
        with pytest.raises(ValueError) as caught:
            encode_prompt([2.5] * 10**5, "prompt 0", tiny_tokenizer())
        assert len(str(caught.value)) < 300

    def test_long_prompts(self) -> None:
        """Trap B10: dropped with a count or refused, never cut."""
        prompts = ["w2", "w3 " * 9, "w4 " * 5]
        with pytest.raises(ValueError, match=r"prompt 1 has 9 tokens, more than .* = 4"):
            encode_prompts(prompts, tiny_tokenizer(), 4)
        with pytest.warns(UserWarning, match="dropped 2 of 3 prompts longer than 4 tokens"):
            kept = encode_prompts(prompts, tiny_tokenizer(), 4, drop_long=True)
        assert [ids.tolist() for ids in kept] == [[2]]
        with pytest.raises(ValueError, match=r"all 2 prompts are longer .* shortest has 5 tokens"):
            encode_prompts(prompts[1:], tiny_tokenizer(), 4, drop_long=True)

    def test_a_million_characters(self) -> None:
        with pytest.warns(UserWarning, match="dropped 1 of 2"):
            kept = encode_prompts(["w2", "w3 " * 330_000], tiny_tokenizer(), 4, drop_long=True)
        assert len(kept) == 1

    def test_one_start_token_and_no_end(self) -> None:
        """Trap B5."""
        tokenizer = framing_tokenizer("<s>", "</s>")
        assert encode_prompt("a b", "prompt 0", tokenizer).tolist() == [0, 2, 3]
        assert encode_prompt("", "prompt 0", tokenizer).tolist() == [0]
        assert encode_prompt("a </s>", "prompt 0", tokenizer).tolist() == [0, 2, 1]
        assert encode_prompt([0, 2], "prompt 0", tokenizer).tolist() == [0, 2]

    def test_ids_are_never_encoded_again(self) -> None:
        """Trap B4: "ab" is one token, its letters two."""
        vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4}
        inner = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
        assert encode_prompt("ab", "prompt 0", tokenizer).tolist() == [4]
        assert encode_prompt([2, 3], "prompt 0", tokenizer).tolist() == [2, 3]


def framing_tokenizer(start: str, end: str) -> PreTrainedTokenizerFast:
    """Puts a start token before and an end token behind every text."""
    inner = Tokenizer(models.WordLevel({start: 0, end: 1, "a": 2, "b": 3}))
    from tokenizers import pre_tokenizers

    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 0), (end, 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=start, eos_token=end)


def test_json_nested_too_deeply(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"line 1 of .* is not JSON: nested too deeply"):
        read_prompts(path, "--prompts")


@pytest.mark.parametrize("place", [4, 40, 200, -30, -6])
def test_a_damaged_parquet_file(tmp_path: Path, place: int) -> None:
    pd = pytest.importorskip("pandas")
    path = tmp_path / "prompts.parquet"
    pd.DataFrame({"prompt": ["one", "two"]}).to_parquet(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)
    try:
        read_prompts(path, "--prompts")
    except ValueError as error:
        assert "--prompts: " in str(error)


def test_rows_of_a_data_set() -> None:
    rows = [{"prompt": "one", "answer": 1}, {"prompt": "two", "answer": 2}]
    assert read_prompts(rows, "prompts") == ["one", "two"]
    assert read_prompts(Dataset.from_list(rows), "prompts") == ["one", "two"]
    assert read_prompts(rows, "prompts", column="answer") == [1, 2]
    with pytest.raises(ValueError, match=r"data set must have a column 'prompt' or 'text', got"):
        read_prompts([{"question": "one"}], "prompts")
    with pytest.raises(ValueError, match=r"must be one data set, got dict of \['train'\]; choose"):
        read_prompts({"train": rows}, "prompts")
