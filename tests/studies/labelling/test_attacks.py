"""What attackers and impatient people do to the page, in a real browser."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studies.cli.commands import label
from tests.studies.labelling.browser import Server, browsing, in_a_browser, serving
from tests.studies.labelling.made import pairs, read, write_rows

pytestmark = in_a_browser

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>\'{{0}}'


@contextmanager
def evil_page(address: str) -> Iterator[str]:
    """Another page on this machine that sends a form to ours as soon as it is opened."""
    html = (
        f"<form id=f method=post action='{address}/item/1'><input name=choice value=a>"
        "</form><script>document.getElementById('f').submit()</script>"
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_attacks_get_nowhere(tmp_path: Path) -> None:
    hostile = [
        {"prompt": HOSTILE, "responses": [HOSTILE, f"{HOSTILE} 2"], "ask": ask}
        for ask in ("compare", "rank", "thumbs", "rate", "mark")
    ]
    data, out = write_rows(tmp_path / "rows.jsonl", hostile), tmp_path / "out"
    rules = "--host-resolver-rules=MAP evil.test 127.0.0.1"
    with (
        serving(f"--data={data}", f"--out={out}") as server,
        browsing(tmp_path, "ada", rules) as ada,
    ):
        ada.join(server, HOSTILE[:40])
        # Neither is there an element of a model's text, nor did a policy have to stop it.
        count = 8
        for number in range(1, count + 1):
            ada.driver.get(f"{server.address}/item/{number}")
            assert HOSTILE in " ".join(ada.texts())
            assert ada.all("img, script:not([src])") == []
            assert ada.driver.execute_script("return window.hacked") is None
        ada.driver.get(f"{server.address}/overview")
        assert ada.complaints() == []
        # Cookies do not tell ports apart, so this one is sent along: the origin tells.
        with evil_page(server.address) as evil:
            ada.driver.get(evil)
            ada.driver.implicitly_wait(10)
            assert "This came from another page." in ada.find("pre").text
        ada.driver.get(server.address)
        cookies = ada.driver.get_cookies()
        named = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)
        ada.driver.get(server.address.replace("127.0.0.1", "evil.test"))
        assert "Invalid host header" in ada.find("body").text
        for headers, body in (
            ({"content-length": "10000000"}, b"x" * 10_000_000),
            ({"transfer-encoding": "chunked"}, b"%x\r\n%s\r\n0\r\n\r\n" % (10**7, b"x" * 10**7)),
        ):
            assert refusal(server, headers | {"cookie": named}, body) == 413
            # Of a stranger nothing is read at all.
            assert refusal(server, headers, body) in (403, 413)
    assert label.main([f"--out={out}", "--export"]) == 0
    assert (out / "clicks.jsonl").read_text() == ""


def refusal(server: Server, headers: dict[str, str], body: bytes) -> int:
    """The status of a long form that is sent over the wire."""
    host = server.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.putrequest("POST", "/item/1")
    form = {"origin": server.address, "content-type": "application/x-www-form-urlencoded"}
    for name, value in (form | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    # The server may have answered, and read no more.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_two_tabs_back_and_double_clicks(tmp_path: Path) -> None:
    data, out = write_rows(tmp_path / "rows.jsonl", pairs(4)), tmp_path / "out"
    with (
        serving(f"--data={data}", f"--out={out}") as server,
        browsing(tmp_path, "ada") as ada,
    ):
        ada.join(server, "Ada")
        first = ada.item
        driver = ada.driver
        # A second tab gets another item.
        tab = driver.current_window_handle
        driver.switch_to.new_window("tab")
        driver.get(f"{server.address}/next")
        assert ada.item != first
        # The same item in both tabs: the first click counts, the second is told so.
        driver.get(f"{server.address}/item/{first}")
        driver.switch_to.window(tab)
        ada.press("a")
        driver.switch_to.window(driver.window_handles[1])
        ada.press("b")
        assert "You have answered this meanwhile" in ada.find("h1").text
        driver.close()
        driver.switch_to.window(tab)
        # Two clicks in a row answer one item.
        second = ada.item
        twice = "const b = document.querySelector('[value=tie]'); b.click(); b.click();"
        ada.leave(lambda: driver.execute_script(twice))
        # Back shows what was said, and another answer replaces it.
        ada.leave(driver.back)
        assert ada.item == second
        driver.implicitly_wait(10)
        assert ada.find(".notice").text.startswith("You said tie.")
        ada.press("x")
        # U leads to the last answer, and from there back to where one was.
        here = ada.item
        ada.press("u")
        assert ada.item == second
        ada.press("s")
        assert ada.item == here
        # With keys off nothing happens.
        ada.find("#shortcuts").click()
        ada.find("body").send_keys("a")
        assert ada.item == here
        # Of the second tab, and nothing else.
        (told,) = ada.complaints()
        assert "409 (Conflict)" in told
    assert label.main([f"--out={out}", "--export"]) == 0
    clicks = [(click["item"], click["choice"]) for click in read(out / "clicks.jsonl")]
    shown = [choice for item, choice in clicks if item == second]
    assert shown == ["tie", "both_bad", "skip"]
    assert len(clicks) == 4
