"""Report of a comparison as a folder to keep and send: its numbers as JSON, and one page that needs nothing else.

It depends on results and not on engines.
"""

import html
import json
import os
from collections.abc import Mapping, Sized
from pathlib import Path

from comparison.report.clips import clips_html, link_html
from comparison.report.formatting import NONE
from comparison.report.plots import plots_html
from comparison.report.tables import differences_html, table_html
from comparison.results import MEASURES, EngineResult, Results
from evaluation.statistics import MIN_PROMPTS

FRAGMENT_STYLE_SHEET = Path(__file__).with_name("fragments.css")  # of the fragments, also on other pages
PAGE_STYLE_SHEET = Path(__file__).with_name("page.css")

HOW_TO_READ = f"""<p>Every engine was given the same prompts and the same seeds. A number is the mean over the prompts
of each prompt's mean over its seeds. Beneath it in brackets, and as a line in the plots, is the 95 % confidence
interval of that mean over prompts x seeds, from {MIN_PROMPTS} prompts on: drawn from whole prompts, because the seeds
of one prompt are alike, and of fewer it would promise too much. An arrow says which way is better and bold what is
best in a column, which may be chance where intervals overlap. An engine that did not make every clip was asked less
than the others, and none of its measures is bold. Neither are time and memory, since engines draw clips of their own
length and size.</p>
<p>Read consistency and stability beside the dynamic degree: a video in which nothing moves is the most consistent of
all. Clips with more frames a second are thinned out to about 8 before they are measured, because neighbours among many
differ less.</p>
<p class="quiet">The clips of a prompt start together, each at its own speed, and a shorter one waits on its last frame.
Point at them, or tap, to hold them still.</p>"""


def write_report(results: Results, folder: Path) -> Path:
    """Write ``results.json`` and ``report.html`` into the folder of the clips' files, and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(results.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    _replace(folder / "results.json", numbers.encode(errors="backslashreplace"))  # half a surrogate pair, in JSON's way
    return _replace(folder / "report.html", page_html(results).encode(errors="replace"))


def _replace(path: Path, content: bytes) -> Path:
    """Write a file under another name first, so that readers find the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def page_html(results: Results) -> str:
    """Return the whole page; its content security policy forbids it to fetch anything."""
    title = f"{_count(results.engines, 'engine')}, {_count(results.prompts, 'prompt')}, {_count(results.seeds, 'seed')}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison: {title}</title>
<style>{FRAGMENT_STYLE_SHEET.read_text("utf-8")}{PAGE_STYLE_SHEET.read_text("utf-8")}</style></head><body>
<header><div class="quiet">Text2Video-Zero Studio · Comparison</div><h1>{title}</h1>{_facts_html(results)}</header>
{_section("How to read it", HOW_TO_READ + _measures_html(results))}
{_section("Clips", clips_html(results, links=True))}
{_section("Measures", table_html(results))}
{_section("Differences", _differences_html(results))}
{_section("Plots", plots_html(results))}
{_section("Remarks", "".join(f"<p>{html.escape(note)}</p>" for note in results.notes))}
{_section("Engines", "".join(_engine_html(engine) for engine in results.engines))}
</body></html>
"""


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _list_html(facts: Mapping[str, str]) -> str:
    """Return a list of names and values; the values are HTML already."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _facts_html(results: Results) -> str:
    versions = " · ".join(f"{name} {version}" for name, version in results.versions.items())
    facts = {
        "When": results.made_at.replace("T", " "),
        "Device": results.device,
        "Versions": versions,
        "CLIP network": results.scored_by or "",
        "Seeds": ", ".join(map(str, results.seeds)),
    }
    prompts = "".join(f'<div dir="auto">{html.escape(prompt)}</div>' for prompt in results.prompts)
    return _list_html({**{name: html.escape(value) for name, value in facts.items() if value}, "Prompts": prompts})


def _measures_html(results: Results) -> str:
    measures = {MEASURES[name].label: html.escape(MEASURES[name].about) for name in results.measures()}
    return f"<details><summary>What is measured</summary>{_list_html(measures)}</details>" if measures else ""


def _differences_html(results: Results) -> str:
    table = differences_html(results)
    if not table:
        return ""
    return (
        f"<p>Every other engine minus {html.escape(results.engines[0].label)}: the mean difference by prompt and seed, "
        "of the clips that both have, with its interval over prompts; of shares, percentage points. What is hard for "
        f"both falls out, so this is surer than the rows of the table above side by side.</p>{table}"
    )


def _engine_html(engine: EngineResult) -> str:
    """Return an engine's note, error, remarks, settings, and links to all its clips."""
    error = f'<p class="t2v-cmp-error">{html.escape(engine.error)}</p>' if engine.error else ""
    notes = dict.fromkeys(note for clip in engine.clips for note in clip.notes)
    remarks = "".join(f'<p class="quiet">{html.escape(note)}</p>' for note in notes)
    settings = _list_html({name: html.escape(_shown(value)) for name, value in engine.settings.items()})
    links: dict[str, str] = {}
    for clip in engine.clips:
        links[clip.prompt] = f"{links.get(clip.prompt, '')} {link_html(clip, f'seed {clip.seed}')}".strip()
    return (
        f'<article class="engine"><h3>{html.escape(engine.label)} <code>{html.escape(engine.name)}</code></h3>'
        f"<p>{html.escape(engine.note)}</p>{error}{remarks}"
        + (f"<details><summary>Settings</summary>{settings}</details>" if settings else "")
        + (f"<details><summary>{_count(engine.clips, 'clip')}</summary>{_list_html(links)}</details>" if links else "")
        + "</article>"
    )


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value or NONE
    return NONE if value is None else json.dumps(value, ensure_ascii=False)
