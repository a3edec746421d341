"""Charts of a comparison's measures, one beside the other: engines with their means and intervals, as SVG.

It depends on results and not on engines or files.
"""

import html
import math
import unicodedata
from collections.abc import Sequence

from comparison.report.formatting import NONE, interval, number
from comparison.report.tables import arrow_html
from comparison.results import MEASURES, EngineResult, Measure, Results
from evaluation.statistics import Interval

WIDTH, ROW, FOOT = 340, 22, 24  # units of the drawing, about a px each
LABELS = 118  # to here the labels
LEFT, RIGHT = 128, 282  # from here to there the values
LABEL_COLUMNS = 20  # characters; wide ones count twice
TICK_CHARACTER = 5.5  # units

Shown = tuple[EngineResult, Interval | None]


def plots_html(results: Results) -> str:
    """Return a chart per measure of the engines that made anything, always in the same order."""
    engines = [engine for engine in results.engines if engine.clips]
    charts = [
        _figure_html(MEASURES[name], [(engine, engine.interval(name)) for engine in engines])
        for name in results.measures()
    ]
    return f'<div class="t2v-cmp-plots">{"".join(charts)}</div>' if charts else ""


def _figure_html(measure: Measure, shown: Sequence[Shown]) -> str:
    label = html.escape(measure.label) + arrow_html(measure)
    about = html.escape(measure.about)
    return f'<figure title="{about}"><figcaption>{label}</figcaption>{_chart_svg(measure, shown)}</figure>'


def _chart_svg(measure: Measure, shown: Sequence[Shown]) -> str:
    """Return dots for the means with whiskers for the intervals, over an axis that they share."""
    low, high = _span([found for _, found in shown if found], measure)
    height = ROW * len(shown) + FOOT
    marks = [_tick_svg(_place(float(tick), low, high), tick, height - FOOT) for tick in ticks(low, high)]
    for index, (engine, found) in enumerate(shown):
        marks.append(_row_svg(engine.label, found, measure, (low, high), ROW * index + ROW / 2))
    spoken = "; ".join(f"{engine.label} {_spoken(found, measure)}" for engine, found in shown)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(f"{measure.label}: {spoken}")}">'
        f"{''.join(marks)}</svg>"
    )


def _spoken(found: Interval | None, measure: Measure) -> str:
    if found is None:
        return "none"
    return f"{number(found.mean, measure)} {interval(found.low, found.high, measure)}".rstrip()


def _span(found: Sequence[Interval], measure: Measure) -> tuple[float, float]:
    """Return the ends of the axis, a margin beyond the least and the most value, never equal; of shares 0 and 100 %."""
    values = [
        value * measure.factor for one in found for value in (one.mean, one.low, one.high) if math.isfinite(value)
    ]
    low, high = (0.0, 100.0) if measure.unit == "%" else (min(values), max(values))
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1
    return low - margin, high + margin


def ticks(low: float, high: float) -> list[str]:
    """Return round numbers from low to high, as many as fit beside each other."""
    for most in (4, 3):
        step = _round_step((high - low) / most)
        texts = [f"{index * step:.6g}" for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if TICK_CHARACTER * (max(map(len, texts)) + 1) <= (RIGHT - LEFT) * step / (high - low):
            break
    return texts


def _round_step(least: float) -> float:
    """Return the least number of at least ``least`` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _place(value: float, low: float, high: float) -> float:
    """Return the x coordinate of a value."""
    return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)


def _tick_svg(x: float, text: str, bottom: float) -> str:
    return (
        f'<path class="t2v-cmp-grid" d="M{x:.1f} 0V{bottom}"/>'
        f'<text class="t2v-cmp-tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{text}</text>'
    )


def _row_svg(label: str, found: Interval | None, measure: Measure, span: tuple[float, float], y: float) -> str:
    """Return an engine's label, in a box that cuts off any excess over its estimated width, its whisker and its dot."""
    words = (
        f"<g><title>{html.escape(label)}</title>"
        f'<svg x="0" y="{y - ROW / 2}" width="{LABELS}" height="{ROW}">'
        f'<text x="0" y="{ROW / 2 + 4}">{html.escape(cut(label, LABEL_COLUMNS))}</text></svg></g>'
    )
    value = number(found.mean, measure) if found else NONE
    words += f'<text x="{WIDTH}" y="{y + 4}" text-anchor="end">{value}</text>'
    if found is None:
        return words
    low, mean, high = (_place(end * measure.factor, *span) for end in (found.low, found.mean, found.high))
    whisker = f'<path class="t2v-cmp-whisker" d="M{low:.1f} {y}H{high:.1f}"/>' if math.isfinite(low + high) else ""
    return f'{words}{whisker}<circle class="t2v-cmp-dot" cx="{mean:.1f}" cy="{y}" r="4"/>'


def cut(text: str, most: int) -> str:
    """Return as much of a text as ``most`` columns hold, with an ellipsis if that is not all."""
    used, kept = 0, ""
    for character in text:
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used <= most - 1:
            kept += character
    return text if used <= most else f"{kept.rstrip()}…"
