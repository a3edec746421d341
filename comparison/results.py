"""Results of a comparison: every clip with its measures, and per engine their means with confidence intervals.

It depends on no models, files or HTML.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluation.statistics import MIN_PROMPTS, Interval, mean_interval


@dataclass(frozen=True)
class Measure:
    """Measure as a table shows it: values are multiplied by ``factor``; ``better`` is "higher", "lower", or "" for
    neither."""

    label: str
    better: str
    about: str
    digits: int = 2
    factor: float = 1.0
    unit: str = ""


def _percentage(label: str, better: str, about: str, *, digits: int = 1) -> Measure:
    return Measure(label, better, about, digits=digits, factor=100, unit="%")


def _agreement(kind: str, words: str) -> dict[str, Measure]:
    """Return the rows of precision, recall and F1 of one kind of words."""
    label = kind.capitalize()
    return {
        f"{kind}_precision": _percentage(
            f"{label}: precision", "higher", f"share of the {words} in all frames that the prompt asks for"
        ),
        f"{kind}_recall": _percentage(
            f"{label}: recall", "higher", f"share of the {words} that the prompt asks for that are in the frames"
        ),
        f"{kind}_f1": _percentage(f"{label}: F1", "higher", f"harmonic mean of precision and recall of {words}"),
    }


# In the order of the table. Dynamic degree stands beside every measure of consistency: a still video is the most
# consistent of all.
MEASURES: Mapping[str, Measure] = {
    "clip_text": Measure("CLIP text", "higher", "100 x cosine of frames and prompt (arXiv 2104.08718)"),
    "clip_consistency": Measure("CLIP consistency", "higher", "100 x cosine of neighbouring frames (arXiv 2302.03011)"),
    "shape": _percentage("Shape right", "higher", "share of frames whose shapes are those of the prompt"),
    "colour": _percentage("Colour right", "higher", "share of frames whose colours are those of the prompt"),
    "shirt": _percentage("Shirt right", "higher", "share of frames whose shirt is that of the prompt"),
    "trousers": _percentage("Trousers right", "higher", "share of frames whose trousers are those of the prompt"),
    "background": _percentage("Background right", "higher", "share of frames whose background is the prompt's"),
    **_agreement("things", "shapes"),
    **_agreement("colours", "colours of things or clothes"),
    **_agreement("places", "backgrounds"),
    "identity_to_expected": _percentage(
        "Identity", "higher", "share of frames whose colours and shapes are all as expected"
    ),
    "identity_to_first": _percentage(
        "Identity over time", "higher", "share of frames whose colours and shapes are the first frame's"
    ),
    "direction": _percentage("Direction right", "higher", "share of clips that move as the prompt says"),
    "is_dynamic": _percentage(
        "Dynamic degree", "", "share of clips with fast motion (arXiv 2311.17982; DIS for RAFT)", digits=0
    ),
    "fastest_motion": Measure("Fastest motion", "", "optical flow of the fastest 5 % in px per frame at 256 px"),
    "temporal_flicker": Measure(
        "Temporal stability", "higher", "(255 - mean absolute difference) / 255, flicker as VBench defines it", digits=4
    ),
    "background_flicker": Measure("Background stability", "higher", "the same where nothing moves", digits=4),
    "warping_error": Measure(
        "Warping error", "lower", "difference along the flow (arXiv 1808.00449), x 1000", factor=1000
    ),
    "motion_share": _percentage("Motion", "", "mean length of the optical flow per frame, of the diagonal", digits=2),
    "speed": Measure("Speed of the thing", "", "of the thing that the prompt names, sides per frame", digits=4),
    "sharpness": Measure("Sharpness", "", "variance of the Laplacian; compares pictures of one size", digits=0),
}


@dataclass(frozen=True)
class ClipResult:
    """Clip of an engine: its ``file`` in the report's folder, the ``seconds`` it took, its ``measures`` by name, NaN
    for undefined ones, and as ``strip`` a JPEG of its frames below each other, None if the report does not show it."""

    prompt: str
    seed: int
    file: str
    seconds: float
    frames: int
    fps: int
    width: int
    height: int
    measures: Mapping[str, float]
    notes: tuple[str, ...] = ()
    strip: bytes | None = None


@dataclass
class EngineResult:
    """Result of one engine: its clips, and as ``error`` the reason in one line why there are no more. ``peak_bytes`` is
    the most memory of the device that it took, weights included, None if the system does not tell."""

    name: str
    label: str
    note: str
    settings: Mapping[str, Any]
    load_seconds: float | None = None
    peak_bytes: int | None = None
    error: str | None = None
    clips: list[ClipResult] = field(default_factory=list)

    @property
    def seconds_per_clip(self) -> float | None:
        """Median over the clips, None without clips."""
        return statistics.median(clip.seconds for clip in self.clips) if self.clips else None

    def values(self, measure: str) -> dict[str, list[float]]:
        """Return the finite values of a measure by prompt."""
        found: dict[str, list[float]] = {}
        for clip in self.clips:
            if math.isfinite(value := clip.measures.get(measure, math.nan)):
                found.setdefault(clip.prompt, []).append(value)
        return found

    def interval(self, measure: str) -> Interval | None:
        """Return the mean over prompts and seeds with its 95 % confidence interval (NaN for few prompts), or None if no
        clip has the measure."""
        values = self.values(measure)
        return mean_interval(values) if values else None


@dataclass
class Results:
    """Results of a whole comparison, with the device and the versions it ran on."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    device: str
    versions: Mapping[str, str]
    made_at: str  # ISO 8601
    engines: list[EngineResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clip_network: str | None = None  # as asked for; see ``scored_by``

    @property
    def scored_by(self) -> str | None:
        """Network of the CLIP scores, which cannot be compared with those of another network; None without scores."""
        return self.clip_network if any(engine.values("clip_text") for engine in self.engines) else None

    def measures(self) -> list[str]:
        """Return the names of the measures that any clip has, in the order of MEASURES."""
        return [name for name in MEASURES if any(engine.values(name) for engine in self.engines)]

    def differences(self) -> list[tuple[EngineResult, dict[str, Interval]]]:
        """Return the differences of each other engine to the first by measure, of the engines that have any."""
        measures = self.measures()
        found = [
            (engine, {name: one for name in measures if (one := difference(engine, self.engines[0], name))})
            for engine in self.engines[1:]
        ]
        return [(engine, differences) for engine, differences in found if differences]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; NaN is None, strips are left out."""
        measures = {name: asdict(MEASURES[name]) for name in self.measures()}
        return {
            "made_at": self.made_at,
            "device": self.device,
            "versions": dict(self.versions),
            "prompts": list(self.prompts),
            "seeds": list(self.seeds),
            "notes": list(self.notes),
            "clip_network": self.scored_by,
            "measures": measures,
            "engines": [engine_facts(engine, list(measures)) for engine in self.engines],
            "differences": [
                {"engine": engine.label, "minus": self.engines[0].label, "means": plain_intervals(found)}
                for engine, found in self.differences()
            ],
        }


def difference(engine: EngineResult, first: EngineResult, measure: str) -> Interval | None:
    """Return the mean over prompts and seeds of ``engine``'s values of a measure minus ``first``'s, with its 95 %
    confidence interval over prompts, of the clips that both have; None if these are of fewer than MIN_PROMPTS.

    Effects of a prompt and a seed that are common to both cancel out, so it is surer than two means side by side.
    """
    before = {(clip.prompt, clip.seed): clip.measures.get(measure, math.nan) for clip in first.clips}
    found: dict[str, list[float]] = {}
    for clip in engine.clips:
        more = clip.measures.get(measure, math.nan) - before.get((clip.prompt, clip.seed), math.nan)
        if math.isfinite(more):
            found.setdefault(clip.prompt, []).append(more)
    return mean_interval(found) if len(found) >= MIN_PROMPTS else None


def engine_facts(engine: EngineResult, measures: Iterable[str]) -> dict[str, Any]:
    """Return an engine's result as JSON values."""
    intervals = {name: found for name in measures if (found := engine.interval(name))}
    clips = []
    for clip in engine.clips:
        facts = {**vars(clip), "notes": list(clip.notes), "measures": without_nan(clip.measures)}
        del facts["strip"]
        clips.append(facts)
    return {
        **{name: getattr(engine, name) for name in ("name", "label", "note", "error", "load_seconds", "peak_bytes")},
        "settings": dict(engine.settings),
        "seconds_per_clip": engine.seconds_per_clip,
        "means": plain_intervals(intervals),
        "clips": clips,
    }


def plain_intervals(found: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Return intervals by measure as JSON values."""
    return {name: without_nan(asdict(interval)) for name, interval in found.items()}


def without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values with None in place of NaN, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
