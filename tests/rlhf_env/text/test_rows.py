"""One reader of JSON lines and Parquet."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from rlhf_env.rewards.feedback.files import read_preferences
from rlhf_env.rewards.feedback.rated_texts import read_rated_texts
from rlhf_env.text import rows
from rlhf_env.text.prompts import read_prompts
from rlhf_env.text.rows import read_rows

_PACKED = gzip.compress(b'{"prompt": "a"}', mtime=0)
_FLIPPED = _PACKED[:10] + b"\xff" + _PACKED[11:]
ROWS = [{"text": "one", "mean": 1.5, "chat": [{"role": "user"}]}, {"text": "two", "mean": 2.0}]


def written(folder: Path, name: str) -> Path:
    path = folder / name
    if ".parquet" in name:
        parquet.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_text("\n\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.parquet", "a.parquet.gz"])
def test_rows_have_numbers_and_fields(tmp_path: Path, name: str) -> None:
    numbers, found = zip(*read_rows(written(tmp_path, name), "data"), strict=True)
    assert numbers == ((1, 2) if "parquet" in name else (1, 3))
    assert [(row["text"], row["mean"]) for row in found] == [("one", 1.5), ("two", 2.0)]
    assert found[0]["chat"] == [{"role": "user"}]


@pytest.mark.parametrize("read", [read_prompts, read_preferences])
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"a": 1}\n{', "line 2 of .* is not JSON"),
        ("a.jsonl", b"[" * 200_000, "line 1 of .* is not JSON: nested too deeply"),
        ("a.jsonl", b"\xff\xfe", "cannot read .* as UTF-8 text"),
        ("a.jsonl.gz", b"not packed", "cannot read .*: Not a gzipped file"),
        ("a.jsonl.gz", _FLIPPED, "cannot read .*: Error -3 while decompressing"),
        ("a.parquet.gz", _PACKED[:-9], "cannot read .*: Compressed file ended"),
        ("a.parquet", b"PAR1 no", "cannot read .* as Parquet"),
    ],
)
def test_every_reader_says_the_same(
    tmp_path: Path, read: Any, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"--data: {reason}"):
        read(tmp_path / name, option="--data")


def test_ratings_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    original = rows.unpacked
    monkeypatch.setattr(
        rows, "unpacked", lambda path, option: (opened.append(path), original(path, option))[1]
    )
    rated = read_rated_texts(written(tmp_path, "a.jsonl"), "text", "mean")
    assert (list(rated.texts), list(rated.ratings)) == (["one", "two"], [1.5, 2.0])
    assert len(opened) == 1
    with pytest.raises(ValueError, match=r"ratings must be an existing \.jsonl, .* got .*a\.txt"):
        read_rated_texts(tmp_path / "a.txt", "text", "mean")


def bomb(folder: Path, kind: str) -> Path:
    """A file of some kilobytes that stands for 64 MB and more."""
    zeros = pa.array(np.zeros(1024, dtype=np.int32))
    prompts = {
        "dictionary": pa.DictionaryArray.from_arrays(zeros, pa.array(["a" * (1 << 18)])),
        "page": pa.array(["a" * (1 << 26)]),
        "nulls": pa.ListArray.from_arrays(pa.array([0, 1 << 25], pa.int32()), pa.nulls(1 << 25)),
    }
    if kind == "gzip":
        path = folder / "bomb.jsonl.gz"
        path.write_bytes(gzip.compress(bytes(1 << 25)))
        return path
    path = folder / "bomb.parquet"
    table = pa.table({"prompt": prompts[kind]})
    parquet.write_table(table, path, compression="zstd", use_dictionary=kind == "dictionary")
    return path


@pytest.mark.parametrize("kind", ["gzip", "dictionary", "page", "nulls"])
def test_a_small_file_that_unpacks_to_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(rows, "MAX_UNPACKED", 1 << 23)
    path = bomb(tmp_path, kind)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"--data: .* must unpack to at most 8388608 bytes"):
        read_prompts(path, "--data")


def test_the_limit_is_not_for_files_that_are_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_UNPACKED", 4)
    assert read_prompts(written(tmp_path, "a.jsonl"), "--data", "text") == ["one", "two"]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"1\n2\n"))
    assert [row for _, row in read_rows(tmp_path / "a.jsonl.gz", "--data")] == [1, 2]
