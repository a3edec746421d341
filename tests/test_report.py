"""What a comparison looks like: the page needs nothing else, says words as words, and shows every frame once."""

import base64
import dataclasses
import html.parser
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from comparison.report.clips import clips_html, easing, strip_of
from comparison.report.page import write_report
from comparison.report.plots import cut, plots_html, ticks
from comparison.report.tables import markdown_table, table_html
from comparison.results import ClipResult, EngineResult, Results
from evaluation.statistics import MIN_PROMPTS

PROMPTS = ("a red circle", "<script>alert(1)</script> & a star")
MANY = tuple(f"prompt {index}" for index in range(MIN_PROMPTS))
SEEDS = (0, 7)
LABEL = '"Quoted" <b>engine</b>'
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
OPTIONS = (  # a scroll bar that is there on the screen and not in a picture of the whole page would move the clips
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
COLOURS = [(200, 30, 30), (30, 160, 30), (30, 30, 200), (210, 200, 30), (120, 20, 140), (20, 170, 180)]


def shades(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames of one colour each, uint8 (count, height, width, 3)."""
    colours = np.array([COLOURS[index % len(COLOURS)] for index in range(count)], np.uint8)
    return np.broadcast_to(colours[:, None, None], (count, height, width, 3)).copy()


def engine_of(
    name: str,
    *,
    prompts: Sequence[str] = PROMPTS,
    frames: int = 6,
    fps: int = 3,
    seconds: float = 2.0,
    **measures: float,
) -> EngineResult:
    """An engine that made every prompt with every seed, all alike."""
    strip = strip_of(shades(frames))
    clips = [
        ClipResult(
            prompt, seed, f"clips/{name} {index}-{seed}.mp4", seconds, frames, fps, 64, 48, measures, strip=strip
        )
        for index, prompt in enumerate(prompts)
        for seed in SEEDS
    ]
    return EngineResult(name, name, f"What {name} is.", {"steps": 8}, 1.5, 3 * 2**30, clips=clips)


@pytest.fixture
def results() -> Results:
    """Two engines that made everything, one that stopped half way, one that has not begun."""
    good = engine_of("good", clip_text=31.0, warping_error=0.002, fastest_motion=1.0)
    plain = engine_of("plain", frames=4, seconds=9.0, clip_text=29.0, warping_error=0.004, fastest_motion=math.nan)
    plain.label = LABEL
    failed = engine_of("failed", clip_text=40.0)
    failed.clips, failed.error = failed.clips[:2], "too little <memory>"
    later = EngineResult("later", "Later", "", {})
    return Results(PROMPTS, SEEDS, "cpu", {"torch": "2"}, "2026-01-02T03:04:05+00:00", [good, plain, failed, later])


class Page(html.parser.HTMLParser):
    """What a browser would find in a page: its elements, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def rows_of(results: Results) -> list[list[str]]:
    """The table's rows of cells, as HTML."""
    body = table_html(results).split("<tbody>")[1]
    return [re.findall(r"<t[hd].*?</t[hd]>", row) for row in body.split("</tr>")[:-1]]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (512, 512), (320, 576), (832, 480)])
def test_a_strip_has_the_frames_in_order(height, width):
    """Below each other, none larger than it must be, and without a trace of one in the next."""
    strip = np.asarray(Image.open(io.BytesIO(strip_of(shades(6, height, width)))))
    assert strip.shape[1] <= 256
    assert len(strip) % 6 == 0
    frames = strip.reshape(6, -1, *strip.shape[1:]).astype(int)
    assert frames.shape[1] <= 256
    assert frames.shape[1] / frames.shape[2] == pytest.approx(height / width, rel=0.04)
    assert np.abs(frames - np.array(COLOURS)[:, None, None]).max() <= 3


def test_a_long_clip_keeps_its_first_and_its_last_frame():
    """More than 64 frames are thinned out evenly."""
    frames = np.arange(200, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    strip = np.asarray(Image.open(io.BytesIO(strip_of(frames)))).reshape(64, 8, 8, 3)[:, 4, 4, 0].astype(int)
    assert (strip[0], strip[-1]) == (0, 199)
    assert set(np.diff(strip)) <= {2, 3, 4}


def test_words_from_outside_are_words(results: Results, tmp_path: Path):
    """A prompt, a label or an error is text whatever it holds, and so is an attribute."""
    page = Page(write_report(results, tmp_path).read_text("utf-8"))
    assert "script" not in page.tags()
    assert "b" in page.tags()  # the best of a column
    for words in (*PROMPTS, LABEL, "too little <memory>", "What good is."):
        assert words in page.words
    assert any(LABEL in label for label in page.values("aria-label"))


def test_the_page_needs_nothing_else(results: Results, tmp_path: Path):
    """No address of anywhere: pictures are in the page, and links lead to the clips beside it."""
    results.engines[0].clips[1] = ClipResult(PROMPTS[0], 7, "javascript:alert(1)//", 1, 6, 3, 64, 48, {})
    text = write_report(results, tmp_path).read_text("utf-8")
    page = Page(text)
    assert page.values("src") == []
    assert all(link.startswith(("clips/", "javascript%3Aalert")) for link in page.values("href"))
    assert {clip.file.replace(" ", "%20") for clip in results.engines[1].clips} <= set(page.values("href"))
    assert {address[:22] for address in re.findall(r"url\((.*?)\)", text)} == {"data:image/jpeg;base64"}
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page.values("content")
    assert page.tags() & {"link", "script", "img", "iframe", "object", "base", "form"} == set()


def test_the_numbers_are_strict_json(results: Results, tmp_path: Path):
    """NaN is null, half a surrogate pair can be written, and nothing but the two files is left."""
    results.engines[0].note = "broken \udc80"
    write_report(results, tmp_path / "new")
    text = (tmp_path / "new" / "results.json").read_text("utf-8")
    told = json.loads(text, parse_constant=pytest.fail)
    assert told["engines"][1]["clips"][0]["measures"]["fastest_motion"] is None
    assert told["engines"][0]["note"] == "broken \udc80"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["report.html", "results.json"]


def test_what_cannot_be_written_leaves_the_old_report(results: Results, tmp_path: Path):
    """A report is whole or it is the one before."""
    write_report(results, tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    results.engines[0].settings = {"strength": math.nan}
    with pytest.raises(ValueError, match="JSON"):
        write_report(results, tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before


def test_the_best_is_bold_whichever_way_is_better(results: Results):
    """Higher for CLIP text, lower for the warping error; nothing where all are alike or neither is better, and never
    what an engine made of half the prompts. Nor seconds: one clip has 6 frames, another 4."""
    good, plain, failed, later = rows_of(results)
    heads = re.findall(r'<th scope="col".*?</th>', table_html(results))
    names = [re.sub("<.*?>", "", head).rstrip("\N{NO-BREAK SPACE}↑↓") for head in heads]
    text, warping = names.index("CLIP text"), names.index("Warping error")
    assert ("2.0" in good[1], "9.0" in plain[1]) == (True, True)
    assert all("<b>" not in cell for row in (good, plain, failed, later) for cell in row[1:4])
    assert "<b>31.00</b>" in good[text]
    assert "<b>2.00</b>" in good[warping]
    assert "40.00" in failed[text]
    assert "<b>" not in failed[text]
    assert "(lower is better)" in heads[warping]
    assert "arXiv" in heads[warping].split(">")[0]


def test_an_interval_is_told_where_there_is_one(results: Results):
    """Enough prompts have one, and a whisker; an engine with few has a mean and a dot alone, and one without clips a
    dash."""
    results.engines[1] = engine_of("many", prompts=MANY, clip_text=29.0)
    good, many, _, later = rows_of(results)
    assert "[29.00, 29.00]" in many[4]
    assert "31.00" in good[4]
    assert "[" not in good[4]
    assert "—" in later[4]
    assert (plots_html(results).count("whisker"), "31.00" in plots_html(results)) == (1, True)
    assert "nan" not in (table_html(results) + plots_html(results) + markdown_table(results)).lower()


def test_a_failed_engine_leaves_the_others(results: Results):
    """Its cell says why, one that is to come says so, and the rest play."""
    second = clips_html(results).split("<section")[2]
    assert second.count('role="img"') == 2
    assert "too little &lt;memory&gt;" in second
    assert second.count("waiting") == 1
    rows = rows_of(results)
    assert ("stopped, 2 of 4 clips" in rows[2][0], "waiting" in rows[3][0]) == (True, True)


def test_one_engine_in_two_ways_has_two_cells(results: Results):
    """They have one name and two labels; once the first alone was missing from every row."""
    twice = dataclasses.replace(results, engines=[results.engines[0], dataclasses.replace(results.engines[0])])
    assert clips_html(twice).count('role="img"') == 2 * len(PROMPTS)


def test_remarks_are_on_the_page(results: Results, tmp_path: Path):
    results.notes.append("Without CLIP scores: <none> here.")
    assert "Without CLIP scores: &lt;none&gt; here." in write_report(results, tmp_path).read_text("utf-8")


def test_nothing_made_is_no_page_of_gaps():
    """A comparison that has not begun has a table of its engines and no more."""
    empty = Results(PROMPTS, SEEDS, "cpu", {}, "", [EngineResult("later", "Later", "", {})])
    assert (clips_html(empty), plots_html(empty)) == ("", "")
    assert "waiting" in table_html(empty)


def test_markdown_has_a_cell_for_every_column(results: Results):
    """A label cannot end its cell, and the best is bold here too."""
    results.engines[1].label = "a | b\nc"
    lines = markdown_table(results).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {lines[0].count("|")}
    assert lines[3].startswith(r"| a \| b c |")
    assert "**31.00** |" in lines[2]
    assert "3.0 GiB" in lines[2]


def test_engines_are_held_against_the_first_clip_by_clip(results: Results, tmp_path: Path):
    """Prompts differ by far more than the engines do: side by side their intervals overlap, and the difference of each
    clip is the same. A clip that one alone has does not count."""
    first, other = (engine_of(name, prompts=MANY, shape=0.5) for name in ("first", "<other>"))
    for engine, more in ((first, 0.0), (other, -0.05)):
        hard = [index / len(engine.clips) + more for index in range(len(engine.clips))]
        engine.clips = [
            dataclasses.replace(clip, measures={"shape": value}) for clip, value in zip(engine.clips, hard, strict=True)
        ]
    first.clips[0] = dataclasses.replace(first.clips[0], measures={"shape": math.nan})
    other.clips[3] = dataclasses.replace(other.clips[3], seed=99, measures={"shape": 77.0})
    results.engines = [first, other, engine_of("few", shape=0.5)]
    assert results.engines[0].interval("shape").high > results.engines[1].interval("shape").low
    text = write_report(results, tmp_path).read_text("utf-8").split("<h2>Differences</h2>")[1].split("</section>")[0]
    assert "minus first" in text
    assert "<td>-5.0<small>[-5.0, -5.0]</small></td>" in text
    assert ("&lt;other&gt;" in text, "few" in text) == (True, False)
    (told,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["differences"]
    assert (told["engine"], told["minus"]) == ("<other>", "first")
    assert (told["means"]["shape"]["prompts"], told["means"]["shape"]["values"]) == (8, 14)


def test_few_prompts_have_no_differences(results: Results, tmp_path: Path):
    assert "Differences" not in write_report(results, tmp_path).read_text("utf-8")
    assert results.to_dict()["differences"] == []


def test_clip_scores_are_of_a_network(results: Results, tmp_path: Path):
    """It is said wherever its scores are, and nowhere where they could not be had."""
    results.clip_network = "someone/clip"
    assert "CLIP networksomeone/clip" in Page(write_report(results, tmp_path).read_text("utf-8")).words
    assert markdown_table(results).endswith("\n\nCLIP scores are of someone/clip.\n")
    assert results.to_dict()["clip_network"] == "someone/clip"
    results.engines = [engine_of("unscored", warping_error=0.1)]
    told = [write_report(results, tmp_path).read_text("utf-8"), markdown_table(results), str(results.to_dict())]
    assert not any("someone/clip" in text for text in told)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.9812, 0.9896), (-3, 1200), (96.9, 97), (0, 1e-6), (5e5, 9e6)])
def test_ticks_are_round_and_keep_apart(low, high):
    """Between one and five, within the axis, never two alike."""
    found = ticks(low, high)
    assert 1 <= len(found) <= 5
    assert all(low <= float(tick) <= high for tick in found)
    assert len(set(found)) == len(found)


def test_a_long_label_is_cut():
    """With an ellipsis, and wide characters count twice."""
    assert cut("x" * 20, 20) == "x" * 20
    assert cut("x" * 21, 20) == "x" * 19 + "…"
    assert cut("動" * 11, 20) == "動" * 9 + "…"


def driver_for(path: Path, width: int):
    """A tab of Chromium with the file in it, as wide as a desktop's or a phone's."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(path.as_uri())
    return driver


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def tab(results: Results, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """The report of four engines in Chromium."""
    path = write_report(results, tmp_path)
    driver = driver_for(path, request.param)
    yield SimpleNamespace(driver=driver, width=request.param, run=lambda code: driver.execute_script(f"return {code}"))
    driver.quit()


def clip_colour(tab: SimpleNamespace, index: int) -> int:
    """Which of COLOURS fills a clip, as it is on the screen; nothing else but the page may be seen there."""
    place = tab.run(
        f"(e => {{ const r = e.getBoundingClientRect();"
        " return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}; })"
        f"(document.querySelectorAll('.t2v-cmp-clip')[{index}])"
    )
    shot = {"format": "png", "captureBeyondViewport": True, "clip": {**place, "scale": 1}}
    data = tab.driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    shown = int(np.abs(picture[len(picture) // 2, 100] - COLOURS).max(axis=1).argmin())
    page, across = picture[0, 0], np.array(COLOURS[shown]) - picture[0, 0]
    mixed = (picture - page) @ across / (across @ across)  # 1 in the clip, 0 in its corners, between on its edge
    assert mixed[len(picture) // 2, 100] == pytest.approx(1, abs=0.03)
    assert np.abs(picture - page - mixed[..., None] * across).max() <= 6, "a clip shows parts of two frames"
    return shown


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
def test_a_browser_plays_the_clips_in_step(tab: SimpleNamespace):
    """Frame k of a clip is seen at time k / fps, a shorter one waits for the longest, nothing is wider than the screen,
    and the page's own policy has nothing to complain about."""
    assert tab.run("innerWidth") == tab.width
    assert tab.run("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    tops = tab.run("[...document.querySelector('.t2v-cmp-row').children].map(e => e.getBoundingClientRect().top)")
    assert len(set(tops)) == (1 if tab.width > 500 else 2)  # four engines in a row, or two and two
    assert len(tab.run("[...new Set(document.getAnimations().map(a => a.startTime))]")) == 1
    for frame in range(6):  # both at 3 fps; the second has four frames
        time = 1000 * (frame + 0.5) / 3
        tab.run(f"document.getAnimations().forEach(a => {{ a.pause(); a.currentTime = {time + 2000}; }})")
        assert (clip_colour(tab, 0), clip_colour(tab, 1)) == (frame, min(frame, 3))
    assert tab.driver.get_log("browser") == []


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
def test_who_wants_no_motion_gets_none(results: Results, tmp_path: Path):
    """A pointer on a row holds it still and no other one, and reduced motion holds all."""
    driver = driver_for(write_report(results, tmp_path), 1280)
    states = "return document.getAnimations().map(a => a.playState)"
    try:
        assert set(driver.execute_script(states)) == {"running"}
        row = driver.find_elements("css selector", ".t2v-cmp-row")[1]
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
        actions = pytest.importorskip("selenium.webdriver").ActionChains(driver)
        actions.move_to_element(row).perform()
        assert driver.execute_script(states) == ["running"] * 3 + ["paused"] * 2
        media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        assert set(driver.execute_script(states)) == {"paused"}
    finally:
        driver.quit()


@pytest.mark.parametrize(("count", "share"), [(2, 1.0), (8, 1.0), (8, 0.5), (24, 0.9)])
def test_every_frame_is_shown_for_as_long(count, share):
    """The easing is CSS's own steps where a clip lasts as long as its row, and stops that say the same where not."""
    told = easing(count, share)
    if share == 1:
        assert told == f"steps({count},jump-none)"
        return
    stops = [stop.replace("%", "").split() for stop in told.removeprefix("linear(").removesuffix(")").split(",")]
    value, begin, end = np.array(stops, float).T
    assert value == pytest.approx(np.arange(count) / (count - 1), abs=1e-5)
    assert (end - begin)[:-1] == pytest.approx(100 * share / count, abs=1e-3)
    assert (begin[0], begin[1:].tolist(), end[-1]) == (0, end[:-1].tolist(), 100)
