"""The page as a person sees it: the real program and its bundled model, in Debian's Chromium.

Chromium plays the H.264 that the program writes, so "the video plays" is asked of the browser and not assumed.
"""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import axe_core_python
import pytest
from browser import DESKTOP, NEEDS_BROWSER, PHONE, Browser, program
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = NEEDS_BROWSER
AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
STILL = """
document.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important; }</style>");
"""
AXE_RUN = """
const [standards, done] = [["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], arguments[0]];
const told = (rule) => `${rule.id}: ${rule.nodes.map((node) => node.target.join(" ")).join("; ")}`;
axe.run({ runOnly: standards }).then((result) => done(result.violations.map(told)));
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page."""
    with program(tmp_path_factory.mktemp("server")) as running:
        yield running.url


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def browser(url: str, request: pytest.FixtureRequest) -> Iterator[Browser]:
    browser = Browser(url, request.param)
    yield browser
    browser.driver.quit()


def test_a_sentence_becomes_a_video_that_plays(browser: Browser, url: str):
    """Type, press Generate, watch; on a desktop and on a phone, and with nothing fetched from elsewhere."""
    browser.write("a red circle on green grass")
    browser.press("Generate")
    video = browser.video()
    assert browser.run("arguments[0].videoWidth", video) >= 64
    assert browser.run("arguments[0].error", video) is None
    begun = browser.run("arguments[0].currentTime", video)
    browser.wait(lambda: browser.run("arguments[0].currentTime", video) != begun)
    browser.wait(lambda: "seed" in browser.status())
    assert browser.fits()
    assert all(address.startswith((url, "data:", "blob:")) for address in browser.requests())
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_everybody_can_read_and_reach_the_page(browser: Browser):
    """WCAG 2.1 AA by axe-core, light and dark; the Director's table is Gradio's, whose checkboxes have no labels."""
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    browser.driver.execute_script(STILL)  # colours that are on their way are not judged
    for tab in ("", "Edges", "Compare", "History"):
        if tab:
            browser.open_tab(tab)
        for theme in ("Light", "Dark"):
            browser.driver.execute_script("t2vTheme(arguments[0])", theme)
            assert browser.run("document.body.classList.contains('dark')") == (theme == "Dark")
            found = browser.driver.execute_async_script(AXE_RUN)
            assert found == [], (tab, theme)


def test_the_result_stays_in_sight_and_the_keyboard_generates(url: str):
    """On a desktop, however far the settings scroll; Ctrl+Enter is Generate, and the title says how far it is."""
    browser = Browser(url, DESKTOP)
    try:
        browser.write("a red circle on green grass")
        browser.prompt().send_keys(Keys.CONTROL, Keys.ENTER)
        browser.wait(lambda: "%" in browser.driver.title)
        browser.wait(lambda: "seed" in browser.status())
        browser.run("window.scrollTo(0, document.body.scrollHeight)")
        place = "arguments[0].getBoundingClientRect().top"
        browser.wait(lambda: 0 <= browser.run(place, browser.video()) < DESKTOP[1] / 2)
        browser.wait(lambda: browser.driver.title == "Text2Video-Zero Studio")
    finally:
        browser.driver.quit()


def test_what_the_small_model_does_not_know_is_said_as_one_types(browser: Browser):
    """With a sentence that works, before anything is drawn."""
    browser.write("a lion walking in the jungle")
    browser.wait(lambda: any("“lion”, “jungle” are not among its words" in line for line in browser.lines()))
    browser.write("a red circle on green grass")
    browser.wait(lambda: not any("not among its words" in line for line in browser.lines()))


def test_a_mistake_is_said_on_the_page(browser: Browser):
    """No prompt, no video, one sentence; the next try works."""
    browser.press("Generate")
    browser.wait(lambda: "is empty" in browser.status())
    browser.press("a red circle on green grass")  # the example
    browser.wait(lambda: browser.prompt().get_attribute("value") == "a red circle on green grass")
    browser.press("Generate")
    assert browser.video()


def test_cancel_stops_a_long_job_and_the_next_one_runs(browser: Browser):
    """A preview is shown while it denoises; once it says "Stopped", Generate is heard, however slow the server is."""
    frames = browser.driver.find_element(By.XPATH, "//label[.//span[normalize-space()='Frames']]//input")
    frames.clear()
    frames.send_keys("500")
    browser.write("a red circle on green grass")
    browser.press("Generate")
    browser.wait(lambda: "Step" in browser.status())
    browser.press("Cancel")
    browser.wait(lambda: "Stopped" in browser.status())
    frames.clear()
    frames.send_keys("2")
    browser.press("Generate")
    assert browser.video()


def test_a_video_brings_its_settings_back(browser: Browser, tmp_path: Path):
    """Download a video, forget everything, give the file back: the prompt and the seed are there again."""
    browser.write("a blue star at night")
    browser.press("Generate")
    source = browser.run("arguments[0].src", browser.video())
    browser.wait(lambda: "seed" in browser.status())
    seed = browser.status().split("seed ")[1].split()[0]
    clip = tmp_path / "clip.mp4"
    with urllib.request.urlopen(source) as answer:
        clip.write_bytes(answer.read())
    browser.write("something else")
    browser.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(clip))
    browser.wait(lambda: "restored" in browser.status())
    browser.wait(lambda: browser.prompt().get_attribute("value") == "a blue star at night")
    field = browser.driver.find_element(By.XPATH, "//label[.//span[normalize-space()='Seed']]//input")
    assert field.get_attribute("value") == seed


@pytest.mark.parametrize(
    ("tab", "clip"), [("Pose", "Wave"), ("Edges", "A star turns"), ("Depth", "One passes"), ("Edit", "A heart")]
)
def test_an_example_clip_steers_a_video(browser: Browser, tab: str, clip: str):
    """Every tab that wants a video works out of the box: open it, click on a clip, press Generate, watch both."""
    browser.open_tab(tab)
    browser.press(clip)
    browser.wait(lambda: browser.prompt().get_attribute("value"))
    browser.press("Generate")
    assert browser.run("arguments[0].error", browser.video()) is None
    browser.wait(lambda: "seed" in browser.status())
    assert browser.fits()


def test_moments_become_a_table_and_a_video(browser: Browser):
    """The Director: an example is spread over the frames before anything is made, a row can be changed, and what is
    generated follows the table."""
    browser.open_tab("Director")
    browser.press("a red circle in the centre on sand")
    browser.wait(lambda: "a blue circle in the centre on sand" in browser.lines())
    browser.change_cell("a blue circle in the centre on sand", "a green star in the centre on sand")
    browser.press("Generate")
    assert browser.run("arguments[0].error", browser.video()) is None
    browser.wait(lambda: "seed" in browser.status())
    browser.press("Settings of this video")
    browser.wait(lambda: any("7: a green star in the centre on sand" in line for line in browser.lines()))
    assert browser.fits()


def test_a_language_model_directs(browser: Browser):
    """The server of the operator writes all frames; then they are drawn."""
    browser.open_tab("Director")
    browser.write("a circle changes")
    browser.press("Ask the language model")
    browser.wait(lambda: "has written the frames" in browser.status())
    assert "a red circle, frame 7" in browser.lines()
    browser.press("Generate")
    browser.video()
    browser.wait(lambda: "seed" in browser.status())


def test_engines_are_compared_side_by_side(browser: Browser, url: str):
    """Three that ship draw one prompt; their clips play in step, and the numbers and the report are there."""
    browser.open_tab("Compare")
    browser.write("a large red circle moves to the left on grass")
    browser.shown(By.XPATH, "//button[normalize-space()='Compare'][not(@role='tab')]").click()
    browser.wait(lambda: "Done in" in browser.status())
    shown = "[...document.querySelectorAll('.t2v-cmp-clip')].filter(one => one.offsetWidth)"
    assert browser.run(f"{shown}.length") == 3
    assert browser.run(f"new Set({shown}.map(one => one.getAnimations()[0].startTime)).size") == 1
    assert any("Direction right" in line for line in browser.lines())
    assert any(line.endswith(".zip") for line in browser.lines())
    assert browser.fits()
    assert all(address.startswith((url, "data:", "blob:")) for address in browser.requests())


def test_a_comparison_that_is_cancelled_keeps_what_was_finished(browser: Browser):
    """The first engine's clip stays on the page, with its numbers and a report; then the next job is heard."""
    browser.open_tab("Compare")
    browser.write("a large red circle moves to the left on grass")
    compare = "//button[normalize-space()='Compare'][not(@role='tab')]"
    browser.shown(By.XPATH, compare).click()
    browser.wait(lambda: "clip 2 of 3" in browser.status())
    browser.press("Cancel")
    browser.wait(lambda: "what was finished is below" in browser.status())
    clips = "[...document.querySelectorAll('.t2v-cmp-clip')].filter(one => one.offsetWidth).length"
    assert browser.run(clips) in (1, 2)
    assert any("stopped before it had finished" in line for line in browser.lines())
    assert any(line.endswith(".zip") for line in browser.lines())
    browser.shown(By.XPATH, compare).click()
    browser.wait(lambda: "clip 1 of 3" in browser.status())
    assert browser.run(clips) == 0
    browser.press("Cancel")
    browser.wait(lambda: "Nothing was kept" in browser.status())
