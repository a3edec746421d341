"""What a comparison came to: every clip with its measures, and per engine their means with confidence intervals.

It knows numbers and names, and no models, files or HTML.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluation.statistics import MIN_PROMPTS, Interval, mean_interval


@dataclass(frozen=True)
class Measure:
    """A measure in the words of a table: ``better`` is "higher", "lower" or "" where neither is."""

    label: str
    better: str
    about: str
    digits: int = 2
    factor: float = 1.0  # told times this
    unit: str = ""


# In the order of the table. Dynamic degree stands beside every measure of consistency: a still video is the most
# consistent of all.
MEASURES: Mapping[str, Measure] = {
    "clip_text": Measure("CLIP text", "higher", "100 x cosine of frames and prompt (arXiv 2104.08718)"),
    "clip_consistency": Measure("CLIP consistency", "higher", "100 x cosine of neighbouring frames (arXiv 2302.03011)"),
    "shape": Measure("Shape right", "higher", "share of frames whose shapes are those of the prompt", 1, 100, "%"),
    "colour": Measure("Colour right", "higher", "share of frames whose colours are those of the prompt", 1, 100, "%"),
    "shirt": Measure("Shirt right", "higher", "share of frames whose shirt is that of the prompt", 1, 100, "%"),
    "trousers": Measure(
        "Trousers right", "higher", "share of frames whose trousers are those of the prompt", 1, 100, "%"
    ),
    "background": Measure(
        "Background right", "higher", "share of frames whose background is the prompt's", 1, 100, "%"
    ),
    "identity_to_expected": Measure(
        "Identity", "higher", "share of frames whose colours and shapes are all as expected", 1, 100, "%"
    ),
    "identity_to_first": Measure(
        "Identity over time", "higher", "share of frames whose colours and shapes are the first frame's", 1, 100, "%"
    ),
    "direction": Measure("Direction right", "higher", "share of clips that move as the prompt says", 1, 100, "%"),
    "is_dynamic": Measure(
        "Dynamic degree", "", "share of clips with fast motion (arXiv 2311.17982; DIS for RAFT)", 0, 100, "%"
    ),
    "fastest_motion": Measure("Fastest motion", "", "optical flow of the fastest 5 % in px per frame at 256 px"),
    "temporal_flicker": Measure(
        "Temporal stability", "higher", "(255 - mean absolute difference) / 255, flicker as VBench defines it", 4
    ),
    "background_flicker": Measure("Background stability", "higher", "the same where nothing moves", 4),
    "warping_error": Measure("Warping error", "lower", "difference along the flow (arXiv 1808.00449), x 1000", 2, 1000),
    "motion_share": Measure("Motion", "", "mean length of the optical flow per frame, of the diagonal", 2, 100, "%"),
    "speed": Measure("Speed of the thing", "", "of the thing that the prompt names, sides per frame", 4),
    "sharpness": Measure("Sharpness", "", "variance of the Laplacian; compares pictures of one size", 0),
}


@dataclass(frozen=True)
class ClipResult:
    """One clip: ``file`` within the report's folder, ``seconds`` it took, ``measures`` by name (NaN where one cannot be
    told), ``strip`` a JPEG of its frames below each other, or None where it is not shown."""

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
    """What one engine made; ``error`` says in one line why there is no more. ``peak_bytes`` is the most memory that the
    device gave for it, weights included, None where the system does not say."""

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
        """The median, or None without clips."""
        return statistics.median(clip.seconds for clip in self.clips) if self.clips else None

    def values(self, measure: str) -> dict[str, list[float]]:
        """What there is of a measure, by prompt."""
        found: dict[str, list[float]] = {}
        for clip in self.clips:
            if math.isfinite(value := clip.measures.get(measure, math.nan)):
                found.setdefault(clip.prompt, []).append(value)
        return found

    def interval(self, measure: str) -> Interval | None:
        """The mean over prompts and seeds and its 95 % confidence interval (NaN for few prompts), or None where no clip
        has the measure."""
        values = self.values(measure)
        return mean_interval(values) if values else None


@dataclass
class Results:
    """A whole comparison: ``device`` and ``versions`` it ran on, and what each engine made of every prompt."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    device: str
    versions: Mapping[str, str]
    made_at: str  # ISO 8601
    engines: list[EngineResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    clip_network: str | None = None  # asked for; see ``scored_by``

    @property
    def scored_by(self) -> str | None:
        """The network that the CLIP scores are of, for those of two do not compare; None where there are none."""
        return self.clip_network if any(engine.values("clip_text") for engine in self.engines) else None

    def measures(self) -> list[str]:
        """The names of the measures that any clip has, in the order of MEASURES."""
        return [name for name in MEASURES if any(engine.values(name) for engine in self.engines)]

    def differences(self) -> list[tuple[EngineResult, dict[str, Interval]]]:
        """Each other engine minus the first, by measure; those alone that have any ``difference``."""
        measures = self.measures()
        found = [
            (engine, {name: one for name in measures if (one := difference(engine, self.engines[0], name))})
            for engine in self.engines[1:]
        ]
        return [(engine, differences) for engine, differences in found if differences]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN is null, strips are left out."""
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
    """The mean over prompts and seeds of what ``engine`` has of a measure minus what ``first`` has, and its 95 %
    confidence interval over prompts; of the clips that both have, None where these are of fewer than MIN_PROMPTS.

    What a prompt and a seed have in common for both falls out, so it is surer than two means side by side.
    """
    before = {(clip.prompt, clip.seed): clip.measures.get(measure, math.nan) for clip in first.clips}
    found: dict[str, list[float]] = {}
    for clip in engine.clips:
        more = clip.measures.get(measure, math.nan) - before.get((clip.prompt, clip.seed), math.nan)
        if math.isfinite(more):
            found.setdefault(clip.prompt, []).append(more)
    return mean_interval(found) if len(found) >= MIN_PROMPTS else None


def engine_facts(engine: EngineResult, measures: Iterable[str]) -> dict[str, Any]:
    """An engine's result as JSON values."""
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
    """Intervals by measure as JSON values."""
    return {name: without_nan(asdict(interval)) for name, interval in found.items()}


def without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None, which JSON has, for NaN, which it has not."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
