"""Who is kept out, and what is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from studies.labelling.store import LabelStore
from studies.labelling.web.application import application
from studies.labelling.web.protection import MAX_BODY
from tests.studies.labelling.made import BOUNDS, ORIGIN, hidden, new_store, pairs
from tests.studies.labelling.test_pages import TEXTS, client, fields

PAGES = ("/", "/next", "/item/1", "/undo", "/rest", "/overview", "/labels.zip")
TEN_MB = 10_000_000
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return new_store(tmp_path / "out", pairs(3))


def stranger(store: LabelStore, host: str = "127.0.0.1") -> TestClient:
    return TestClient(application(store, BOUNDS, TEXTS), base_url=f"http://{host}")


@pytest.mark.parametrize("path", PAGES)
def test_without_the_token_nothing_is_shown(store: LabelStore, path: str) -> None:
    for said in ("", "wrong", "\u00e9" * 40):
        answer = stranger(store).get(path, params={"token": said})
        assert answer.status_code == 403
        assert "question" not in answer.text
        assert not answer.cookies


def test_a_cookie_that_was_not_given_is_none(store: LabelStore) -> None:
    name = f"label-{store.settings['run']}"
    for value in ("x", store.settings["token"], "' OR 1=1 --"):
        asking = stranger(store)
        asking.cookies.set(name, value)
        assert asking.get("/next").status_code == 403


def test_the_cookie_is_for_this_page_only(store: LabelStore) -> None:
    answer = stranger(store).get("/", params={"token": store.settings["token"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert store.settings["token"].lower() not in cookie


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "x"])
@pytest.mark.parametrize("path", ["/", "/next", "/static/label.css"])
def test_other_hosts_are_refused(store: LabelStore, host: str, path: str) -> None:
    asking = client(store, "Ada")
    answer = asking.get(path, headers={"host": host}, params={"token": store.settings["token"]})
    assert answer.status_code == 400
    assert "question" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8765", "[::1]:8765"])
def test_the_names_of_this_machine_are_accepted(store: LabelStore, host: str) -> None:
    answer = stranger(store, host).get("/", params={"token": store.settings["token"]})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.test", "null", "http://127.0.0.1.evil.test", "http://127.0.0.1:81"),
        *("http://evil.test@127.0.0.1", "file://127.0.0.1", "http://[", ""),
    ],
)
def test_forms_of_other_pages_are_refused(store: LabelStore, origin: str) -> None:
    asking = client(store, "Ada")
    said = fields(asking.get("/item/1").text, choice="a")
    answer = asking.post("/item/1", data=said, headers={"origin": origin} if origin else {})
    assert answer.status_code == 403
    assert store.clicks() == []


def test_a_form_needs_the_sessions_own_secret(store: LabelStore) -> None:
    ada, bob = client(store, "Ada"), client(store, "Bob")
    said = fields(ada.get("/item/1").text, choice="a")
    assert bob.post("/item/1", data=said, headers=ORIGIN).status_code == 403
    del said["csrf"]
    assert ada.post("/item/1", data=said, headers=ORIGIN).status_code == 403
    assert store.clicks() == []


def chunks() -> Iterator[bytes]:
    for _ in range(TEN_MB // 10_000):
        yield b"x" * 10_000


def test_ten_megabytes_are_refused_with_and_without_a_length(store: LabelStore) -> None:
    asking = client(store, "Ada")
    for body in (b"x" * TEN_MB, chunks()):
        answer = asking.post("/item/1", content=body, headers=ORIGIN | FORM)
        assert answer.status_code == 413
    assert store.clicks() == []
    # What is just small enough is read, and refused for what it says.
    said = b"x" * MAX_BODY
    assert asking.post("/item/1", content=said, headers=ORIGIN | FORM).status_code == 403


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data"])
def test_other_kinds_of_body_are_refused(store: LabelStore, kind: str) -> None:
    asking = client(store, "Ada")
    answer = asking.post("/item/1", content=b"{}", headers=ORIGIN | {"content-type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"\xff\xfe", b"choice=%ff", b"&".join([b"a=b"] * 99)])
def test_bodies_that_are_no_form_are_refused(store: LabelStore, body: bytes) -> None:
    asking = client(store, "Ada")
    assert asking.post("/item/1", content=body, headers=ORIGIN | FORM).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py"),
        *("/static//etc/passwd", "/static/%00", "/static/", "/static/label.css/.."),
    ],
)
def test_only_the_static_files_are_served(store: LabelStore, path: str) -> None:
    answer = stranger(store).get(path)
    assert answer.status_code in (403, 404)
    assert "Settings" not in answer.text


def test_every_answer_forbids_scripts_frames_and_copies(store: LabelStore) -> None:
    asking = client(store, "Ada")
    answers = [asking.get(path) for path in (*PAGES, "/nothing", "/static/label.css")]
    answers.append(asking.post("/item/1", content=b"", headers=FORM))
    answers.append(asking.get("/", headers={"host": "evil.test"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_no_page_has_anything_inline(store: LabelStore) -> None:
    asking = client(store, "Ada")
    for path in ("/", "/item/1", "/overview", "/rest"):
        page = asking.get(path).text
        assert "<style" not in page
        assert " style=" not in page
        assert " onclick" not in page
        assert page.count("<script") == page.count('<script type="module" src="/static/')


def test_errors_tell_nothing_of_the_inside(store: LabelStore) -> None:
    asking = TestClient(
        application(store, BOUNDS, TEXTS),
        base_url="http://127.0.0.1",
        raise_server_exceptions=False,
    )
    page = asking.get("/", params={"token": store.settings["token"]}).text
    asking.post("/start", data={"csrf": hidden(page, "csrf"), "name": "Ada"}, headers=ORIGIN)
    said = fields(asking.get("/item/1").text, choice="a")
    store.connection.execute("PRAGMA query_only = ON")
    answer = asking.post("/item/1", data=said, headers=ORIGIN)
    assert answer.status_code == 500
    assert "may not have been kept" in answer.text
    for word in ("Traceback", "sqlite", "readonly", ".py"):
        assert word not in answer.text
    # What failed is sent again, and kept once.
    store.connection.execute("PRAGMA query_only = OFF")
    for _ in range(2):
        assert asking.post("/item/1", data=said, headers=ORIGIN).status_code == 200
    assert len(store.clicks()) == 1
