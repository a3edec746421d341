"""The measures of a comparison as small charts, one beside the other: engines with their means and intervals.

It knows results, and no engines or files.
"""

import html
import math
import unicodedata
from collections.abc import Sequence

from comparison.report.tables import NONE, arrow_html, number, told_interval
from comparison.results import MEASURES, EngineResult, Measure, Results
from evaluation.statistics import Interval

WIDTH, ROW, FOOT = 340, 22, 24  # units of the drawing, about a px each
LABELS = 118  # to here the labels
LEFT, RIGHT = 128, 282  # from here to there the values
LABEL_COLUMNS = 20  # characters; wide ones count twice
TICK_CHARACTER = 5.5  # units

Shown = tuple[EngineResult, Interval | None]


def plots_html(results: Results) -> str:
    """A chart per measure with the engines that made anything, always in the same order."""
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
    """Dots for the means with whiskers for the intervals, over an axis that they share."""
    low, high = _span([found for _, found in shown if found], measure)
    height = ROW * len(shown) + FOOT
    marks = [_tick_svg(_place(float(tick), low, high), tick, height - FOOT) for tick in ticks(low, high)]
    for index, (engine, found) in enumerate(shown):
        marks.append(_row_svg(engine.label, found, measure, (low, high), ROW * index + ROW / 2))
    told = "; ".join(f"{engine.label} {_told(found, measure)}" for engine, found in shown)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(f"{measure.label}: {told}")}">'
        f"{''.join(marks)}</svg>"
    )


def _told(found: Interval | None, measure: Measure) -> str:
    if found is None:
        return "none"
    return f"{number(found.mean, measure)} {told_interval(found.low, found.high, measure)}".rstrip()


def _span(found: Sequence[Interval], measure: Measure) -> tuple[float, float]:
    """From below the least to above the most of what is drawn; never empty. Shares are drawn from 0 to 100 %."""
    values = [
        value * measure.factor for one in found for value in (one.mean, one.low, one.high) if math.isfinite(value)
    ]
    low, high = (0.0, 100.0) if measure.unit == "%" else (min(values), max(values))
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1
    return low - margin, high + margin


def ticks(low: float, high: float) -> list[str]:
    """Round numbers from low to high, as many as have room beside each other."""
    for most in (4, 3):
        step = _round_step((high - low) / most)
        told = [f"{index * step:.6g}" for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if TICK_CHARACTER * (max(map(len, told)) + 1) <= (RIGHT - LEFT) * step / (high - low):
            break
    return told


def _round_step(least: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _place(value: float, low: float, high: float) -> float:
    """Where a value is drawn."""
    return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)


def _tick_svg(x: float, text: str, bottom: float) -> str:
    return (
        f'<path class="t2v-cmp-grid" d="M{x:.1f} 0V{bottom}"/>'
        f'<text class="t2v-cmp-tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{text}</text>'
    )


def _row_svg(label: str, found: Interval | None, measure: Measure, span: tuple[float, float], y: float) -> str:
    """An engine: its label in a box that cuts off what the estimate of its width let through, its whisker, its dot."""
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
    """As much of a text as ``most`` columns hold, with an ellipsis where that is not all."""
    used, kept = 0, ""
    for character in text:
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used <= most - 1:
            kept += character
    return text if used <= most else f"{kept.rstrip()}…"
