"""The numbers of a comparison as a table, for a page and for a terminal.

It knows results, and no engines or files.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from comparison.results import MEASURES, EngineResult, Measure, Results
from evaluation.statistics import Interval

NONE = "—"
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
MIB = 2**20
# What making clips costs; every engine may have these.
SECONDS = Measure("Seconds per clip", "lower", "the median over the clips", 1)
LOAD = Measure("Seconds to load", "lower", "reading the weights, the first time fetching them as well", 1)
MEMORY = Measure("Peak memory", "lower", "the most that the device gave, weights included", unit="bytes")


@dataclass(frozen=True)
class Cell:
    """A value as it is told, its interval where there is one, and whether no engine has a better one."""

    text: str = ""
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A measure and what each engine came to, in the engines' order."""

    measure: Measure
    cells: list[Cell]


def columns(results: Results) -> list[Column]:
    """What making clips costs, and then every measure of the results.

    The measures of an engine that did not make every clip are of fewer prompts, perhaps the easy ones: they are told,
    and never the best. Nor is any cost: engines draw clips of their own length and size.
    """
    engines, fair = results.engines, [not state(results, engine) for engine in results.engines]
    costs: dict[Measure, Sequence[float | None]] = {
        SECONDS: [engine.seconds_per_clip for engine in engines],
        LOAD: [engine.load_seconds for engine in engines],
        MEMORY: [engine.peak_bytes for engine in engines],
    }
    found = [_column(measure, values, [""] * len(engines), [False] * len(engines)) for measure, values in costs.items()]
    for name in results.measures():
        measure, intervals = MEASURES[name], [engine.interval(name) for engine in engines]
        ends = [told_interval(one.low, one.high, measure) if one else "" for one in intervals]
        found.append(_column(measure, [one.mean if one else None for one in intervals], ends, fair))
    return found


def _column(measure: Measure, values: Sequence[float | None], intervals: Sequence[str], fair: Sequence[bool]) -> Column:
    """What reads as the best is the best, even where hidden digits differ; nothing is where all are alike."""
    texts = [number(value, measure) for value in values]
    rivals = [
        (value, text) for value, text, fits in zip(values, texts, fair, strict=True) if fits and value is not None
    ]
    best = None
    if measure.better and len({text for _, text in rivals}) > 1:
        best = (max(rivals) if measure.better == "higher" else min(rivals))[1]
    rows = zip(texts, intervals, fair, strict=True)
    return Column(measure, [Cell(text, interval, fits and text == best) for text, interval, fits in rows])


def number(value: float | None, measure: Measure) -> str:
    """A value as the measure tells it, "" for none."""
    if value is None or not math.isfinite(value):
        return ""
    if measure is MEMORY:
        return size(value)
    return f"{value * measure.factor:.{measure.digits}f}" + (f"\N{NO-BREAK SPACE}{measure.unit}" * bool(measure.unit))


def told_interval(low: float, high: float, measure: Measure) -> str:
    """The ends of an interval as the measure tells them, "" where they are NaN."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    low, high = low * measure.factor, high * measure.factor
    return f"[{low:.{measure.digits}f}, {high:.{measure.digits}f}]"


def size(count: float) -> str:
    """Bytes as people say them."""
    told = f"{count / MIB:.0f} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:.1f} GiB"
    return told.replace(" ", "\N{NO-BREAK SPACE}")


def state(results: Results, engine: EngineResult) -> str:
    """What there is to say of an engine that has not made every clip, "" of one that has."""
    wanted, made = len(results.prompts) * len(results.seeds), len(engine.clips)
    some = f"{made} of {wanted} clips"
    if engine.error:
        return f"stopped, {some}" if made else "stopped"
    return "" if made >= wanted else some if made else "waiting"


def table_html(results: Results) -> str:
    """Engines as rows, in a box that scrolls by itself where the screen is too narrow."""
    table = columns(results)
    rows = [
        _row_html(engine.label, state(results, engine), [column.cells[index] for column in table])
        for index, engine in enumerate(results.engines)
    ]
    return _table_html("The measures", [column.measure for column in table], rows)


def differences_html(results: Results) -> str:
    """The other engines minus the first as rows, "" where no measure has enough prompts for that."""
    found = results.differences()
    names = [name for name in results.measures() if any(name in differences for _, differences in found)]
    rows = [
        _row_html(engine.label, "", [_difference(differences.get(name), MEASURES[name]) for name in names])
        for engine, differences in found
    ]
    return _table_html("The differences", [MEASURES[name] for name in names], rows) if rows else ""


def _difference(found: Interval | None, measure: Measure) -> Cell:
    """Without the unit: of two shares in % it is percentage points."""
    if found is None:
        return Cell()
    return Cell(f"{found.mean * measure.factor:+z.{measure.digits}f}", told_interval(found.low, found.high, measure))


def _table_html(about: str, measures: Sequence[Measure], rows: Sequence[str]) -> str:
    heads = "".join(map(_head_html, measures))
    return (
        f'<div class="t2v-cmp-scroll" role="group" aria-label="{about}" tabindex="0"><table class="t2v-cmp-table">'
        f'<thead><tr><th scope="col">Engine</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _row_html(label: str, remark: str, cells: Sequence[Cell]) -> str:
    head = f'<th scope="row" dir="auto">{html.escape(label)}{_small(remark)}</th>'
    return f"<tr>{head}{''.join(map(_cell_html, cells))}</tr>"


def _head_html(measure: Measure) -> str:
    return (
        f'<th scope="col" title="{html.escape(measure.about)}">{html.escape(measure.label)}{arrow_html(measure)}</th>'
    )


def arrow_html(measure: Measure) -> str:
    """Which way is better, for the eye and the ear."""
    if not measure.better:
        return ""
    return (
        f'\N{NO-BREAK SPACE}<span role="img" aria-label="({measure.better} is better)">{ARROWS[measure.better]}</span>'
    )


def _cell_html(cell: Cell) -> str:
    text = html.escape(cell.text) or f'<span class="t2v-cmp-quiet">{NONE}</span>'
    return f"<td>{f'<b>{text}</b>' if cell.best else text}{_small(cell.interval)}</td>"


def _small(text: str) -> str:
    return f"<small>{html.escape(text)}</small>" if text else ""


def markdown_table(results: Results) -> str:
    """The same table as Markdown, to be read in a terminal as well, and below it which CLIP network it is of."""
    table = columns(results)
    heads = [f"{column.measure.label} {ARROWS[column.measure.better]}".strip() for column in table]
    rows = [["Engine", *heads], ["---", *["---:"] * len(heads)]]
    for index, engine in enumerate(results.engines):
        note = state(results, engine)
        label = _plain(engine.label) + (f" ({note})" if note else "")
        rows.append([label, *(_cell_markdown(column.cells[index]) for column in table)])
    scored_by = f"\nCLIP scores are of {_plain(results.scored_by)}.\n" if results.scored_by else ""
    return "".join(f"| {' | '.join(row)} |\n" for row in rows) + scored_by


def _cell_markdown(cell: Cell) -> str:
    text = cell.text.replace("\N{NO-BREAK SPACE}", " ") or NONE
    return f"**{text}** {cell.interval}".rstrip() if cell.best else f"{text} {cell.interval}".rstrip()


def _plain(text: str) -> str:
    """One line that ends no cell and begins no element."""
    line = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\|<`*" else character for character in line)
