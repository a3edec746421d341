"""Several engines draw the same prompts with the same seeds, one after the other, and what they make is measured.

Each engine is loaded when the one before has been let go; where one fails, the others' results stand.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from compare_settings import ComparisonSettings, EngineChoice
from diffusers_engine import DiffusersVideo
from director import Complete, as_sentence
from engines import Engine, engine_by_name
from errors import Cancelled, InvalidSettings, UserError
from evaluation import metrics, prompt_lists, toyworld
from evaluation.clip_scores import ClipScorer
from inputs import directed
from memory import PeakMemory
from model import Model
from operator_options import by_name
from parsing import parse
from prompts import file_name
from report import strip_of
from reporting import OnStep, Progress
from results import EngineResult, Made, Results
from settings import DirectorSettings, Settings
from training.toyworld.scene import Scene
from utils import versions
from video_io import write_video

logger = logging.getLogger(__name__)
CLIPS = "clips"
SHOWN_PROMPTS = 12  # as many are seen in the report; the clips of all are in its folder
# What words do not say of a toy-world clip: where it is while it moves, and how fast.
NOT_ASKED = ("position", "position_error")
MOTION = ("direction",)
OF_ONE_CLIP = ("prompt", "seed", "storyboard")


@dataclass(frozen=True)
class Stage:
    """Where a comparison is: the engine at work, clips finished ``done`` of ``total``, how far this one is (None while
    an engine is loaded), and everything there is so far."""

    label: str
    done: int
    total: int
    progress: Progress | None
    results: Results

    @property
    def fraction(self) -> float:
        """Of the whole."""
        return (self.done + (0 if self.progress is None else self.progress.fraction)) / max(1, self.total)


OnStage = Callable[[Stage], None]


@dataclass(frozen=True)
class Drawn:
    """A clip as an engine gives it: ``frames`` uint8 (frames, height, width, 3); ``save`` writes it with what made it
    inside; ``settings`` are all but those of this one clip."""

    frames: np.ndarray
    save: Callable[[Path], Any]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Drawer(Protocol):
    """What draws with one engine. Errors are UserErrors with one line each, and Cancelled."""

    settings: Mapping[str, Any]

    def load(self) -> None: ...

    def draw(self, prompt: str, seed: int, on_step: OnStep, cancel: threading.Event | None) -> Drawn: ...

    def release(self) -> None: ...


class OwnDrawer:
    """Draws with this program's own modes, under ``settings`` without a prompt and a seed."""

    def __init__(self, model: Model, settings: Mapping[str, Any], fps: int, complete: Complete | None) -> None:
        self.settings = {**settings, "fps": fps}
        self._model = model
        self._complete = complete

    def settings_of(self, prompt: str, seed: int) -> Settings:
        """Complete settings; engines that are not directed read moments as one sentence. Raises UserError."""
        settings = parse({**self.settings, "prompt": prompt, "seed": seed})
        if not isinstance(settings, DirectorSettings):
            settings = settings.model_copy(update={"prompt": as_sentence(prompt)})
        return by_name(settings, self._model.catalogue)

    def load(self) -> None:
        """Raises UserError."""
        self._model.load(self.settings_of("a circle", 0))

    def draw(self, prompt: str, seed: int, on_step: OnStep, cancel: threading.Event | None) -> Drawn:
        """Raises UserError and Cancelled."""
        settings = self.settings_of(prompt, seed)
        if self._complete is not None and isinstance(settings, DirectorSettings):
            settings = directed(settings, self._complete)
        clip = self._model.generate(settings, on_step=on_step, cancel=cancel)
        own = {name: value for name, value in clip.settings.to_dict().items() if name not in OF_ONE_CLIP}
        return Drawn(clip.frames, clip.save, own, clip.notes)

    def release(self) -> None:
        """Frees the memory."""
        self._model.release()


class DiffusersDrawer:
    """Draws with a text-to-video pipeline of diffusers, as it is."""

    def __init__(self, engine: Engine, name: str, comparison: ComparisonSettings, device: str) -> None:
        assert engine.pipeline is not None
        self.settings = {"source": engine.pipeline.source, **engine.pipeline.call}
        self._video = DiffusersVideo(engine.pipeline, name, device)
        self._size = {"width": comparison.width, "height": comparison.height}
        self._frames, self._fps = comparison.num_frames, comparison.fps

    def load(self) -> None:
        """Raises UserError."""
        self._video.load()

    def draw(self, prompt: str, seed: int, on_step: OnStep, cancel: threading.Event | None) -> Drawn:
        """Raises UserError and Cancelled."""
        text = as_sentence(prompt)
        frames = self._video.draw(text, seed, num_frames=self._frames, **self._size, on_step=on_step, cancel=cancel)
        metadata = {"prompt": text, "seed": str(seed), "source": str(self.settings["source"])}
        return Drawn(frames, lambda path: write_video(path, frames, self._fps, metadata), self.settings)

    def release(self) -> None:
        """Frees the memory."""
        self._video.release()


@dataclass
class Comparison:
    """A comparison that is ready to run: ``settings``, and for each of its engines what draws and what comes of it."""

    settings: ComparisonSettings
    drawers: Sequence[Drawer]
    results: Results
    scorer: ClipScorer | None = None

    def run(self, folder: Path, on_stage: OnStage, cancel: threading.Event | None = None) -> Results:
        """Draw and measure everything into a folder; raises Cancelled, and ``results`` is what there was by then."""
        import pipelines.trained_video  # noqa: F401 - and all of diffusers: whoever came first would seem slow and large

        (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        for number, (drawer, result) in enumerate(zip(self.drawers, self.results.engines, strict=True)):
            try:
                Turn(self, number, folder, on_stage, cancel).run()
            except Cancelled:
                result.error = "stopped before it had finished"
                raise
            except UserError as error:
                result.error = str(error)
            except Exception as error:  # one engine's bug must not take what the others have made
                logger.exception("the engine %s broke down", result.label)
                result.error = f"broke down ({type(error).__name__}); the log of this program says more"
            finally:
                drawer.release()
        on_stage(Stage("", self.total, self.total, None, self.results))
        return self.results

    @property
    def total(self) -> int:
        """The number of clips."""
        return len(self.drawers) * len(self.settings.prompts) * len(self.settings.seeds)

    def measures(self, drawn: Drawn, prompt: str) -> dict[str, float]:
        """All that is measured of a clip; without CLIP scores from then on where these cannot be had."""
        values = measured(drawn.frames, self.settings.fps, prompt)
        if self.scorer is not None:
            try:
                values |= self.scorer.scores(drawn.frames, as_sentence(prompt))
            except UserError as error:
                self.scorer = None
                self.results.notes.append(f"Without CLIP scores: {error}.")
        return values


class Turn:
    """One engine's turn in a comparison: it is loaded, draws every prompt with every seed, and is measured."""

    def __init__(
        self, comparison: Comparison, number: int, folder: Path, on_stage: OnStage, cancel: threading.Event | None
    ) -> None:
        self.comparison, self.number, self.folder = comparison, number, folder
        self.on_stage, self.cancel = on_stage, cancel
        self.drawer, self.result = comparison.drawers[number], comparison.results.engines[number]

    def run(self) -> None:
        """Raises Cancelled, and whatever the engine does; what it made before is in its result."""
        settings, result = self.comparison.settings, self.result
        self.tell(None)
        peak = PeakMemory(self.comparison.results.device)
        try:
            began = time.monotonic()
            self.drawer.load()
            result.load_seconds = time.monotonic() - began
            for place, prompt in enumerate(settings.prompts):
                for seed in settings.seeds:
                    began = time.monotonic()
                    drawn = self.drawer.draw(prompt, seed, self.tell, self.cancel)
                    seconds = time.monotonic() - began
                    if not result.clips:  # before anything is measured, which takes memory too
                        result.peak_bytes, result.settings = peak.stop(), drawn.settings
                    self.keep(drawn, place, seed, seconds)
        finally:
            peak.stop()

    def keep(self, drawn: Drawn, place: int, seed: int, seconds: float) -> None:
        """Write, measure and note down a clip."""
        settings, prompt = self.comparison.settings, self.comparison.settings.prompts[place]
        file = f"{CLIPS}/{self.number + 1}-{file_name(self.result.label, '')}-{place + 1:03d}-{seed}.mp4"
        drawn.save(self.folder / file)
        shown = place < SHOWN_PROMPTS and seed == settings.seeds[0]
        count, height, width = drawn.frames.shape[:3]
        made = Made(
            *(prompt, seed, file, seconds, count, settings.fps, width, height),
            *(self.comparison.measures(drawn, prompt), drawn.notes, strip_of(drawn.frames) if shown else None),
        )
        self.result.clips.append(made)
        self.tell(None)

    def tell(self, progress: Progress | None) -> None:
        """Where the whole comparison is."""
        done = self.number * self.comparison.total // len(self.comparison.drawers) + len(self.result.clips)
        self.on_stage(Stage(self.result.label, done, self.comparison.total, progress, self.comparison.results))


def prepare(settings: ComparisonSettings, model: Model, complete: Complete | None = None) -> Comparison:
    """What will draw, checked as far as that goes without loading anything; raises UserError."""
    device = model.loader.device
    rows = [engine_by_name(choice.engine) for choice in settings.engines]
    drawers = [
        drawer_of(choice, engine, settings, model, complete)
        for choice, engine in zip(settings.engines, rows, strict=True)
    ]
    results = Results(settings.prompts, settings.seeds, device, versions(), datetime.now(UTC).isoformat("T", "seconds"))
    labels = [choice.label or label_of(choice, row, model) for choice, row in zip(settings.engines, rows, strict=True)]
    for index, (row, drawer) in enumerate(zip(rows, drawers, strict=True)):
        before = labels[:index].count(labels[index])
        label = f"{labels[index]} ({before + 1})" if before else labels[index]
        results.engines.append(EngineResult(row.name, label, row.note, drawer.settings))
    scorer = None if settings.clip is None else ClipScorer(settings.clip, device)
    return Comparison(settings, drawers, results, scorer)


def drawer_of(
    choice: EngineChoice, engine: Engine, comparison: ComparisonSettings, model: Model, complete: Complete | None
) -> Drawer:
    """What draws with an engine; raises InvalidSettings for settings that it has not, with its name before them."""
    if engine.settings is None:
        if choice.settings:
            raise InvalidSettings(f"{choice.engine}: takes no settings of its own, not {next(iter(choice.settings))}")
        return DiffusersDrawer(engine, engine.label, comparison, model.loader.device)
    shared = {name: getattr(comparison, name) for name in ("num_frames", "width", "height")}
    given = {name: value for name, value in shared.items() if value is not None}
    drawer = OwnDrawer(model, {**engine.settings, **given, **choice.settings}, comparison.fps, complete)
    try:
        for prompt in comparison.prompts:
            drawer.settings_of(prompt, comparison.seeds[0])
    except InvalidSettings as error:
        raise InvalidSettings(f"{choice.label or choice.engine}: {error}") from None
    except UserError:
        pass  # a model that is not there is this engine's trouble alone, and told when its turn comes
    return drawer


def label_of(choice: EngineChoice, engine: Engine, model: Model) -> str:
    """The engine's name, and the model's where one is chosen."""
    name = choice.settings.get("model")
    if not isinstance(name, str):
        return engine.label
    label = model.rows[name].label.partition(" (")[0] if name in model.rows else Path(name).name
    return f"{engine.label}, {label}"


def measured(frames: np.ndarray, fps: int, prompt: str) -> dict[str, float]:
    """Every measure of a clip: of any video, and of the toy world's prompts what is known exactly."""
    values = metrics.measures(frames, fps)
    truth = prompt_lists.truths().get(prompt)
    if truth is None:
        return values
    still = isinstance(truth, Scene)
    scenes = (truth,) * len(frames) if isinstance(truth, Scene) else truth.scenes
    if len(scenes) != len(frames):
        return values
    exact = toyworld.measures(frames, scenes)
    untold = NOT_ASKED + (MOTION if still or truth.kind != "moves" else ())
    return values | {name: value for name, value in exact.items() if name not in untold}
