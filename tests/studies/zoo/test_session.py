"""Runs are resumed, repeated to the digit, and told apart by their settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from studies.zoo import session
from studies.zoo.claim import Claim, Point, Row
from studies.zoo.experiments.computed import Computed
from studies.zoo.findings import Finding
from studies.zoo.registry import Entry
from studies.zoo.session import read_finding, run_claim
from studies.zoo.table import read_rows, write_rows
from tests.studies.zoo.own_claims import CLAIM, COMPUTED, TRAINED

ENTRY = Entry(name="tall", theme="own", source="nowhere")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    COMPUTED.clear()
    monkeypatch.setattr(session.Entry, "load", lambda entry: CLAIM)


def run(folder: Path, *, again: bool = False) -> Finding:
    return run_claim(ENTRY, folder, again=again, progress=False)


@pytest.mark.usefixtures("loaded")
def test_the_contrast_is_the_interquartile_mean_of_paired_differences(tmp_path: Path) -> None:
    found = run(tmp_path)
    # Differences 1, 2, 3, 4, of which the middle half is 2 and 3.
    assert found.found[0].estimate.value == 2.5
    assert found.found[0].estimate.count == 4
    assert found.verdict == "held"


@pytest.mark.usefixtures("loaded")
def test_finished_rows_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    written = (tmp_path / "tall.csv").read_bytes()
    rows = read_rows(tmp_path / "tall.csv", CLAIM)
    del rows[Point("short", 2)]
    write_rows(tmp_path / "tall.csv", CLAIM, rows)
    COMPUTED.clear()
    run(tmp_path)
    assert COMPUTED == [("short", 2)]
    assert (tmp_path / "tall.csv").read_bytes() == written


@pytest.mark.usefixtures("loaded")
def test_a_second_run_gives_the_same_rows(tmp_path: Path) -> None:
    run(tmp_path)
    written = (tmp_path / "tall.csv").read_bytes()
    run(tmp_path, again=True)
    assert len(COMPUTED) == 16
    assert (tmp_path / "tall.csv").read_bytes() == written


@pytest.mark.usefixtures("loaded")
def test_an_interrupt_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = session.run_batch

    def until_the_fourth(batch: session.Batch) -> list[Row]:
        if len(COMPUTED) == 3:
            raise KeyboardInterrupt
        return whole(batch)

    monkeypatch.setattr(session, "run_batch", until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(read_rows(tmp_path / "tall.csv", CLAIM)) == 3
    assert read_finding(ENTRY, CLAIM, tmp_path) is None
    monkeypatch.setattr(session, "run_batch", whole)
    run(tmp_path)
    assert len(COMPUTED) == len(set(COMPUTED)) == 8


@pytest.mark.usefixtures("loaded")
def test_rows_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    run(tmp_path)
    assert isinstance(CLAIM.experiment, Computed)
    more = dataclasses.replace(CLAIM.experiment, compute=lambda arm, seed: {"height": 0.0})
    other = dataclasses.replace(CLAIM, experiment=more)
    assert read_rows(tmp_path / "tall.csv", other) == {}
    # What is said of a claim is no part of its rows.
    retold = dataclasses.replace(CLAIM, guess="because", title="Another")
    assert len(read_rows(tmp_path / "tall.csv", retold)) == 8


def points(claim: Claim) -> list[Point]:
    return [Point(arm, seed) for arm in claim.experiment.names for seed in range(2)]


def test_training_runs_are_the_same_together_and_alone() -> None:
    experiment = TRAINED.experiment
    batches = experiment.batches(points(TRAINED))
    # Two arms of one kind train as one stack, the one that cannot be stacked run by run.
    assert [len(batch) for batch in batches] == [4, 1, 1]
    together = [row for batch in batches for row in experiment.run(batch)]
    alone = [experiment.run([point])[0] for batch in batches for point in batch]
    for first, second in zip(together, alone, strict=True):
        assert first.keys() == second.keys() == {"height", "mean"}
        for name, value in first.items():
            assert np.isclose(value, second[name], rtol=1e-9, atol=0.0), name
