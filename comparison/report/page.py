"""A comparison as a folder that can be kept and sent: its numbers as JSON, and one page that needs nothing else.

It knows results and how they are shown, and no engines.
"""

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comparison.report.clips import clips_html, link_html, strip_of
from comparison.report.plots import plots_html
from comparison.report.tables import NONE, differences_html, markdown_table, table_html
from comparison.results import MEASURES, EngineResult, Results
from evaluation.statistics import MIN_PROMPTS

__all__ = ["STYLE", "clips_html", "markdown_table", "plots_html", "strip_of", "table_html", "write_report"]

# Of the fragments, on this page and on Gradio's, whose colours they take. No selector may hold a comma in brackets:
# Gradio splits selectors at commas. It also drops every rule but plain ones, @media and @keyframes.
STYLE = """
@keyframes t2v-cmp-play { from { background-position: 0 0%; } to { background-position: 0 100%; } }
.t2v-cmp-prompt { margin: 0 0 1.75rem; }
.t2v-cmp-prompt h3 { font-size: 1.05rem; font-weight: 500; line-height: 1.35; margin: 0 0 .6rem;
  overflow-wrap: anywhere; }
.t2v-cmp-prompt h3 small { color: var(--body-text-color-subdued, GrayText); font-size: .78rem; font-weight: 400;
  white-space: nowrap; }
/* As many columns as there are engines where each has 8.5rem, which is two on a phone. */
.t2v-cmp-row { display: grid; gap: 0 .75rem; max-width: calc(var(--t2v-cmp-engines) * 20rem); border-radius: 6px;
  grid-template-columns: repeat(auto-fit, minmax(max(8.5rem,
    (100% - (var(--t2v-cmp-engines) - 1) * .75rem) / var(--t2v-cmp-engines)), 1fr)); }
.t2v-cmp-cell { display: grid; grid-row: span 2; grid-template-rows: subgrid; align-items: start; row-gap: .3rem;
  min-width: 0; margin: 0 0 .9rem; padding: 0; }
.t2v-cmp-label { align-self: end; font-size: .88rem; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; }
.t2v-cmp-caption { color: var(--body-text-color-subdued, GrayText); font-size: .75rem; line-height: 1.45;
  margin-top: .3rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.t2v-cmp-caption a { color: inherit; }
.t2v-cmp-box { container-type: inline-size; }
/* A browser may blend the outermost pixels with the next frame of the strip. */
.t2v-cmp-clip { width: 100%; background-repeat: no-repeat; clip-path: inset(1px round 5px); }
.t2v-cmp-row:hover .t2v-cmp-clip { animation-play-state: paused !important; }
.t2v-cmp-row:focus-visible .t2v-cmp-clip { animation-play-state: paused !important; }
@media (prefers-reduced-motion: reduce) { .t2v-cmp-clip { animation-play-state: paused !important; } }
.t2v-cmp-none { display: flex; align-items: center; justify-content: center; min-height: 100cqw; box-sizing: border-box;
  margin: 0; padding: .75rem; border: 1px dashed var(--border-color-primary, GrayText); border-radius: 5px;
  color: var(--body-text-color-subdued, GrayText); font-size: .82rem; line-height: 1.4; text-align: center;
  overflow-wrap: anywhere; }
.t2v-cmp-error { color: var(--error-text-color, inherit); }
/* However wide the table is, it does not ask for a wider page. */
.t2v-cmp-scroll { contain: inline-size; width: 100%; overflow-x: auto; }
.t2v-cmp-table { border: 0; border-collapse: collapse; margin: 0; font-size: .85rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.t2v-cmp-table tr { border: 0; }
.t2v-cmp-table th { font-weight: 600; border: 0; border-bottom: 1px solid var(--border-color-primary, GrayText);
  padding: .5rem; vertical-align: bottom; text-align: right; min-width: 3.9rem; }
.t2v-cmp-table thead th { color: var(--body-text-color-subdued, GrayText); font-size: .78rem; font-weight: 500; }
.t2v-cmp-table thead th[title] { cursor: help; }
.t2v-cmp-table td { border: 0; border-bottom: 1px solid var(--border-color-primary, GrayText); padding: .5rem;
  text-align: right; vertical-align: top; white-space: nowrap; }
.t2v-cmp-table th:first-child { position: sticky; left: 0; z-index: 1; text-align: left; vertical-align: top;
  min-width: 9rem; max-width: 14rem; padding-left: 0; overflow-wrap: anywhere;
  background: var(--body-background-fill, Canvas); }
.t2v-cmp-table thead th:first-child { vertical-align: bottom; }
.t2v-cmp-table small { display: block; color: var(--body-text-color-subdued, GrayText); font-size: .72rem;
  font-weight: 400; }
.t2v-cmp-table b { font-weight: 700; }
.t2v-cmp-quiet { color: var(--body-text-color-subdued, GrayText); }
.t2v-cmp-plots { display: grid; gap: 1.25rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
.t2v-cmp-plots figure { margin: 0; padding: 0; min-width: 0; }
.t2v-cmp-plots figcaption { font-size: .85rem; font-weight: 600; margin: 0 0 .3rem; text-align: left; }
.t2v-cmp-plots svg { display: block; width: 100%; height: auto; fill: currentColor; font-size: 11px;
  font-family: inherit; font-variant-numeric: tabular-nums; }
.t2v-cmp-grid { stroke: currentColor; stroke-opacity: .14; fill: none; }
.t2v-cmp-tick { font-size: 9.5px; fill-opacity: .6; }
.t2v-cmp-whisker { stroke: currentColor; stroke-opacity: .55; stroke-width: 1.5; fill: none; }
.t2v-cmp-dot { fill: var(--color-accent, currentColor); }
"""

PAGE_STYLE = """
:root { color-scheme: light dark; --body-background-fill: #fcfbf9; --body-text-color: #1f1f22;
  --body-text-color-subdued: #67676d; --border-color-primary: #e3e0da; --color-accent: #0f766e;
  --error-text-color: #9f2d20; }
@media (prefers-color-scheme: dark) { :root { --body-background-fill: #151618; --body-text-color: #e9e7e3;
  --body-text-color-subdued: #9c9ca3; --border-color-primary: #313238; --color-accent: #4fd1c0;
  --error-text-color: #f0a196; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 2.5rem 1.25rem 4rem; background: var(--body-background-fill);
  color: var(--body-text-color); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  -webkit-text-size-adjust: 100%; }
h1 { font: 400 clamp(1.6rem, 5vw, 2.2rem)/1.2 ui-serif, Georgia, serif; margin: .2rem 0 1rem; }
h2 { font-size: .8rem; font-weight: 600; letter-spacing: .08em; text-transform: uppercase; margin: 3rem 0 1rem;
  padding-top: .8rem; border-top: 1px solid var(--border-color-primary); color: var(--body-text-color-subdued); }
.t2v-cmp-prompt h3 { font-family: ui-serif, Georgia, serif; font-size: 1.2rem; }
.t2v-cmp-prompt h3 small { font-family: system-ui, sans-serif; }
p { max-width: 46rem; margin: 0 0 .8rem; }
a { color: var(--color-accent); text-underline-offset: .15em; }
.quiet { color: var(--body-text-color-subdued); font-size: .88rem; }
.facts { display: grid; grid-template-columns: auto 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .88rem; }
.facts dt { color: var(--body-text-color-subdued); }
.facts dd { margin: 0; min-width: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { margin: .6rem 0; font-size: .88rem; }
summary { cursor: pointer; color: var(--body-text-color-subdued); }
details > :not(summary) { margin-top: .6rem; }
.engine { margin: 0 0 2rem; }
.engine h3 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
.engine h3 code { color: var(--body-text-color-subdued); font-weight: 400; font-size: .82rem; }
.engine p { font-size: .9rem; overflow-wrap: anywhere; }
"""

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
    """``results.json`` and ``report.html`` in the folder, where the clips' files are; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(results.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    _replace(folder / "results.json", numbers.encode(errors="backslashreplace"))  # half a surrogate pair, in JSON's way
    return _replace(folder / "report.html", page_html(results).encode(errors="replace"))


def _replace(path: Path, content: bytes) -> Path:
    """Write a file under another name first: whoever reads it finds the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def page_html(results: Results) -> str:
    """The whole page; its policy forbids it to fetch anything."""
    title = f"{_count(results.engines, 'engine')}, {_count(results.prompts, 'prompt')}, {_count(results.seeds, 'seed')}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison: {title}</title>
<style>{STYLE}{PAGE_STYLE}</style></head><body>
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


def _count(things: Any, word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _list_html(facts: Mapping[str, str]) -> str:
    """Names and values; the values are HTML already."""
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
    """What it is, what it was told, what there is to remark, and the files of all its clips."""
    error = f'<p class="t2v-cmp-error">{html.escape(engine.error)}</p>' if engine.error else ""
    notes = dict.fromkeys(note for clip in engine.clips for note in clip.notes)
    remarks = "".join(f'<p class="quiet">{html.escape(note)}</p>' for note in notes)
    settings = _list_html({name: html.escape(_told(value)) for name, value in engine.settings.items()})
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


def _told(value: Any) -> str:
    if isinstance(value, str):
        return value or NONE
    return NONE if value is None else json.dumps(value, ensure_ascii=False)
