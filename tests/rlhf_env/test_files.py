"""Files get the permissions that the umask leaves, and leave nothing beside them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rlhf_env.files import read_json, remove_partial_files, write_atomically


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_honored(tmp_path: Path, mask: int, mode: int) -> None:
    former = os.umask(mask)
    try:
        write_atomically(tmp_path / "a", b"1")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_file_that_need_not_survive_a_power_cut_is_as_whole(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    write_atomically(tmp_path / "a", b"new", survives_power_cut=False)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"new")]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text")  # type: ignore[arg-type]
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    killed = [".settings.json.0123456789abcdef.partial", ".a\nb.fedcba9876543210.partial"]
    others = [".a.partial", "a.0123456789abcdef.partial", ".a.0123456789abcdef.partial.txt"]
    for name in (*killed, *others):
        (tmp_path / name).write_text("half")
    (tmp_path / ".folder.0123456789abcdef.partial").mkdir()
    remove_partial_files(tmp_path)
    remove_partial_files(tmp_path / "missing")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, ".folder.0123456789abcdef.partial"}


def test_json_that_cannot_be_read_has_two_kinds_of_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1]}')
    assert read_json(path) == {"a": [1]}
    for content, reason in (("[" * 200_000, "nested too deeply"), ("{", "Expecting")):
        path.write_text(content)
        with pytest.raises(ValueError, match=reason):
            read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)
