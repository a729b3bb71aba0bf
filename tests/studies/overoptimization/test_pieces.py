"""Light imports only: the processes of these tests import this module."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studies.overoptimization.pieces import done, proxy_folder
from studies.overoptimization.settings import Proxy, Study

PIECES = [Proxy(layers=1, pairs=pairs, members=1, seed=0) for pairs in (120, 130, 140)]


def leave_folder(study: Study, proxy: Proxy) -> None:
    proxy_folder(study, proxy).mkdir(parents=True)


def refuse_second(study: Study, proxy: Proxy) -> None:
    if proxy.pairs == 130:
        raise ValueError("130 is not to my liking")


def die(study: Study, proxy: Proxy) -> None:
    os._exit(9)


def test_pieces_are_done_in_other_processes(tmp_path: Path):
    study = Study(jobs=2, out=tmp_path)
    assert len(list(done(leave_folder, study, PIECES))) == 3
    names = [path.name for path in (tmp_path / "proxies").iterdir()]
    assert sorted(names) == [f"layers1-pairs{pairs}-seed0" for pairs in (120, 130, 140)]


@pytest.mark.parametrize(("jobs", "kind"), [(1, ValueError), (2, RuntimeError)])
def test_the_error_of_a_piece_ends_the_others(tmp_path: Path, jobs: int, kind: type[Exception]):
    """Another process hands on the words of an error, with the piece's name."""
    with pytest.raises(kind, match="130 is not to my liking"):
        list(done(refuse_second, Study(jobs=jobs, out=tmp_path), PIECES))


def test_a_process_that_dies_is_an_error_and_no_endless_wait(tmp_path: Path):
    with pytest.raises(RuntimeError, match="failed: the worker process died"):
        list(done(die, Study(jobs=2, out=tmp_path), PIECES))
