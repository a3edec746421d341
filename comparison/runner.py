"""Several engines draw the same prompts with the same seeds, one after the other, and what they make is measured.

Each engine is loaded when the one before has been let go; where one fails, the others' results stand.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from comparison.engine_specs import engine_spec
from comparison.engines import Engine, EngineOutput, build_engine, label_of
from comparison.peak_memory import PeakMemory
from comparison.report.clips import strip_of
from comparison.results import ClipResult, EngineResult, Results
from comparison.settings import ComparisonSettings
from director.director import ChatModel
from director.storyboard import as_sentence
from errors import Cancelled, UserError
from evaluation import metrics, prompt_lists, toyworld
from evaluation.clip_scores import ClipScorer
from generation.progress import Progress, stop_if
from generation.prompts import file_name
from model import Model
from toyworld.clips import ToyClip
from toyworld.scene import Scene
from utils import versions

logger = logging.getLogger(__name__)
CLIPS = "clips"
SHOWN_PROMPTS = 12  # as many are seen in the report; the clips of all are in its folder
# What is not asked of a toy-world clip: where things are, which motion changes on purpose.
NOT_ASKED = ("position", "position_error")


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


OnStage = Callable[[Stage], object]


@dataclass
class Comparison:
    """A comparison that is ready to run: ``settings``, and for each of its engines what draws and what comes of it."""

    settings: ComparisonSettings
    engines: Sequence[Engine]
    results: Results
    scorer: ClipScorer | None = None

    def run(
        self,
        folder: Path,
        on_stage: OnStage,
        cancel: threading.Event | None = None,
        before_next: Callable[[], object] = lambda: None,
    ) -> Results:
        """Draw and measure everything into a folder; raises Cancelled, and ``results`` is what there was by then.

        ``before_next`` is called before every engine but the first, so that what there is by then can be kept.
        """
        import pipelines.trained_video  # noqa: F401 - and all of diffusers: whoever came first would seem slow and large

        (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        for engine in self.engines:  # a model of an earlier job would be loaded in no time, and its memory not counted
            engine.release()
        for number, (engine, result) in enumerate(zip(self.engines, self.results.engines, strict=True)):
            if number:
                before_next()
            try:
                EngineRun(self, number, folder, on_stage, cancel).run()
            except Cancelled:
                for unfinished in self.results.engines[number:]:
                    unfinished.error = "stopped before it had finished"
                raise
            except UserError as error:
                result.error = str(error)
            except Exception as error:  # one engine's bug must not take what the others have made
                logger.exception("the engine %s broke down", result.label)
                result.error = f"broke down ({type(error).__name__}); the log of this program says more"
            finally:
                engine.release()
        on_stage(Stage("", self.total, self.total, None, self.results))
        return self.results

    @property
    def total(self) -> int:
        """The number of clips."""
        return len(self.engines) * len(self.settings.prompts) * len(self.settings.seeds)

    def measures(self, drawn: EngineOutput, prompt: str) -> dict[str, float]:
        """All that is measured of a clip; without CLIP scores from then on where these cannot be had."""
        values = measured(drawn.frames, drawn.fps, prompt)
        if self.scorer is not None:
            try:
                thinned = drawn.frames[:: metrics.thinning(len(drawn.frames), drawn.fps)]
                values |= self.scorer.scores(thinned, as_sentence(prompt))
            except UserError as error:
                self.scorer = None
                self.results.notes.append(f"Without CLIP scores: {error}.")
        return values


class EngineRun:
    """One engine's turn in a comparison: it is loaded, draws every prompt with every seed, and is measured."""

    def __init__(
        self, comparison: Comparison, number: int, folder: Path, on_stage: OnStage, cancel: threading.Event | None
    ) -> None:
        self.comparison, self.number, self.folder = comparison, number, folder
        self.on_stage, self.cancel = on_stage, cancel
        self.engine, self.result = comparison.engines[number], comparison.results.engines[number]

    def run(self) -> None:
        """Raises Cancelled, and whatever the engine does; what it made before is in its result."""
        settings, result = self.comparison.settings, self.result
        self.tell(None)
        peak = PeakMemory(self.comparison.results.device)
        try:
            began = time.monotonic()
            stop_if(self.cancel)
            self.engine.load()
            stop_if(self.cancel)
            result.load_seconds = time.monotonic() - began
            for place, prompt in enumerate(settings.prompts):
                for seed in settings.seeds:
                    began = time.monotonic()
                    drawn = self.engine.generate(prompt, seed, self.tell, self.cancel)
                    seconds = time.monotonic() - began
                    if not result.clips:  # before anything is measured, which takes memory too
                        result.peak_bytes, result.settings = peak.stop(), drawn.settings
                    self.keep(drawn, place, seed, seconds)
        finally:
            peak.stop()

    def keep(self, drawn: EngineOutput, place: int, seed: int, seconds: float) -> None:
        """Write, measure and note down a clip."""
        settings, prompt = self.comparison.settings, self.comparison.settings.prompts[place]
        file = f"{CLIPS}/{self.number + 1}-{file_name(self.result.label, '')}-{place + 1:03d}-{seed}.mp4"
        try:
            drawn.save(self.folder / file)
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror or error}") from None
        shown = place < SHOWN_PROMPTS and seed == settings.seeds[0]
        count, height, width = drawn.frames.shape[:3]
        made = ClipResult(
            *(prompt, seed, file, seconds, count, drawn.fps, width, height),
            *(self.comparison.measures(drawn, prompt), drawn.notes, strip_of(drawn.frames) if shown else None),
        )
        self.result.clips.append(made)
        self.tell(None)

    def tell(self, progress: Progress | None) -> None:
        """Where the whole comparison is."""
        done = self.number * self.comparison.total // len(self.comparison.engines) + len(self.result.clips)
        self.on_stage(Stage(self.result.label, done, self.comparison.total, progress, self.comparison.results))


def prepare(settings: ComparisonSettings, model: Model, chat_model: ChatModel | None = None) -> Comparison:
    """What will draw, checked as far as that goes without loading anything; raises UserError."""
    device = model.loader.device
    chosen = [(choice, engine_spec(choice.engine)) for choice in settings.engines]
    engines = [build_engine(choice, engine, settings, model, chat_model) for choice, engine in chosen]
    labels = [choice.label or label_of(choice, engine, model) for choice, engine in chosen]
    results = Results(settings.prompts, settings.seeds, device, versions(), datetime.now(UTC).isoformat("T", "seconds"))
    for index, (_, engine) in enumerate(chosen):
        before = labels[:index].count(labels[index])
        label = f"{labels[index]} ({before + 1})" if before else labels[index]
        results.engines.append(EngineResult(engine.name, label, engine.note, engines[index].settings))
    scorer = None if settings.clip is None else ClipScorer(settings.clip, device)
    results.clip_network = None if scorer is None else scorer.network
    return Comparison(settings, engines, results, scorer)


def measured(frames: np.ndarray, fps: int, prompt: str) -> dict[str, float]:
    """Every measure of a clip at about 8 frames a second: of any video, and of the toy world's prompts what is known
    exactly."""
    truth, every = prompt_lists.truths(len(frames)).get(prompt), metrics.thinning(len(frames), fps)
    frames = frames[::every]
    values = metrics.measures(frames, fps / every)
    if truth is None:
        return values
    exact = toyworld.measures(frames, (truth,) * len(frames) if isinstance(truth, Scene) else truth.scenes[::every])
    untold = [*NOT_ASKED]
    if isinstance(truth, Scene) or truth.kind != "moves":
        untold.append("direction")
    if isinstance(truth, ToyClip) and truth.kind == "recolours":
        untold.append("identity_to_first")  # to stay as it was would be wrong
    return values | {name: value for name, value in exact.items() if name not in untold}
