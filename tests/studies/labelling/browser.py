"""Chromium without a window, and the command `label` in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
PHONE = (390, 844)
in_a_browser = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(None in (CHROMIUM, DRIVER), reason="no chromium or chromedriver here"),
]
WAIT = 60
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
)


class Server:
    """The command `label`, which can be killed and started again at the same address."""

    def __init__(self, *words: str) -> None:
        self.words = [*words]
        self.address = self.token = ""
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/label.py"), *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.match(r"open (http://\S+)/\?token=(\S+)", line):
                self.address, self.token = found[1], found[2]
                break
        else:
            raise AssertionError("the page did not open")
        if "--port=0" in self.words:
            # From now on the same, as people's tabs expect it.
            port = self.address.rpartition(":")[2]
            self.words[self.words.index("--port=0")] = f"--port={port}"

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.communicate()

    @property
    def first_page(self) -> str:
        return f"{self.address}/?token={self.token}"


@contextmanager
def serving(*words: str) -> Iterator[Server]:
    server = Server(*words, "--port=0")
    try:
        yield server
    finally:
        server.kill()


class Browser:
    """One person's."""

    def __init__(self, profile: Path, size: tuple[int, int] = (1280, 800), *more: str) -> None:
        assert CHROMIUM is not None
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, *more, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_page_load_timeout(WAIT)
        self.size = size
        self.emulate(size)

    def emulate(self, size: tuple[int, int]) -> None:
        """Have a screen of this size in the present tab; a narrow one is touched."""
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        touch = {"enabled": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)

    def join(self, server: Server, name: str) -> None:
        self.driver.get(server.first_page)
        self.find("#name").send_keys(name)
        self.leave(lambda: self.find("main .primary").click())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def leave(self, act: Callable[[], object]) -> None:
        """Do something that leads to another page, and wait for it."""
        mark = "return [performance.timeOrigin, document.readyState]"
        before = self.driver.execute_script(mark)[0]
        act()

        def is_other(_: object) -> bool:
            origin, state = self.driver.execute_script(mark)
            return origin != before and state == "complete"

        WebDriverWait(self.driver, WAIT, poll_frequency=0.05).until(is_other)

    def press(self, key: str) -> None:
        """Press a key that leads on, once keys are heeded."""
        settled = "return document.readyState === 'complete' && performance.now() > 1000"
        WebDriverWait(self.driver, WAIT, poll_frequency=0.05).until(
            lambda driver: driver.execute_script(settled)
        )
        self.leave(lambda: self.find("body").send_keys(key))

    def click(self, selector: str) -> None:
        """Click on what leads on."""
        self.leave(lambda: self.find(selector).click())

    def tap(self, element: WebElement) -> None:
        """Click on what may be under the bar at first."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    @property
    def item(self) -> int:
        return int(self.find("#judgement").get_attribute("data-item") or 0)

    def texts(self) -> list[str]:
        """The responses, from the first place on the screen to the last."""
        return [part.get_property("textContent") for part in self.all(".response .text")]  # type: ignore[misc]

    def is_as_wide_as_the_screen(self) -> bool:
        width = self.driver.execute_script("return document.documentElement.scrollWidth")
        return width <= self.size[0]

    def complaints(self) -> list[str]:
        """What the browser's console says: errors, and what the policy of the page forbade."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[attr-defined]


@contextmanager
def browsing(
    folder: Path, name: str, *more: str, size: tuple[int, int] = (1280, 800)
) -> Iterator[Browser]:
    browser = Browser(folder / f"profile-{name}", size, *more)
    try:
        yield browser
    finally:
        browser.driver.quit()
