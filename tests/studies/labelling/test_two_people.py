"""Two people label in real browsers: what they click is kept once, whatever happens meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agents import DPO, KTO
from rlhf_env.rewards import load_reward, read_preferences
from studies.cli.commands import label, train_reward
from tests.studies.labelling.acting import (
    EACH,
    GOOD,
    MARKED,
    WRONG,
    answer,
    killed_in_the_middle,
    rows,
)
from tests.studies.labelling.browser import PHONE, browsing, in_a_browser, serving
from tests.studies.labelling.made import read, write_rows
from tests.toys import tiny_llama, tiny_llama_task

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Forty items, two people, a desktop and a phone; kills, reloads, changes and a second tab."""
    folder = tmp_path_factory.mktemp("labels")
    data, out = write_rows(folder / "rows.jsonl", rows()), folder / "out"
    said: dict[tuple[int, str], dict[str, Any]] = {}
    clicks = 0
    words = (f"--data={data}", f"--out={out}", "--annotators-per-item=2")
    with (
        serving(*words) as server,
        browsing(folder, "ada") as ada,
        browsing(folder, "bob", size=PHONE) as bob,
    ):
        people = {"Ada": ada, "Bob": bob}
        for name, browser in people.items():
            browser.join(server, name)
        for turn in range(4 * EACH):
            for name, browser in people.items():
                if turn == 7 and name == "Ada":
                    number, answered = killed_in_the_middle(server, browser, name)
                else:
                    number, answered = answer(browser, name)
                assert (number, name) not in said
                said[number, name] = answered
                clicks += 1
            if turn == 11:
                # Right after the answers are there, between two people's pages.
                server.kill()
                server.start()
            if turn == 15:
                here = ada.item
                ada.leave(ada.driver.refresh)
                assert ada.item == here
        # What was skipped when the server died is answered after all.
        number = next(number for (number, name), a in said.items() if a == {"choice": "skip"})
        ada.driver.get(f"{server.address}/item/{number}")
        _, said[number, "Ada"] = answer(ada, "Ada")
        clicks += 1
        ada.driver.get(f"{server.address}/overview")
        shown = [row.text.rsplit(maxsplit=3) for row in ada.all("#agreement tbody tr")]
        # Exported while the page is open.
        assert label.main([f"--out={out}", "--export"]) == 0
    yield {
        "out": out,
        "said": said,
        "clicks": clicks,
        "shown": {kind: (alpha, kappa) for kind, alpha, kappa, _ in shown},
    }


def test_every_click_is_in_the_export_once(labeled: dict[str, Any]) -> None:
    clicks = read(labeled["out"] / "clicks.jsonl")
    assert len(clicks) == labeled["clicks"] == 8 * EACH + 1
    assert [click["click"] for click in clicks] == list(range(1, len(clicks) + 1))
    held = {
        (click["item"], click["annotator"]): {
            name: click[name] for name in ("choice", "ranking", "spans") if name in click
        }
        for click in clicks
        if click["holds"]
    }
    assert held == labeled["said"]
    assert sum(click["holds"] for click in clicks) == 8 * EACH


def test_marks_count_code_points(labeled: dict[str, Any]) -> None:
    found = read(labeled["out"] / "spans.jsonl")
    assert len(found) == 2 * EACH
    for row in found:
        assert row["response"] == MARKED
        assert [MARKED[span["start"] : span["end"]] for span in row["spans"]] == [WRONG]
        good = [MARKED[span["start"] : span["end"]] for span in row["good_spans"]]
        assert good in ([], [GOOD])


def test_the_agreement_that_was_shown_is_the_librarys(labeled: dict[str, Any]) -> None:
    """From the exported files alone."""
    people, codes = ("Ada", "Bob"), {"a": 0, "b": 1, "tie": 2}
    out = labeled["out"]

    def by_person(name: str, column: str) -> list[list[Any]]:
        found = read(out / name)
        return [[row[column] for row in found if row["annotator"] == who] for who in people]

    # A row of numbers each, one for every unit.
    compared = read(out / "comparisons.jsonl")
    said = {"Comparisons": np.array([[codes[v] for v in row["votes"]] for row in compared]).T}
    said["Rankings"] = np.array(by_person("rankings.jsonl", "ranking")).reshape(2, -1)
    thumbs = by_person("thumbs.jsonl", "thumb")
    said["Thumbs"] = np.array([[value == "up" for value in mine] for mine in thumbs], int)
    marks = np.zeros((2, EACH, len(MARKED)), int)
    for column, code in (("spans", 1), ("good_spans", 2)):
        for person, mine in enumerate(by_person("spans.jsonl", column)):
            for unit, spans in enumerate(mine):
                for span in spans:
                    marks[person, unit, span["start"] : span["end"]] = code
    said["Marked parts"] = marks.reshape(2, -1)
    expected = {}
    for kind, values in said.items():
        level, weights = ("ordinal", "quadratic") if kind == "Rankings" else ("nominal", None)
        alpha = krippendorff.alpha(reliability_data=values, level_of_measurement=level)
        kappa = cohen_kappa_score(*values, weights=weights)
        assert 0.0 < alpha < 1.0
        expected[kind] = (f"{alpha:.3f}", f"{kappa:.3f}")
    assert labeled["shown"] == expected


def tokenizer() -> PreTrainedTokenizerFast:
    """Of the toy model; words that it does not know are token 31."""
    words = ["<pad>", "</s>", *(f"w{i}" for i in range(2, 31)), "<unk>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.mark.filterwarnings("ignore:.*repeat an earlier|.*contradict an earlier")
@pytest.mark.parametrize("kind", ["comparisons", "rankings", "thumbs", "spans"])
def test_reward_models_train_on_the_export(
    labeled: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    words = ["--data", str(labeled["out"] / f"{kind}.jsonl"), "--model", str(tmp_path / "model")]
    more = ["--out", str(tmp_path / "reward"), "--epochs", "1", "--device", "cpu"]
    assert train_reward.main([*words, *more]) == 0
    figures = json.loads((tmp_path / "reward/figures.json").read_text())
    assert figures["kind"] == kind
    assert load_reward(tmp_path / "reward") is not None


@pytest.mark.filterwarnings("ignore:.*repeat an earlier|.*contradict an earlier")
@pytest.mark.parametrize(
    ("agent", "file", "count"),
    [(DPO, "comparisons.jsonl", EACH), (DPO, "rankings.jsonl", 20), (KTO, "thumbs.jsonl", 20)],
)
def test_agents_train_on_the_export(
    labeled: dict[str, Any], agent: Any, file: str, count: int
) -> None:
    path = labeled["out"] / file
    assert len(read_preferences(path)) == count
    envs = gym.make_vec("rlhf_env:RLHF-v0", num_envs=4, task=tiny_llama_task())
    made = agent(envs, preferences=path, episodes_per_update=4)
    before = made.preference_figures(path)["loss"]
    made.learn(passes=1, progress=False)
    assert made.preference_figures(path)["loss"] < before
