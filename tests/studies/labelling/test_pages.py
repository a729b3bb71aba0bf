"""The pages, without a browser: what they show, keep and lead to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from studies.labelling.store import LabelStore
from studies.labelling.web.application import application
from studies.labelling.web.pages import Texts
from tests.studies.labelling.made import BOUNDS, ORIGIN, hidden, new_store, pairs

HOSTILE = """</div><script>alert(1)</script><img src=x onerror=alert(2)>'"{{'no' * 9}}"""
TEXTS = Texts(title="pairs.jsonl", instructions=f"Be kind. {HOSTILE}")


def client(store: LabelStore, name: str = "") -> TestClient:
    """A browser that has seen the token, and perhaps given a name."""
    made = TestClient(application(store, BOUNDS, TEXTS), base_url="http://127.0.0.1")
    page = made.get("/", params={"token": store.settings["token"]})
    assert page.status_code == 200
    if name:
        said = {"csrf": hidden(page.text, "csrf"), "name": name}
        assert made.post("/start", data=said, headers=ORIGIN).status_code == 200
    return made


def fields(page: str, **more: str) -> dict[str, str]:
    return {name: hidden(page, name) for name in ("csrf", "form", "latest")} | more


def press(browser: TestClient, number: int, **more: str) -> Any:
    page = browser.get(f"/item/{number}").text
    return browser.post(f"/item/{number}", data=fields(page, **more), headers=ORIGIN)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    made = new_store(tmp_path / "out", pairs(3), annotators_per_item=2)
    yield made
    made.close()


def test_a_name_then_items_then_rest(store: LabelStore) -> None:
    browser = client(store, " Ada \t Lovelace ")
    assert store.annotators() == ["Ada Lovelace"]
    page = browser.get("/next")
    for _ in range(3):
        assert page.url.path.startswith("/item/")
        page = browser.post(page.url.path, data=fields(page.text, choice="tie"), headers=ORIGIN)
    assert page.url.path == "/rest"
    assert "Nothing for you at the moment" in page.text
    assert len(store.judgements()) == 3


def test_the_same_place_has_the_side_that_is_kept(store: LabelStore) -> None:
    browser = client(store, "Ada")
    for number in (1, 2, 3):
        page = browser.get(f"/item/{number}").text
        left = page.index('aria-labelledby="response-0"')
        is_first = page.index(f"first {number - 1}") > left < page.index(f"second {number - 1}")
        shown = store.show(number, "Ada")
        order = [page.index(f"{('first', 'second')[side]} {number - 1}") for side in shown]
        assert is_first
        assert order == sorted(order)
        # The button of the left response says which one of the file it is.
        button = page[page.index("A is better") - 120 : page.index("A is better")]
        assert f'value="{"ab"[shown[0]]}"' in button


def test_reload_resend_and_back_keep_one_click(store: LabelStore) -> None:
    browser = client(store, "Ada")
    page = browser.get("/item/1").text
    said = fields(page, choice="a")
    for _ in range(3):
        assert browser.post("/item/1", data=said, headers=ORIGIN).status_code == 200
    assert len(store.clicks()) == 1
    # Another answer from the page as it was: told, not kept.
    stale = browser.post("/item/1", data={**said, "choice": "b"}, headers=ORIGIN)
    assert stale.status_code == 409
    assert "is better" in stale.text
    assert len(store.clicks()) == 1
    # From the page as it is now.
    assert press(browser, 1, choice="b").status_code == 200
    assert [click.answer["choice"] for click in store.clicks()] == ["a", "b"]


def test_two_tabs_do_not_answer_one_item_twice(store: LabelStore) -> None:
    browser = client(store, "Ada")
    first, second = (browser.get("/item/2").text for _ in range(2))
    assert hidden(first, "form") != hidden(second, "form")
    browser.post("/item/2", data=fields(first, choice="a"), headers=ORIGIN)
    late = browser.post("/item/2", data=fields(second, choice="a"), headers=ORIGIN)
    assert late.status_code == 409
    assert len(store.clicks()) == 1


def test_the_last_answer_can_be_changed_and_leads_back(store: LabelStore) -> None:
    browser = client(store, "Ada")
    assert browser.get("/undo").url.path.startswith("/item/")
    press(browser, 1, choice="a")
    page = browser.get("/undo?from=3")
    assert str(page.url).endswith("/item/1?then=3")
    assert "You said" in page.text
    assert 'aria-pressed="true"' in page.text
    said = fields(page.text, choice="withdrawn", then=hidden(page.text, "then"))
    assert browser.post("/item/1", data=said, headers=ORIGIN).url.path == "/item/3"
    assert store.judgements() == []
    # From the page of the last answer to the one before.
    press(browser, 1, choice="a")
    press(browser, 2, choice="a")
    assert browser.get("/undo?from=2").url.path == "/item/1"


def test_agreement_and_progress_are_shown(store: LabelStore) -> None:
    ada, bob = client(store, "Ada"), client(store, "Bob")
    for browser, choices in ((ada, ("a", "b")), (bob, ("a", "a"))):
        for number, choice in enumerate(choices, start=1):
            press(browser, number, choice=choice)
    page = ada.get("/item/3").text
    assert "2 of 3 done" in page
    # By hand: values a, a and b, a: D_o = 2/4, D_e = 2·3·1/(4·3) = 1/2, so α = 0.
    assert "α&nbsp;0.00" in page
    overview = bob.get("/overview").text
    assert '<td class="number">0.000</td><td class="number">2</td>' in overview
    archive = bob.get("/labels.zip")
    assert archive.headers["content-disposition"] == 'attachment; filename="labels.zip"'


@pytest.mark.parametrize("ask", ["compare", "rank", "thumbs", "rate", "mark"])
def test_nothing_that_a_model_wrote_becomes_html(tmp_path: Path, ask: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "prompt": [{"role": HOSTILE, "content": HOSTILE}],
            "responses": [HOSTILE, f"{HOSTILE} 2"],
        }
    ]
    store = new_store(tmp_path / "out", rows, ask=ask)
    browser = client(store, HOSTILE[:40])
    for path in ("/item/1", "/overview", "/"):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "no" * 9 not in page
    assert HOSTILE in unescape(browser.get("/item/1").text)


def test_characters_are_as_many_for_the_browser(tmp_path: Path) -> None:
    """Line ends are written as references, which HTML leaves alone; NUL is replaced."""
    rows = [{"prompt": "p", "response": "a\r\nb\rc\0d&e", "ask": "mark"}]
    page = client(new_store(tmp_path / "out", rows), "Ada").get("/item/1").text
    assert ">a&#13;\nb&#13;c\N{REPLACEMENT CHARACTER}d&amp;e</div>" in page
    assert 'data-length="10"' in page


@pytest.mark.parametrize(
    ("number", "more", "status"),
    [
        (1, {"choice": "up"}, 400),
        (1, {}, 400),
        (1, {"choice": "a", "latest": "x"}, 400),
        (1, {"choice": "a", "form": ""}, 400),
        (1, {"choice": "a", "form": "x" * 101}, 400),
        (1, {"choice": "a", "csrf": "wrong"}, 403),
    ],
)
def test_other_forms_are_refused_in_one_sentence(
    store: LabelStore, number: int, more: dict[str, str], status: int
) -> None:
    browser = client(store, "Ada")
    said = fields(browser.get(f"/item/{number}").text) | more
    answer = browser.post(f"/item/{number}", data=said, headers=ORIGIN)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    assert store.clicks() == []


@pytest.mark.parametrize(
    "path", ["/item/4", "/item/0", f"/item/{10**30}", "/item/x", "/nothing", "/static/../pages.py"]
)
def test_what_is_not_there_is_not_found(store: LabelStore, path: str) -> None:
    assert client(store, "Ada").get(path).status_code == 404


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\x1b[31m", "\u202eadA"])
def test_names_that_cannot_be_shown_are_asked_for_again(store: LabelStore, name: str) -> None:
    browser = client(store)
    said = {"csrf": hidden(browser.get("/").text, "csrf"), "name": name}
    answer = browser.post("/start", data=said, headers=ORIGIN)
    assert answer.status_code == 400
    assert "Please give a name" in answer.text
    assert store.annotators() == []
    # Without a name every page leads to the question.
    assert browser.get("/next").url.path == "/"


def test_a_restart_keeps_sessions_forms_and_clicks(tmp_path: Path) -> None:
    first = new_store(tmp_path / "out", pairs(2))
    browser = client(first, "Ada")
    said = fields(browser.get("/item/1").text, choice="a")
    browser.post("/item/1", data=said, headers=ORIGIN)
    cookies = dict(browser.cookies)
    first.close()
    second = new_store(tmp_path / "out", pairs(2))
    again = TestClient(
        application(second, BOUNDS, TEXTS), base_url="http://127.0.0.1", cookies=cookies
    )
    assert again.post("/item/1", data=said, headers=ORIGIN).status_code == 200
    assert len(second.clicks()) == 1
    assert again.get("/next").url.path == "/item/2"


def test_spans_are_kept_in_code_points(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "a🗼é🥐", "ask": "mark"}]
    store = new_store(tmp_path / "out", rows)
    spans = [{"start": 1, "end": 2, "type": "error"}, {"start": 3, "end": 4, "type": "good"}]
    press(client(store, "Ada"), 1, choice="marked", spans=json.dumps(spans))
    (found,) = store.judgements()
    assert found.answer["spans"] == spans
    assert found.seconds is not None
    page = client(store, "Ada").get("/item/1").text
    again = re.search(r'name="spans" id="spans" value="([^"]*)"', page)
    assert again is not None
    assert json.loads(unescape(again[1])) == spans
