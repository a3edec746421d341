"""Runs of a comparison: every engine in turn draws every prompt with every seed, and each clip is measured.

Each engine is loaded after the one before has been released; if one fails, the others' results stand.
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
from model_manager.prompt_notation import words_of
from pipelines.prompt_weights import plain_text
from toyworld.clips import ToyClip
from toyworld.scene import Scene
from utils import versions

logger = logging.getLogger(__name__)
CLIPS = "clips"
SHOWN_PROMPTS = 12  # in the report; the clips of all prompts are in its folder
# Measures that no prompt of the toy world asks for: places, which motion changes on purpose.
NOT_ASKED = ("position", "position_error")


@dataclass(frozen=True)
class Stage:
    """Progress of a comparison: the label of the engine at work, ``done`` clips of ``total``, the progress of the next
    one (None while an engine is loaded), and all results so far."""

    label: str
    done: int
    total: int
    progress: Progress | None
    results: Results

    @property
    def fraction(self) -> float:
        """Share of the whole comparison that is done."""
        return (self.done + (0 if self.progress is None else self.progress.fraction)) / max(1, self.total)


OnStage = Callable[[Stage], object]


@dataclass
class Comparison:
    """Comparison that is ready to run: its settings, its engines, and the results of each, in the same order."""

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
        """Draw and measure every clip into a folder; raises Cancelled, after which ``results`` has the clips so far.

        ``before_next`` is called before every engine but the first, so that the results so far can be kept.
        """
        import pipelines.trained_video  # noqa: F401 - imports diffusers, whose cost would count as the first engine's

        (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        for engine in self.engines:  # a model of an earlier job would load in no time, and its memory not be counted
            engine.release()
        for number in range(len(self.engines)):
            if number:
                before_next()
            self._run_engine(number, EngineRun(self, number, folder, on_stage=on_stage, cancel=cancel))
        on_stage(Stage("", self.total, self.total, None, self.results))
        return self.results

    def _run_engine(self, number: int, run: EngineRun) -> None:
        """Run one engine, note its error if it fails, and release it; raises Cancelled."""
        result = self.results.engines[number]
        try:
            run.run()
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
            self.engines[number].release()

    @property
    def total(self) -> int:
        """Number of clips."""
        return len(self.engines) * len(self.settings.prompts) * len(self.settings.seeds)

    def measures(self, output: EngineOutput, prompt: str) -> dict[str, float]:
        """Return all measures of a clip by name; once CLIP scores are unavailable, without them from then on."""
        values = measure_clip(output.frames, output.fps, prompt)
        if self.scorer is not None:
            try:
                thinned = output.frames[:: metrics.thinning(len(output.frames), output.fps)]
                values |= self.scorer.scores(thinned, plain_text(words_of(as_sentence(prompt))))
            except UserError as error:
                self.scorer = None
                self.results.notes.append(f"Without CLIP scores: {error}.")
        return values


class EngineRun:
    """Run of one engine in a comparison: it is loaded, draws every prompt with every seed, and is measured."""

    def __init__(
        self,
        comparison: Comparison,
        number: int,
        folder: Path,
        *,
        on_stage: OnStage,
        cancel: threading.Event | None,
    ) -> None:
        self.comparison, self.number, self.folder = comparison, number, folder
        self.on_stage, self.cancel = on_stage, cancel
        self.engine, self.result = comparison.engines[number], comparison.results.engines[number]

    def run(self) -> None:
        """Load the engine and draw; raises Cancelled and the engine's errors, after which its result has the clips so
        far."""
        settings, result = self.comparison.settings, self.result
        self.report(None)
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
                    output = self.engine.generate(prompt, seed, on_step=self.report, cancel=self.cancel)
                    seconds = time.monotonic() - began
                    if not result.clips:  # before anything is measured, which takes memory too
                        result.peak_bytes, result.settings = peak.stop(), output.settings
                    self.keep(output, place, seed, seconds)
        finally:
            peak.stop()

    def keep(self, output: EngineOutput, place: int, seed: int, seconds: float) -> None:
        """Write, measure and record the clip of the prompt at ``place``; raises UserError if it cannot be written."""
        settings, prompt = self.comparison.settings, self.comparison.settings.prompts[place]
        file = f"{CLIPS}/{self.number + 1}-{file_name(self.result.label, '')}-{place + 1:03d}-{seed}.mp4"
        try:
            output.save(self.folder / file)
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror or error}") from None
        is_shown = place < SHOWN_PROMPTS and seed == settings.seeds[0]
        count, height, width = output.frames.shape[:3]
        clip = ClipResult(
            prompt=prompt,
            seed=seed,
            file=file,
            seconds=seconds,
            frames=count,
            fps=output.fps,
            width=width,
            height=height,
            measures=self.comparison.measures(output, prompt),
            notes=output.notes,
            strip=strip_of(output.frames) if is_shown else None,
        )
        self.result.clips.append(clip)
        self.report(None)

    def report(self, progress: Progress | None) -> None:
        """Report the progress of the whole comparison."""
        done = self.number * self.comparison.total // len(self.comparison.engines) + len(self.result.clips)
        self.on_stage(Stage(self.result.label, done, self.comparison.total, progress, self.comparison.results))


def prepare(settings: ComparisonSettings, model: Model, chat_model: ChatModel | None = None) -> Comparison:
    """Return the comparison, checked as far as possible without loading anything; raises UserError."""
    device = model.loader.device
    specs = [(choice, engine_spec(choice.engine)) for choice in settings.engines]
    engines = [build_engine(choice, spec, settings, model=model, chat_model=chat_model) for choice, spec in specs]
    labels = unique_labels([choice.label or label_of(choice, spec, model) for choice, spec in specs])
    scorer = None if settings.clip is None else ClipScorer(settings.clip, device)
    results = Results(
        prompts=settings.prompts,
        seeds=settings.seeds,
        device=device,
        versions=versions(),
        made_at=datetime.now(UTC).isoformat("T", "seconds"),
        engines=[
            EngineResult(spec.name, label, spec.note, engine.settings)
            for (_, spec), label, engine in zip(specs, labels, engines, strict=True)
        ],
        clip_network=None if scorer is None else scorer.network,
    )
    return Comparison(settings, engines, results, scorer)


def unique_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels with a number after each one that has stood before."""
    before = [labels[:index].count(label) for index, label in enumerate(labels)]
    return [f"{label} ({count + 1})" if count else label for label, count in zip(labels, before, strict=True)]


def measure_clip(frames: np.ndarray, fps: int, prompt: str) -> dict[str, float]:
    """Return every measure of uint8 frames (f, h, w, 3) at about 8 frames a second: those of any video, and for prompts
    of the toy world those against the exact scene."""
    truth, every = prompt_lists.truths(len(frames)).get(prompt), metrics.thinning(len(frames), fps)
    frames = frames[::every]
    values = metrics.measures(frames, fps / every)
    if truth is None:
        return values
    exact = toyworld.measures(frames, (truth,) * len(frames) if isinstance(truth, Scene) else truth.scenes[::every])
    left_out = [*NOT_ASKED]
    if isinstance(truth, Scene) or truth.kind != "moves":
        left_out.append("direction")
    if isinstance(truth, ToyClip) and truth.kind == "recolours":
        left_out.append("identity_to_first")  # to stay as it was would be wrong
    return values | {name: value for name, value in exact.items() if name not in left_out}
