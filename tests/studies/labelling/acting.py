"""What two people think of forty items, and how they say it in a browser."""

from __future__ import annotations

import itertools
from typing import Any

from selenium.webdriver.common.keys import Keys

from rlhf_env.rewards.feedback.rated_texts import is_held_out
from tests.studies.labelling.browser import Browser, Server

EACH = 10
# Characters of one to four bytes, joined ones, and line ends of two: offsets count code points.
MARKED = "w5 🗼 w7 👩‍👩‍👧 w9\r\nw11 café w13 é 🥐 w15"
WRONG, GOOD = "w9", "café w13"


def prompts() -> list[str]:
    """Ten different prompts, one of which reward training holds out."""
    words = itertools.permutations([f"w{n}" for n in range(2, 9)], 3)
    found = {True: [], False: []}
    for triple in words:
        text = " ".join(triple)
        found[is_held_out(text)].append(text)
    return [*found[False][: EACH - 1], found[True][0]]


def rows() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for n, prompt in enumerate(prompts()):
        made += [
            {"prompt": prompt, "response_a": f"w20 w{n + 2}", "response_b": f"w21 w{n + 2}"},
            {"prompt": prompt, "responses": ["w20 w22", "w21 w22", "w23 w22"]},
            {"prompt": prompt, "response": "w20 w24", "ask": "thumbs"},
            {"prompt": prompt, "response": MARKED, "ask": "mark"},
        ]
    return made


def opinion(name: str, number: int) -> str:
    """What somebody thinks of an item; the two do not always agree."""
    if number % 9 == 0:
        return "tie"
    if number % 13 == 0:
        return "both_bad"
    return "w21" if name == "Bob" and number % 5 == 0 else "w20"


def compare(browser: Browser, name: str) -> dict[str, Any]:
    said = opinion(name, browser.item)
    if said in ("tie", "both_bad"):
        browser.press({"tie": "t", "both_bad": "x"}[said])
        return {"choice": said}
    place = [text.startswith(said) for text in browser.texts()].index(True)
    if browser.item % 2:
        browser.press("ab"[place])
    else:
        browser.leave(lambda: browser.all(".buttons .primary")[place].click())
    return {"choice": "a" if said == "w20" else "b"}


def rank(browser: Browser, name: str) -> dict[str, Any]:
    number = browser.item
    best = opinion(name, number)
    order = ["w21", "w20", "w23"] if best == "w21" else ["w20", "w21", "w23"]
    places = [[text.startswith(word) for text in browser.texts()].index(True) for word in order]
    if number % 2:
        for place in places:
            browser.find("body").send_keys("abc"[place])
        browser.press(Keys.ENTER)
    else:
        for wanted, place in enumerate(places):
            browser.tap(browser.all(f"[data-place='{place}'] .ranks input")[wanted])
        browser.click(".buttons .primary")
    file = ["w20", "w21", "w23"]
    return {"choice": "ranked", "ranking": [order.index(word) + 1 for word in file]}


def thumb(browser: Browser, name: str) -> dict[str, Any]:
    is_up = opinion(name, browser.item) == "w20"
    if browser.item % 2:
        browser.press("g" if is_up else "b")
    else:
        browser.click("button.up" if is_up else "button.down")
    return {"choice": "up" if is_up else "down"}


SELECTED = "return getSelection().toString()"
SELECT = """
const box = document.getElementById("marked");
const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
let left = box.textContent.indexOf(arguments[0]), node = walker.nextNode();
while (left > node.data.length) { left -= node.data.length; node = walker.nextNode(); }
getSelection().setBaseAndExtent(node, left, node, left + arguments[0].length);
"""


def mark(browser: Browser, name: str) -> dict[str, Any]:
    """A wrong word by keys, and a good part as a mouse or a finger selects it."""
    box = browser.find("#marked")
    while browser.driver.execute_script(SELECTED) != WRONG:
        box.send_keys(Keys.ARROW_RIGHT)
    browser.find("body").send_keys("b")
    start = MARKED.index(WRONG)
    spans = [{"start": start, "end": start + len(WRONG), "type": "error"}]
    if opinion(name, browser.item) == "w20":
        browser.driver.execute_script(SELECT, GOOD)
        browser.find(".tool.good").click()
        start = MARKED.index(GOOD)
        spans.append({"start": start, "end": start + len(GOOD), "type": "good"})
    shown = [part.text for part in browser.all("#marked mark")]
    assert shown == [WRONG, GOOD][: len(spans)]
    browser.click(".send")
    return {"choice": "marked", "spans": spans}


ACTS = {"compare": compare, "rank": rank, "thumbs": thumb, "mark": mark}


def answer(browser: Browser, name: str) -> tuple[int, dict[str, Any]]:
    number = browser.item
    ask = browser.find("#judgement").get_attribute("data-ask") or ""
    assert browser.is_as_wide_as_the_screen()
    said = ACTS[ask](browser, name)
    return number, said


def killed_in_the_middle(server: Server, browser: Browser, name: str) -> tuple[int, dict[str, Any]]:
    """The server dies, the click goes nowhere; it starts again, and the page is loaded again."""
    number = browser.item
    server.kill()
    browser.leave(lambda: browser.find("[value=skip]").click())
    assert not browser.all("#judgement")
    server.start()
    browser.leave(browser.driver.refresh)
    assert browser.item != number
    return number, {"choice": "skip"}
