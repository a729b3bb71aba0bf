"""Differences along an axis: which runs are paired, and that a page's tables are its commands'."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from studies.cli.commands.gains import main
from studies.gains.table import gain, gains_table, signed

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/results/games.md"


def runs(scores: dict[tuple[str, str, int], float], **more: object) -> pd.DataFrame:
    """Return a table of results: (density, granularity, seed) -> score."""
    return pd.DataFrame(
        [
            {
                "status": "ok",
                "agent": "ppo",
                "density": density,
                "granularity": granularity,
                "seed": seed,
                "score": score,
                **more,
            }
            for (density, granularity, seed), score in scores.items()
        ]
    )


def test_runs_are_paired_by_seed_whatever_their_order() -> None:
    more = runs({("process", "token", seed): seed + 0.5 for seed in (2, 0, 1)})
    less = runs({("terminal", "token", seed): float(seed) for seed in (0, 1, 2, 3)})
    assert gain(more, less, "score").tolist() == [0.5, 0.5, 0.5]


def test_the_table() -> None:
    """The middle three of five, by hand: 0.3 0.4 0.5 and 0.4 0.5 0.8, gains 0.1 0.2 0.3."""
    level, gained = [0.1, 0.4, 0.3, 0.5, 0.9], [0.2, 0.1, 0.9, 0.3, -0.5]
    scores = {("terminal", "token", seed): score for seed, score in enumerate(level)}
    scores |= {("process", "token", seed): score + gained[seed] for seed, score in enumerate(level)}
    scores |= {(density, "turn", 0): 0.5 for density in ("terminal", "process")}
    scores |= {("terminal", "bandit", 0): 0.25}
    lines = gains_table(runs(scores), "density", None, ["score"]).splitlines()
    assert lines[0] == "| measure | granularity | terminal | process | gain |"
    assert re.fullmatch(
        r"\| score \| token \| 0\.400 \| 0\.567 \| \+0\.200 \[-0\.\d{3}, \+0\.\d{3}\] \|", lines[2]
    )
    assert lines[3] == "| score | turn | 0.500 | 0.500 | the same |"
    assert lines[4] == "| score | bandit | 0.250 |  |  |"


def test_the_value_that_is_subtracted_can_be_named_and_failed_runs_are_left_out() -> None:
    results = runs({("terminal", "token", 0): 0.5, ("process", "token", 0): 0.75})
    failed = runs({("terminal", "token", 1): 9.0, ("process", "token", 1): 0.0})
    both = pd.concat([results, failed.assign(status="failed")])
    lines = gains_table(both, "density", "process", ["score"]).splitlines()
    assert lines[2] == "| score | 0.750 | 0.500 | -0.250 |"


def test_agents_are_compared_whatever_settings_one_of_them_lacks() -> None:
    ours = runs({("terminal", "token", 0): 0.5}, gae_lambda=0.95)
    theirs = runs({("terminal", "token", 0): 0.625}).assign(agent="grpo")
    lines = gains_table(pd.concat([ours, theirs]), "agent", "ppo", ["score"]).splitlines()
    assert lines[2] == "| score | 0.500 | 0.625 | +0.125 |"


def test_a_number_is_headed_by_its_axis() -> None:
    ours = runs({("terminal", "token", 0): 0.5}, gamma=1.0)
    theirs = runs({("terminal", "token", 0): 0.625}, gamma=0.9)
    lines = gains_table(pd.concat([ours, theirs]), "gamma", "1", ["score"]).splitlines()
    assert lines[0] == "| measure | gamma 1 | gamma 0.9 | gain |"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0, 0.0], "the same"),
        ([-1e-5], "+0.000"),
        ([-0.25, -0.25], "-0.250 [-0.250, -0.250]"),
        ([], ""),
    ],
)
def test_signs(values: list[float], text: str) -> None:
    assert signed(pd.Series(values, dtype=float).to_numpy()) == text


def test_tables_of_several_tasks_and_files_say_what_they_are_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {("terminal", "token", 0): 0.5, ("process", "token", 0): 0.75}
    tasks = [runs(scores, task="delay-4"), runs(scores, task="delay-8")]
    both, one = tmp_path / "both.csv", tmp_path / "one.csv"
    pd.concat(tasks).to_csv(both, index=False)
    tasks[0].to_csv(one, index=False)

    def heads(*paths: Path) -> list[str]:
        assert main([str(path) for path in paths]) == 0
        return re.findall(r"^\*\*(.*)\*\*$", capsys.readouterr().out, flags=re.MULTILINE)

    assert heads(one) == []
    assert heads(both) == ["delay-4", "delay-8"]
    assert heads(one, both) == [f"delay-4, {one}", f"delay-4, {both}", f"delay-8, {both}"]


def test_the_tables_of_the_page_are_those_of_its_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"    python scripts/gains\.py ((?:.*\\\n)*.*)", text)
    compared = set()
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        assert main(words) == 0
        table = capsys.readouterr().out.split("\n\n")[0]
        assert f"\n{table}\n" in text
        compared |= {word for word in words if word.endswith(".csv")}
    assert {Path(name).name for name in compared} == {
        path.name for path in (PAGE.parent / "games").glob("*.csv")
    }


def test_figures_in_the_sentences_are_those_of_the_tables() -> None:
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    compared = [section for section in sections if "scripts/gains.py" in section]
    assert len(compared) >= 2
    for section in compared:
        lines = section.splitlines()
        tables = "\n".join(line for line in lines if line.startswith("|"))
        sentences = "\n".join(line for line in lines if not line.startswith("|"))
        quoted = re.findall(r"\d+\.\d{3}", sentences)
        assert len(quoted) >= 3
        assert set(quoted) <= set(re.findall(r"\d+\.\d{3}", tables))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "results must be"),
        (["nowhere.csv"], "results must be folders or tables that exist"),
        (["{table}", "--axis", "taste"], "axis must be one of"),
        (["{table}", "--axis", "granularity"], "axis must have values to compare"),
        (["{table}", "--over", "sparse"], "over must be a value of density"),
        (["{table}", "--measures", "luck"], "measures must be columns of numbers"),
        (["{table}", "--measures", "status"], "measures must be columns of numbers"),
        (["{folder}"], "must be the table of an ablation"),
    ],
)
def test_what_cannot_be_compared(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = tmp_path / "mine.csv", tmp_path / "empty"
    folder.mkdir()
    runs({("terminal", "token", 0): 0.5, ("process", "token", 0): 0.75}).to_csv(table, index=False)
    given = [word.format(table=table, folder=folder) for word in words]
    assert main(given) == 2
    assert message in capsys.readouterr().err
