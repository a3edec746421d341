"""The real program and a tab of Chromium with its page in it, for the tests that do what a person does."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes import chat_server, free_port
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
ROOT = Path(__file__).parents[1]
DESKTOP, PHONE = (1280, 900), (390, 844)
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE_SECONDS = 120
NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed"),
]


class Program:
    """``python app.py`` on a free port, with its log and its data in a folder; others reach the address, so that each
    browser is a visitor of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}/"
        self.environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "gradio"), **environment}
        self.start()

    def start(self) -> None:
        """Start it, again on the same port and folder if it ran before, and wait for the page."""
        command = [sys.executable, "app.py", "--host", "0.0.0.0", "--port", str(self.port)]
        command += ["--data-dir", str(self.folder / "data")]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self._wait_for_answer()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def _wait_for_answer(self) -> None:
        """Until the page is there; a server that died says why."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "the page did not come up"
                time.sleep(0.1)


@contextmanager
def program(folder: Path) -> Iterator[Program]:
    """The program, until the tests are over, with a language model that another server answers for."""
    with chat_server() as address:
        running = Program(folder, T2V_LLM_MODEL="small", T2V_LLM_URL=address)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.end()


class Browser:
    """A tab of Chromium with the page in it, and the few things a person does there."""

    def __init__(self, url: str, size: tuple[int, int]):
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for option in OPTIONS:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        width, height = self.size = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get(url)
        self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, "textarea"))

    def wait(self, condition):
        """The value of the condition, once it is true."""
        return WebDriverWait(self.driver, PATIENCE_SECONDS).until(lambda _: condition())

    def run(self, script: str, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def fits(self) -> bool:
        """True if the page is as wide as the screen; a phone shows a wider one by making all of it smaller."""
        return self.run("[innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [self.size[0], True]

    def shown(self, by: str, what: str):
        """The first element of this kind that can be seen: other tabs have the same ones."""
        return self.wait(lambda: next((one for one in self.driver.find_elements(by, what) if one.is_displayed()), None))

    def prompt(self):
        return self.shown(By.CSS_SELECTOR, "textarea")

    def write(self, text: str) -> None:
        self.prompt().clear()
        self.prompt().send_keys(text)

    def field(self, label: str):
        """The field of a number or a text, of the tab that is open."""
        inner = f"//label[.//span[normalize-space()='{label}']]"
        return self.shown(By.XPATH, f"{inner}//input | {inner}//textarea")

    def fill(self, label: str, text: str) -> None:
        field = self.field(label)
        self.run("arguments[0].scrollIntoView({block: 'center'})", field)
        field.clear()
        field.send_keys(text)

    def job_lines(self, words: str) -> list[str]:
        """The lines of the list of jobs that hold some words; the list is opened if it is closed."""
        self.wait(self._list_is_open)
        lines = self.run("[...document.querySelectorAll('.t2v-jobs label')].map(one => one.textContent.trim())")
        return [line for line in lines if words in line]

    def _list_is_open(self) -> bool:
        """Press its title where it is closed; a page that has just come back opens it by itself."""
        seen = "!!document.querySelector('.t2v-jobs')?.offsetWidth"
        if not self.run(seen):
            self.press("Jobs")
            time.sleep(1)
        return self.run(seen)

    def choose_job(self, words: str) -> None:
        """Choose the job that holds some words."""
        where = f"//*[contains(@class, 't2v-jobs')]//label[contains(., '{words}')]"
        self.wait(lambda: self.job_lines(words))
        self.wait(lambda: self._clicked(By.XPATH, where))

    def _clicked(self, by: str, what: str) -> bool:
        """Click on the first such element; a list that is drawn anew meanwhile is tried again."""
        try:
            self.run("arguments[0].click()", self.driver.find_element(by, what))
            return True
        except WebDriverException:
            return False

    def thumbnails(self) -> list:
        """The small pictures of clips that can be seen."""
        found = self.driver.find_elements(By.CSS_SELECTOR, ".thumbnail-item")
        return [one for one in found if one.is_displayed()]

    def press(self, label: str, *, last: bool = False) -> None:
        """Press the first button with such words that can be seen, or the last one with exactly these."""
        words = f"normalize-space()='{label}'" if last else f"contains(normalize-space(), '{label}')"
        where = f"//button[{words}]"
        button = self.shown(By.XPATH, where)
        if last:
            button = [one for one in self.driver.find_elements(By.XPATH, where) if one.is_displayed()][-1]
        self.run("arguments[0].scrollIntoView({block: 'center'})", button)
        self.wait(button.is_enabled)
        button.click()

    def open_tab(self, label: str) -> None:
        """A narrow screen has the last tabs in a menu."""
        tabs = self.driver.find_elements(By.XPATH, f"//button[@role='tab'][normalize-space()='{label}']")
        if not any(tab.is_displayed() for tab in tabs):
            self.shown(By.CSS_SELECTOR, ".overflow-menu > button").click()
        self.press(label)

    def status(self) -> str:
        texts = "[...document.querySelectorAll('.t2v-status')].filter(one => one.offsetWidth).map(one => one.innerText)"
        return self.run(texts + ".join()")

    def lines(self) -> list[str]:
        """Every line of text that can be seen; a cell of a table is one."""
        return [line.strip() for line in self.run("document.body.innerText").splitlines()]

    def change_cell(self, old: str, new: str) -> None:
        """Write something else into a cell of a table, again where the page has just been moving under the mouse."""
        where = f"//*[normalize-space(text())='{old}'][not(self::textarea)]"

        def changed() -> bool:
            if new in self.lines():
                return True
            for cell in [one for one in self.driver.find_elements(By.XPATH, where) if one.is_displayed()][:1]:
                self.run("arguments[0].scrollIntoView({block: 'center'})", cell)
                ActionChains(self.driver).pause(0.3).double_click(cell).pause(0.3).perform()
                ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
                ActionChains(self.driver).send_keys(new, Keys.ENTER).perform()
            return False

        self.wait(changed)

    def video(self):
        """The video on the page, once it can play."""
        shown = "[...document.querySelectorAll('.t2v-result video')].find(v => v.offsetWidth && v.readyState >= 2)"
        return self.wait(lambda: self.run(shown))

    def requests(self) -> set[str]:
        """Every address that was asked for since the last time."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
