"""Every claim of the package can be run and reported, and its rule was written as data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from studies.zoo import claims
from studies.zoo.claim import check_claim
from studies.zoo.registry import Entry, entries, find
from studies.zoo.table import points_of
from tests.studies.zoo.own_claims import CLAIM, CONTRAST

ENTRIES = entries()


def test_every_file_is_registered_once() -> None:
    folder = Path(claims.__path__[0])
    files = [path for path in folder.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(path.stem.replace("_", "-") for path in files) == sorted(
        entry.name for entry in ENTRIES
    )
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_claim_is_complete(entry: Entry) -> None:
    claim = entry.load()
    assert claim.experiment.seeds >= 5
    assert claim.says.endswith(".")
    assert "arXiv" in claim.citation or "http" in claim.citation
    # Both arms of every contrast have every seed.
    assert len(points_of(claim)) == len(claim.experiment.names) * claim.experiment.seeds
    texts = [claim.title, claim.says, claim.reported, claim.setting, claim.truth]
    texts += [contrast.says for contrast in claim.contrasts]
    # They are cells of tables.
    assert not [text for text in texts if "|" in text or "\n" in text]
    # What the rows are of is data: two imports of the file describe the same experiment.
    assert find(entry.name) == entry


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"citation": " "}, "must have citation"),
        ({"contrasts": ()}, "must have a contrast"),
        (
            {"contrasts": (dataclasses.replace(CONTRAST, more="taller"),)},
            "of the arms tall, short",
        ),
        (
            {"contrasts": (dataclasses.replace(CONTRAST, measure="width"),)},
            "must be of height, other",
        ),
    ],
)
def test_what_could_not_be_reported_is_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_claim(dataclasses.replace(CLAIM, **changes))


def test_an_unknown_name_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'rloo-over-ppo'|rloo-over-ppo"):
        find("rloo-over-pp")
    with pytest.raises(ValueError, match="no file"):
        find(str(tmp_path / "none.py"))


def test_a_file_without_a_claim_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("X = 1\n")
    with pytest.raises(ValueError, match="must have a CLAIM"):
        find(str(tmp_path / "empty.py")).load()
