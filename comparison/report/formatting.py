"""Numbers of a report as text: measures, their intervals, bytes, seconds."""

import math

from comparison.results import Measure

NONE = "—"
NO_BREAK = "\N{NO-BREAK SPACE}"
BYTES = "bytes"  # unit of measures that are written in MiB and GiB
MIB = 2**20


def number(value: float | None, measure: Measure) -> str:
    """Return a value in the measure's unit and digits, "" for none and for NaN."""
    if value is None or not math.isfinite(value):
        return ""
    if measure.unit == BYTES:
        return size(value)
    return f"{value * measure.factor:.{measure.digits}f}" + (f"{NO_BREAK}{measure.unit}" * bool(measure.unit))


def interval(low: float, high: float, measure: Measure) -> str:
    """Return the ends of an interval in the measure's digits, "" if they are NaN."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    low, high = low * measure.factor, high * measure.factor
    return f"[{low:.{measure.digits}f}, {high:.{measure.digits}f}]"


def size(count: float) -> str:
    """Return a number of bytes in MiB or GiB."""
    text = f"{count / MIB:.0f} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:.1f} GiB"
    return text.replace(" ", NO_BREAK)


def duration(seconds: float) -> str:
    """Return a duration in seconds, from a minute and a half on in minutes."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
