from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from studies.ablation.missing_runs import as_record
from studies.cli.commands.report import main
from studies.execution.pool import Outcome
from studies.experiment.axes import Axes
from studies.experiment.grid import Budget, grid
from studies.reporting.report import make_report
from studies.reporting.samples import as_sample, read_samples, shade
from studies.results.csv_files import read_csv, write_csv
from studies.results.records import Record, write_curves, write_results
from tests.studies.toy_runs import quick

HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>"'{{7*7}}{% raw %}-->]]>&lt;"""
EXPECTED_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "nav", "section"),
    *("h1", "h2", "h3", "p", "ul", "li", "b", "a", "figure", "figcaption", "div", "picture"),
    *("source", "img", "table", "thead", "tbody", "tr", "th", "td", "small", "code", "dl", "dt"),
    *("dd", "article", "span", "input", "label"),
}


class Page(HTMLParser):
    """What a browser would see: elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def records(error: str = "") -> list[Record]:
    axes = Axes(density=("terminal",), granularity=("token",), gamma=(0.5, 1.0), seeds=2)
    made = []
    for run in grid(axes, Budget()):
        is_failed = bool(error) and run.agent == "grpo" and run.seed == 1
        outcome = Outcome(
            run=run,
            result=None if is_failed else quick(run),
            seconds=0.1,
            error=error if is_failed else "",
        )
        made.append(as_record(outcome, Path("runs/x")))
    return made


def write_folder(folder: Path, error: str = "", task: str = "toy15") -> None:
    (folder / "settings.json").write_text(json.dumps({"task": task, "seeds": 2, "updates": 2}))
    write_results(folder, records(error))
    write_curves(folder, records(error))


def page(folder: Path) -> Page:
    make_report(folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_folder(folder)
    return make_report(folder)[-1].read_text(encoding="utf-8")


def test_the_report_shows_estimates_settings_and_figures(html: str):
    found = Page(html)
    assert "Ablation on toy15" in found.text
    assert "0.505" in found.text and "[0.500, 0.510]" in found.text
    images = [value for name, value in found.attributes if name == "src"]
    assert len(images) >= 4
    assert all(value is not None and value.startswith("data:image/") for value in images)


def test_the_page_can_load_and_run_nothing(html: str):
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert ("content", policy) in Page(html).attributes
    assert not re.search(r"https?://", html)


def test_hostile_text_is_shown_as_text(tmp_path: Path):
    write_folder(tmp_path, error=HOSTILE, task=HOSTILE)
    episode = {
        "run_id": HOSTILE,
        "stage": HOSTILE,
        "prompt": HOSTILE,
        "tokens": [HOSTILE, "\x1b[31m"],
        "reward_terms": {HOSTILE: [0.5, -0.5]},
        "score": 1.0,
    }
    (tmp_path / "samples.jsonl").write_text(json.dumps(episode) + "\n")
    found = page(tmp_path)
    assert found.tags <= EXPECTED_TAGS
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert found.text.count(HOSTILE) >= 5
    assert "49" not in found.text.split("Example episodes")[1].split("Settings")[0]
    assert "\x1b" not in found.text


def test_a_task_name_with_formula_signs_can_be_drawn(tmp_path: Path):
    write_folder(tmp_path)
    table = read_csv(tmp_path / "results.csv")
    table["agent"] = r"m:$\frac{$_^"
    write_csv(tmp_path / "results.csv", table)
    assert r"m:$\frac{$_^" in page(tmp_path).text


@pytest.mark.parametrize("content", [None, "", "\n", "run_id,status,error\n"])
def test_a_folder_without_results_gives_a_page_that_says_so(tmp_path: Path, content: str | None):
    (tmp_path / "settings.json").write_text(json.dumps({"task": "toy15", "seeds": 2}))
    if content is not None:
        (tmp_path / "results.csv").write_text(content)
    found = page(tmp_path)
    assert "No run has finished yet" in found.text
    assert found.tags <= EXPECTED_TAGS


def test_a_grid_that_only_failed_gives_a_page(tmp_path: Path):
    failed = [record for record in records("no luck") if record.status == "failed"]
    write_results(tmp_path, failed)
    write_curves(tmp_path, failed)
    found = page(tmp_path)
    assert "no luck" in found.text
    assert "0runs ended well" in found.text


def test_a_single_run_gives_a_page_without_intervals(tmp_path: Path):
    write_results(tmp_path, records()[:1])
    write_curves(tmp_path, records()[:1])
    assert "[" not in page(tmp_path).text.split("Settings compared")[1].split("Settings")[0]


def test_episodes_are_capped_and_counted(tmp_path: Path):
    line = json.dumps({"tokens": ["a"], "reward_terms": {"score": [1.0]}, "score": 1.0})
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join([line] * 30 + ["{broken", "[]", '{"tokens": 3}']))
    found = read_samples(path)
    # Two at a time from all over the file: the last line is not among them, two broken ones are.
    assert (len(found.shown), found.total, found.unreadable) == (22, 33, 2)
    path.write_text("\n".join(["{broken", "[]", '{"tokens": 3}', line]))
    found = read_samples(path)
    assert (len(found.shown), found.total, found.unreadable) == (1, 4, 3)


def test_tokens_carry_their_numbers_and_colors():
    sample = as_sample(
        {
            "run_id": "r",
            "stage": "after",
            "prompt": "p",
            "tokens": ["a", "b", "c"],
            "reward_terms": {"score": [0.0, 0.0, 1.0], "kl": [-0.2, 0.0, 0.0]},
            "values": [0.5, 0.6, 0.7],
            "score": 1.0,
        }
    )
    views = [token.shades for token in sample.tokens]
    assert [colors["score"] for colors in views] == ["z", "z", "p5"]
    assert [colors["kl"] for colors in views] == ["n5", "z", "z"]
    assert [colors["values"] for colors in views] == ["p4", "p5", "p5"]
    assert sample.tokens[0].numbers == (
        "score paid +0.000, KL paid -0.200, score share +0.000, value +0.500"
    )
    assert sample.summary == "score +1.000, sum of kl -0.200"


def test_shades_are_relative_to_the_largest():
    assert [shade(x, 2.0) for x in (2.0, 1.0, 0.1, 0.0, -2.0)] == ["p5", "p3", "p1", "z", "n5"]
    assert shade(0.0, 0.0) == "z"
    assert shade(float("nan"), 1.0) == "z"


def test_csv_cells_cannot_be_formulas_and_come_back_as_they_were(tmp_path: Path):
    cells = ["=1+1", "+x", "-y", "@z", "\tq", "plain", "'quoted", "a,b\nc", "ü"]
    table = pd.DataFrame({"text": cells, "number": [-1.5, 1e-9, 3.0, 0.1, 2, 3, 4, 5, 6.5]})
    write_csv(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows[:5]] == ["'=1+1", "'+x", "'-y", "'@z", "'\tq"]
    assert rows[0]["number"] == "-1.5"
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table, check_dtype=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("files", [{}, {"notes.txt": "mine"}, {"results.csv": "a,b\n1,2\n"}])
def test_a_folder_that_is_no_ablation_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys, files: dict[str, str]
):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    before = contents(tmp_path)
    assert main([str(tmp_path)]) == 2
    assert "without a settings.json; name the --out of" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "the folder must hold an ablation" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys, monkeypatch):
    (tmp_path / "settings.json").write_text("{}")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert main([str(tmp_path)]) == 2
    assert "the folder must be writable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("settings.json", "[1]", "a list; put the file back"),
        ("settings.json", "{", "put the file back, or name another folder"),
        ("results.csv", "a,b\n1,2", "must have the columns run_id, status"),
        ("results.csv", 'a\n"', "must be a CSV table in UTF-8"),
        ("curves.csv", "x,y\n1,2", "must have the columns run_id, update, got none called"),
        ("curves.csv", "run_id,update,score\na,1,high", "column score, got 'high'; run the same"),
        ("frontier.csv", "kl\nabc", "must have the columns kl, score, got none called score"),
        ("frontier.csv", "kl,score\nabc,1", "numbers in its column kl, got 'abc'; run the same"),
    ],
)
def test_a_damaged_file_is_named_before_a_figure_is_replaced(
    tmp_path: Path, capsys, name: str, content: str, message: str
):
    write_folder(tmp_path)
    (tmp_path / name).write_text(content)
    before = contents(tmp_path)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"report: {tmp_path / name} ") and message in error
    assert len(error.splitlines()) == 1
    assert contents(tmp_path) == before


def test_help_needs_no_drawing_library_and_no_time():
    code = (
        "import sys, studies.cli.commands.report\n"
        "try:\n    studies.cli.commands.report.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'pandas', 'matplotlib', 'torch'} & set(sys.modules) or ''))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
    assert "FOLDER" in done.stdout and "The --out of" in done.stdout
    assert "dummy" not in done.stdout


def test_settings_that_tie_are_all_the_best(tmp_path: Path):
    write_folder(tmp_path)
    table = read_csv(tmp_path / "results.csv")
    table["j_ratio"] = 0.5
    write_csv(tmp_path / "results.csv", table)
    assert "the same to three digits: 3 more" in page(tmp_path).text


def test_a_training_run_is_not_called_an_ablation(tmp_path: Path):
    (tmp_path / "settings.json").write_text(json.dumps({"task": "toy15", "seed": 0}))
    found = page(tmp_path)
    assert "Training on toy15" in found.text
    assert "this folder holds one training run" in found.text


def test_an_empty_prompt_is_called_so(tmp_path: Path):
    write_folder(tmp_path)
    episode = {"prompt": "", "tokens": ["a"], "reward_terms": {"score": [1.0]}, "score": 1.0}
    (tmp_path / "samples.jsonl").write_text(json.dumps(episode))
    assert "(empty prompt)" in page(tmp_path).text


def test_narrow_screens_get_figures_in_one_column(html: str):
    media = [value for name, value in Page(html).attributes if name == "media"]
    assert set(media) == {"(max-width: 48rem)"}
    assert len(media) == html.count("<figure>") >= 4


def test_tokens_can_be_colored_by_what_is_known_and_read_without_a_pointer(tmp_path: Path):
    write_folder(tmp_path)
    episode = {
        "tokens": ["a", "b"],
        "reward_terms": {"score": [0.0, 1.0]},
        "score": 1.0,
        "kl": [0.5, -0.25],
        "advantages": [0.5, None],
    }
    (tmp_path / "samples.jsonl").write_text(json.dumps(episode))
    found = page(tmp_path)
    ids = [value for name, value in found.attributes if name == "id" and value is not None]
    views = [name for name in ids if name.startswith("view-")]
    assert views == ["view-score", "view-kl", "view-advantages"]
    classes = [value for name, value in found.attributes if name == "class" and value is not None]
    tokens = [value for value in classes if value.startswith("token ")]
    # Nats spent are a loss; a number that is not known has no color.
    assert tokens == ["token score-z kl-n5 advantages-p5", "token score-p5 kl-p3 advantages-z"]
    assert "score paid +1.000, score share +1.000, KL in nats -0.250, advantage +nan" in found.text


def test_tasks_have_sections_and_figures_of_their_own(tmp_path: Path):
    write_folder(tmp_path)
    table = read_csv(tmp_path / "results.csv")
    table["task"] = ["toy15", "a/b <i>"] * (len(table) // 2)
    write_csv(tmp_path / "results.csv", table)
    write_csv(tmp_path / "frontier.csv", pd.DataFrame({"kl": [0.0, 1.0], "score": [0.0, 1.0]}))
    found = page(tmp_path)
    assert "Ablation on toy15, a/b <i>" in found.text
    assert "Settings compared on toy15" in found.text
    assert "Probability of improvement on a/b <i>" in found.text
    # Whose frontier it is the table does not say.
    assert "the best score possible" not in found.text
    names = {path.name for path in tmp_path.glob("*.png")}
    assert {"1-toy15-frontier.png", "2-a_b__i_-frontier.png"} <= names


def test_unknown_columns_and_numbers_that_are_none_do_no_harm(tmp_path: Path):
    write_folder(tmp_path)
    table = read_csv(tmp_path / "results.csv")
    table["whatever"] = "<u>x</u>"
    table["score"] = [float("nan"), float("inf"), 1.0, *[0.5] * (len(table) - 3)]
    table.loc[4, "status"] = "torn"
    write_csv(tmp_path / "results.csv", table)
    found = page(tmp_path)
    assert "7runs ended well" in found.text and "1failed" in found.text
    assert "whatever" not in found.text


def test_numbers_too_large_for_an_integer_are_numbers(tmp_path: Path):
    write_folder(tmp_path)
    (tmp_path / "frontier.csv").write_text(f"kl,score\n{10**30},1\n1.5,2\n")
    assert "the best score possible" in page(tmp_path).text


def test_the_command_makes_the_report_again(tmp_path: Path, capsys):
    write_folder(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "report.html")


def test_a_phone_gets_every_number_with_its_name(html: str):
    labels = [value for name, value in Page(html).attributes if name == "data-label"]
    assert {"agent", "gamma", "runs", "score", "KL (nats)"} <= set(labels)
    assert "content: attr(data-label)" in html
