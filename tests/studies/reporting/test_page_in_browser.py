"""The report in a real browser, where there is one: `chromium` of the system, without a window."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from studies.reporting.report import make_report
from studies.results.csv_files import write_csv

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = """<script>alert(1)</script><img src="https://x.test/a.png" onerror=alert(2)>'"-->{{7}}"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


class Dom(HTMLParser):
    """The elements of a page after a browser has read it, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def write_folder(folder: Path) -> None:
    """Write a grid whose every text is hostile and long, for a screen of 390 pixels to hold."""
    runs = [
        {
            "run_id": f"{HOSTILE}{agent}{gamma}{seed}",
            "status": "ok" if seed else "failed",
            "error": f"{HOSTILE} {'unbroken' * 40}",
            "command": f"python scripts/ablate.py {'x' * 300}",
            "agent": f"{HOSTILE}:{agent}",
            "gamma": gamma,
            "density": density,
            "granularity": "token",
            "gae_lambda": 0.95,
            "kl_coef": 0.1,
            "group_size": 4,
            "seed": seed,
            "task": HOSTILE,
            "score": gamma + seed / 10,
            "kl": seed * gamma,
        }
        for agent in ("a", "b")
        for gamma in (0.9, 1.0)
        for density in ("terminal", "prefix_difference")
        for seed in range(3)
    ]
    write_csv(folder / "results.csv", pd.DataFrame(runs))
    points = [
        {"run_id": run["run_id"], "update": u, "score": u, "kl": u} for run in runs for u in (1, 2)
    ]
    write_csv(folder / "curves.csv", pd.DataFrame(points))
    (folder / "settings.json").write_text(json.dumps({"task": HOSTILE, "seeds": 3}))
    episode = {
        "run_id": HOSTILE,
        "stage": "after",
        "prompt": HOSTILE,
        "tokens": [HOSTILE, "unbroken" * 60, " end"],
        "reward_terms": {HOSTILE: [0.5, 0.0, -0.5], "kl": [-0.1, -0.2, -0.3]},
        "score": 1.0,
        "values": [0.1, 0.2, 0.3],
    }
    (folder / "samples.jsonl").write_text(json.dumps(episode))


def browse(page: Path, profile: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Open a page at the width of a phone, and return what the browser printed and logged."""
    assert CHROMIUM is not None
    options = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}"),
        *(
            "--enable-logging=stderr",
            "--v=0",
            "--window-size=390,844",
            "--virtual-time-budget=2000",
        ),
    ]
    return subprocess.run(
        [CHROMIUM, *options, *more, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report")
    write_folder(made)
    make_report(made)
    return made


def test_the_browser_makes_no_element_of_hostile_text_and_logs_no_error(folder: Path):
    seen = browse(folder / "report.html", folder / "profile", "--dump-dom")
    dom = Dom(seen.stdout)
    assert not {"script", "iframe", "object", "embed", "link", "form"} & set(dom.tags)
    assert not [name for name, _ in dom.attributes if name.startswith("on")]
    assert dom.tags.count("img") == dom.tags.count("figure") >= 3
    assert dom.text.count(HOSTILE) >= 10
    assert "CONSOLE" not in seen.stderr


def test_the_browser_asks_for_nothing_from_outside(folder: Path):
    empty = folder / "empty.html"
    empty.write_text("<!doctype html><title>nothing</title>")
    asked = [
        _asked(page, folder / f"{page.stem}.netlog", folder / f"{page.stem}-profile")
        for page in (folder / "report.html", empty)
    ]
    # What the browser asks for on its own account it asks for with an empty page too.
    assert asked[0] <= asked[1]


def test_the_log_of_requests_would_show_one(folder: Path):
    page = folder / "image.html"
    page.write_text("<!doctype html><img src='http://127.0.0.1:9/a.png'>")
    assert "http://127.0.0.1:9" in _asked(page, folder / "image.netlog", folder / "image-profile")


def _asked(page: Path, log: Path, profile: Path) -> set[str]:
    """Return the hosts that a browser asks while it shows a page."""
    browse(page, profile, f"--log-net-log={log}", "--dump-dom")
    return set(re.findall(r'"url":"(https?://[^/"]*)', log.read_text(errors="replace")))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(folder: Path, width: int, tmp_path: Path):
    # A page around the page measures it: the report itself may run nothing.
    html = (folder / "report.html").read_text(encoding="utf-8")
    unlocked = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    script = (
        f"<iframe id=f style='width:{width}px;height:844px;border:0' srcdoc='X'></iframe>"
        "<pre id=o></pre><script>onload=()=>{const d=document.getElementById('f').contentDocument;"
        "document.getElementById('o').textContent="
        "'WIDTH '+d.documentElement.scrollWidth+' COLORED '+[...d.querySelectorAll('.token')]"
        ".filter(t=>d.defaultView.getComputedStyle(t).backgroundColor!=='rgba(0, 0, 0, 0)').length}"
        "</script>"
    )
    escaped = unlocked.replace("&", "&amp;").replace("'", "&#39;")
    around = tmp_path / "around.html"
    around.write_text(f"<!doctype html><meta charset=utf-8>{script.replace('X', escaped)}")
    seen = browse(around, tmp_path / "profile", f"--window-size={width},844", "--dump-dom")
    found = re.search(r"WIDTH (\d+) COLORED (\d+)", Dom(seen.stdout).text)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (width, 2)
