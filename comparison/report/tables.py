"""Tables of a comparison's numbers, for a page and for a terminal.

It depends on results and not on engines or files.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from comparison.report.formatting import BYTES, NO_BREAK, NONE, interval, number
from comparison.results import MEASURES, EngineResult, Measure, Results
from evaluation.statistics import Interval

ARROWS = {"higher": "↑", "lower": "↓", "": ""}
# Cost of the clips; every engine may have these.
SECONDS = Measure("Seconds per clip", "lower", "the median over the clips", digits=1)
LOAD = Measure("Seconds to load", "lower", "reading the weights, the first time fetching them as well", digits=1)
MEMORY = Measure("Peak memory", "lower", "the most that the device gave, weights included", unit=BYTES)


@dataclass(frozen=True)
class Cell:
    """Cell of a table: a value, its interval if there is one, and ``best`` if no engine has a better value."""

    text: str = ""
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """Column of a table: a measure, and a cell for each engine in the engines' order."""

    measure: Measure
    cells: list[Cell]


def columns(results: Results) -> list[Column]:
    """Return the columns of the costs, and then of every measure of the results.

    The measures of an engine that did not make every clip are of fewer prompts, perhaps the easy ones: they are shown,
    but never as the best. Nor is any cost: engines draw clips of their own length and size.
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
        ends = [interval(one.low, one.high, measure) if one else "" for one in intervals]
        found.append(_column(measure, [one.mean if one else None for one in intervals], ends, fair))
    return found


def _column(measure: Measure, values: Sequence[float | None], intervals: Sequence[str], fair: Sequence[bool]) -> Column:
    """Return a column in which values that read as the best are the best, even if hidden digits differ; none is if all
    read alike."""
    texts = [number(value, measure) for value in values]
    rivals = [
        (value, text) for value, text, fits in zip(values, texts, fair, strict=True) if fits and value is not None
    ]
    best = None
    if measure.better and len({text for _, text in rivals}) > 1:
        best = (max(rivals) if measure.better == "higher" else min(rivals))[1]
    rows = zip(texts, intervals, fair, strict=True)
    return Column(measure, [Cell(text, interval, fits and text == best) for text, interval, fits in rows])


def state(results: Results, engine: EngineResult) -> str:
    """Return the state of an engine that has not made every clip, "" for one that has."""
    wanted, made = len(results.prompts) * len(results.seeds), len(engine.clips)
    some = f"{made} of {wanted} clips"
    if engine.error:
        return f"stopped, {some}" if made else "stopped"
    return "" if made >= wanted else some if made else "waiting"


def table_html(results: Results) -> str:
    """Return the table with engines as rows, in a box that scrolls on narrow screens."""
    table = columns(results)
    rows = [
        _row_html(engine.label, state(results, engine), [column.cells[index] for column in table])
        for index, engine in enumerate(results.engines)
    ]
    return _table_html("The measures", [column.measure for column in table], rows)


def differences_html(results: Results) -> str:
    """Return the table of the other engines minus the first, "" if no measure has enough prompts for that."""
    found = results.differences()
    names = [name for name in results.measures() if any(name in differences for _, differences in found)]
    rows = [
        _row_html(engine.label, "", [_difference(differences.get(name), MEASURES[name]) for name in names])
        for engine, differences in found
    ]
    return _table_html("The differences", [MEASURES[name] for name in names], rows) if rows else ""


def _difference(found: Interval | None, measure: Measure) -> Cell:
    """Return a difference without its unit: of two shares in % it is percentage points."""
    if found is None:
        return Cell()
    return Cell(f"{found.mean * measure.factor:+z.{measure.digits}f}", interval(found.low, found.high, measure))


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
    """Return an arrow towards better values, with a label for screen readers."""
    if not measure.better:
        return ""
    return f'{NO_BREAK}<span role="img" aria-label="({measure.better} is better)">{ARROWS[measure.better]}</span>'


def _cell_html(cell: Cell) -> str:
    text = html.escape(cell.text) or f'<span class="t2v-cmp-quiet">{NONE}</span>'
    return f"<td>{f'<b>{text}</b>' if cell.best else text}{_small(cell.interval)}</td>"


def _small(text: str) -> str:
    return f"<small>{html.escape(text)}</small>" if text else ""


def markdown_table(results: Results) -> str:
    """Return the table as Markdown, readable in a terminal, and below it the CLIP network of its scores."""
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
    text = cell.text.replace(NO_BREAK, " ") or NONE
    return f"**{text}** {cell.interval}".rstrip() if cell.best else f"{text} {cell.interval}".rstrip()


def _plain(text: str) -> str:
    """Return the text as one line of Markdown that ends no cell and begins no element."""
    line = " ".join(text.split())
    return "".join(f"\\{character}" if character in "\\|<`*" else character for character in line)
