"""Checksums of a reward model's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_env.rewards.training.header import HEADER, read_header, write_header


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(bytes(range(64)))
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    write_header(tmp_path, {"format": "x/1", "max_tokens": 32, "per_token": False})
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    assert read_header(folder) == {"format": "x/1", "max_tokens": 32, "per_token": False}


@pytest.mark.parametrize("name", ["weights", "tokenizer.json"])
@pytest.mark.parametrize("bit", range(0, 64, 7))
def test_every_flipped_bit_is_noticed(folder: Path, name: str, bit: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} has changed since it was written"):
        read_header(folder)


def test_a_changed_header_is_noticed(folder: Path) -> None:
    text = (folder / HEADER).read_text().replace("32", "33")
    (folder / HEADER).write_text(text)
    with pytest.raises(ValueError, match=r"reward\.json has changed since it was written"):
        read_header(folder)


def test_a_missing_file_is_an_error(folder: Path) -> None:
    (folder / "weights").unlink()
    with pytest.raises(OSError, match="weights"):
        read_header(folder)


def test_a_folder_of_before_there_were_checksums(tmp_path: Path) -> None:
    (tmp_path / HEADER).write_text(json.dumps({"format": "x/1"}))
    assert read_header(tmp_path) == {"format": "x/1"}


@pytest.mark.parametrize("content", ["[]", "3", '{"sha256": 3}'])
def test_not_a_header(tmp_path: Path, content: str) -> None:
    (tmp_path / HEADER).write_text(content)
    with pytest.raises(ValueError, match="object"):
        read_header(tmp_path)
