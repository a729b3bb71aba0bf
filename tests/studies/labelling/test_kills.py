"""kill -9 at random instants while clicks arrive: whoever sends a click again keeps it once."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import httpx2
import pytest

from studies.cli.commands import label
from tests.studies.labelling.browser import Server, serving
from tests.studies.labelling.made import hidden, pairs, read, write_rows
from tests.studies.labelling.test_pages import fields

ITEMS, KILLS = 24, 6


def stubborn(server: Server, client: httpx2.Client, method: str, path: str, **more: str) -> str:
    """Ask until there is an answer, as somebody does who loads a page again."""
    headers = {"origin": server.address}
    while True:
        try:
            address = f"{server.address}{path}"
            data = more or None
            answer = client.request(method, address, data=data, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.text
        except httpx2.TransportError:
            if server.process.poll() is not None:
                server.kill()
                server.start()


@pytest.mark.slow
def test_every_click_is_kept_once(tmp_path: Path) -> None:
    data, out = write_rows(tmp_path / "rows.jsonl", pairs(ITEMS)), tmp_path / "out"
    draws = random.Random(0)
    doomed = set(draws.sample(range(ITEMS), KILLS))
    said: dict[int, str] = {}
    with (
        serving(f"--data={data}", f"--out={out}") as server,
        httpx2.Client(follow_redirects=True, timeout=30) as client,
    ):
        page = stubborn(server, client, "GET", f"/?token={server.token}")
        page = stubborn(server, client, "POST", "/start", csrf=hidden(page, "csrf"), name="Ada")
        for turn in range(ITEMS):
            number = int(page.partition('data-item="')[2].partition('"')[0])
            choice = draws.choice(["a", "b", "tie", "both_bad"])
            if turn in doomed:
                # Before, while or after the click is written.
                threading.Timer(draws.uniform(0.0, 0.02), server.process.kill).start()
            form = fields(page, choice=choice)
            page = stubborn(server, client, "POST", f"/item/{number}", **form)
            assert number not in said
            said[number] = choice
    assert label.main([f"--out={out}", "--export"]) == 0
    clicks = read(out / "clicks.jsonl")
    assert {click["item"]: click["choice"] for click in clicks} == said
    assert len(clicks) == len(said) == ITEMS
