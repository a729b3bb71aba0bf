"""The command: a new claim runs as it is, and what cannot be used is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.cli.commands.zoo import main


def test_a_new_claim_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "claims", tmp_path / "rows"
    assert main(["new", "my-claim", "--folder", str(folder)]) == 0
    assert main(["run", str(folder / "my_claim.py"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "my-claim: mean regret over the updates: groups of 2 minus groups of 4" in said
    lines = (out / "my-claim.csv").read_text().splitlines()
    assert lines[0] == "arm,seed,settings,regret,mean regret,kl"
    assert len(lines) == 11
    text = (out / "my-claim.md").read_text()
    assert text.startswith("# My claim\n")
    assert "(my-claim.csv). [All claims](../rows.md)." in text
    assert "[My claim](rows/my-claim.md)" in (tmp_path / "rows.md").read_text()
    assert (out / "zoo.png").read_bytes().startswith(b"\x89PNG")
    assert main(["new", "my-claim", "--folder", str(folder)]) == 2
    assert "must be new" in capsys.readouterr().err


def test_list_names_every_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert "not run    rloo-over-ppo: RLOO beats" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "nothing"], "zoo: name must be a claim of `zoo list`"),
        (["run", "all", "--jobs", "0"], "zoo: jobs must be"),
        (["new", "My claim"], "zoo: name must be small letters"),
        (["report", "--out", "EMPTY"], "without any; run some"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(tmp_path / "none") if word == "EMPTY" else word for word in words]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
