"""The one door to everything that generates: ``Model().generate(settings) -> Clip``.

Lazy: nothing is loaded before the first job. One lock is held around load, run and release, so that jobs of any
number of callers follow one another.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from errors import GenerationFailed, InvalidSettings, ModelUnavailable
from generation.modes import MODES, Mode, attention_of, build_scheduler, call_arguments
from generation.progress import OnStep, Progress, Reporter, fit_preview, stop_if
from generation.prompts import plain_words, told, told_prompt
from generation.sources import (
    Annotators,
    Inputs,
    Source,
    as_picture,
    check_source,
    complete,
    fit_picture,
    frame_prompts,
    read_source,
    size_px,
    truncation_notes,
)
from media import video_io
from model_manager import builtin_models
from model_manager.catalogue import Extras, read_catalogue
from model_manager.hub import cached, reachable
from model_manager.loader import Loader
from model_manager.memory import MemoryPlan, is_shared, placed, plan_job, tighter
from settings import ControlSettings, MotionSettings, Settings, SourceSettings
from settings.parsing import to_json
from utils import choose_device, fit_threads, versions

__all__ = ["Clip", "Model", "Progress"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A finished video: ``frames`` uint8 (frames, height, width, 3), the settings that make it again (seed, model
    and sizes filled in), the seconds it took, remarks for the user, and, of the same shape, what steered it or was
    edited."""

    frames: np.ndarray
    settings: Settings
    seconds: float
    notes: tuple[str, ...] = ()
    control: np.ndarray | None = None

    @property
    def fps(self) -> int:
        """Playback speed in frames per second."""
        return self.settings.fps  # type: ignore[attr-defined]

    def save(self, path: str | Path) -> Path:
        """Write an ``.mp4`` or ``.gif`` with settings and versions inside; raises ValueError for other suffixes."""
        metadata = {"settings": to_json(self.settings), "versions": json.dumps(versions())}
        return video_io.write_video(Path(path), self.frames, self.fps, metadata)

    def save_control(self, path: str | Path) -> Path | None:
        """Write what steered the video or was edited, where there is such a thing, as ``.mp4`` or ``.gif``."""
        return None if self.control is None else video_io.write_video(Path(path), self.control, self.fps, {})


@dataclass(frozen=True)
class Job:
    """What one call of ``generate`` was given besides its settings."""

    mode: Mode
    source: Source | None
    first_frame: np.ndarray | None
    on_step: OnStep | None
    cancel: threading.Event | None


class Model:
    """Makes videos with any checkpoint of the registry; safe to call from many threads."""

    def __init__(
        self,
        models: Sequence[str] = (),
        device: str | None = None,
        default: str = "auto",
        extras: Extras | None = None,
    ) -> None:
        """Choose among the built-in models, T2V_MODELS and ``models`` (Hub ids, folders, .safetensors files);
        ``default`` is what "auto" means, by itself the best one at hand; ``extras`` are LoRAs, VAEs, embeddings and
        folders of other programs. Raises UserError for what is not there, later for an absent device."""
        self.catalogue = read_catalogue(models, extras)
        self.rows = self.catalogue.models
        self._device_request = device
        self._default_name = default
        self._lock = threading.Lock()
        self._loader: Loader | None = None
        self._default: dict[bool, tuple[builtin_models.ModelRow, str]] = {}
        self._previews: dict[str, np.ndarray] = {}
        self._annotators: Annotators | None = None

    @property
    def loader(self) -> Loader:
        """The loader on the chosen device; the choice imports torch, so it waits until it is needed."""
        if self._loader is None:
            device = choose_device(self._device_request)
            fit_threads()
            self._loader = Loader(device)
        return self._loader

    def default(self, *, edits: bool = False) -> tuple[builtin_models.ModelRow, str]:
        """What "auto" is on this machine, for drawing or for editing, and one line that says why."""
        if edits not in self._default:
            self._default[edits] = self._choose_default(edits)
        return self._default[edits]

    def _choose_default(self, edits: bool) -> tuple[builtin_models.ModelRow, str]:
        if self._default_name != "auto" and not edits:
            named = (row for row in self.rows.values() if self._default_name in (row.name, row.source))
            row = next(named, None)
            if row is None:
                raise ModelUnavailable(f"model: {self._default_name} is not in the list")
            return row, "It was named when this program was started."
        toyworld, real = builtin_models.TOYWORLD, builtin_models.STABLE_DIFFUSION
        if edits:
            toyworld, real = builtin_models.TOYWORLD_EDIT, builtin_models.INSTRUCT_PIX2PIX
        toyworld, real = (self.rows.get(row.name, row) for row in (toyworld, real))
        if not self.loader.device.startswith("cuda"):
            return toyworld, f"There is no CUDA device here; {real.label} would take minutes per video on this machine."
        if cached(real.source) or reachable(real.source):
            return real, "There is a CUDA device, and the weights are in reach."
        return toyworld, f"The weights of {real.label} are neither on this machine nor in reach."

    def row(self, name: str, *, edits: bool = False) -> builtin_models.ModelRow:
        """The registry row of this name, or the default for "auto"; raises ModelUnavailable."""
        if name == "auto":
            return self.default(edits=edits)[0]
        if name not in self.rows or self.rows[name].edits != edits:
            fitting = [row.name for row in self.rows.values() if row.edits == edits]
            raise ModelUnavailable(f"model: must be auto or one of {', '.join(fitting)}")
        return self.rows[name]

    def generate(
        self,
        settings: Settings,
        source: Source | None = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
        first_frame: Source | None = None,
    ) -> Clip:
        """Make a video.

        Args:
            settings: which mode, and everything it needs.
            source: the video that steers or is edited, for modes that take one: a file, or uint8 (frames, height,
                width, 3).
            on_step: told about the progress between chunks and steps, on the calling thread.
            cancel: set it to stop within one step.
            first_frame: what frame 0 is, where the mode can: a picture file, or uint8 (height, width, 3).

        Raises:
            UserError: a child that says what to change.
            Cancelled: after ``cancel``; the model is as it was before.
        """
        if type(settings) not in MODES:
            raise TypeError(f"no mode for {type(settings).__name__}")
        mode = MODES[type(settings)]
        if mode.takes_source and source is None:
            raise InvalidSettings("source: choose a video")
        if source is not None and not mode.takes_source:
            raise InvalidSettings(f"source: {settings.mode} takes no video")
        if first_frame is not None and not mode.takes_first_frame:
            raise InvalidSettings(f"first_frame: {settings.mode} takes no first frame")
        job = Job(mode, source, None if first_frame is None else as_picture(first_frame), on_step, cancel)
        if source is not None:
            check_source(source)
        elif isinstance(settings, MotionSettings):
            frame_prompts(settings, settings.num_frames)  # a mistake in a storyboard is told before anything is loaded
        settings = settings.resolved()
        while not self._lock.acquire(timeout=0.2):
            stop_if(cancel)
        try:
            return self._generate(settings, job)
        finally:
            self._lock.release()

    def load(self, settings: Settings) -> None:
        """Load what a job with these settings needs, so that it begins at once; raises UserError."""
        mode = MODES[type(settings)]
        with self._lock:
            row = self.catalogue.with_adapters(self.row(settings.model, edits=mode.edits), settings)  # type: ignore[attr-defined,arg-type]
            mode.pipeline(self.loader, row, settings)

    def release(self) -> None:
        """Let go of every model; the next job loads its own again."""
        with self._lock:
            self.loader.release()
            if self._annotators is not None:
                self._annotators.release()

    def _generate(self, settings: Any, job: Job) -> Clip:
        import torch

        started = time.monotonic()
        stop_if(job.cancel)
        row = self.catalogue.with_adapters(self.row(settings.model, edits=job.mode.edits), settings)
        pipeline = job.mode.pipeline(self.loader, row, settings)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = build_scheduler(settings.scheduler, pipeline.scheduler.config)
        settings, inputs = self._inputs(settings, job, row, pipeline)
        size = size_px(settings, inputs.video)
        together = pipeline.draws_together or settings.anchors == "all"
        chunk_size = settings.num_frames if together else settings.chunk_size
        plan = plan_job(self.loader, pipeline, size, settings.num_frames, chunk_size)
        notes = [*inputs.notes, *plain_words(row, pipeline.tokenizer)]
        notes += truncation_notes(pipeline.tokenizer, told(settings, row, pipeline.tokenizer), inputs.frame_prompts)
        if plan.frugal:
            notes.append(f"To fit the memory here: {plan}.")
        frames: np.ndarray | None = None
        while frames is None:
            settings = settings.model_copy(update={"chunk_size": plan.chunk_size})
            try:
                with placed(pipeline, plan, self.loader.device):
                    matrix = self.preview_matrix(row, pipeline)
                    reporter = Reporter(job.on_step, job.cancel, started, settings, matrix)
                    frames = run(job.mode, pipeline, told(settings, row, pipeline.tokenizer), inputs, reporter)
                    if getattr(pipeline.vae, "use_tiling", False) and not plan.tile_vae:
                        notes.append("Memory was short; went on decoding pictures in tiles.")
            except torch.OutOfMemoryError:
                if together:
                    raise GenerationFailed("out of memory: all frames are computed at once; make it shorter") from None
                plan = next_plan(plan, self.loader.device, size)
                notes.append(f"Memory was short; went on with {plan}.")
            except FloatingPointError as error:
                raise GenerationFailed(
                    f"{error}: this checkpoint overflows with these settings; try a lower guidance scale, another "
                    "scheduler or its own picture size"
                ) from error
            if frames is None and torch.cuda.is_available():
                torch.cuda.empty_cache()
        return Clip(frames, settings, time.monotonic() - started, tuple(notes), inputs.video)

    def _inputs(self, settings: Any, job: Job, row: builtin_models.ModelRow, pipeline: Any) -> tuple[Any, Inputs]:
        """Complete settings, and everything read and annotated."""
        import torch

        inputs = Inputs()
        if isinstance(settings, SourceSettings) and job.source is not None:
            inputs = read_source(settings, job.source, pipeline.own_side_px())
        video, first_frame = inputs.video, None
        settings = complete(settings, row, pipeline, video)
        if isinstance(settings, ControlSettings) and video is not None:
            self._annotators = self._annotators or Annotators(self.loader.device)
            try:
                video = self._annotators.annotate(settings, video, job.cancel)
            except torch.OutOfMemoryError as error:
                raise GenerationFailed(
                    "out of memory while the control was drawn: take a smaller resolution"
                ) from error
            finally:
                if not self.loader.device.startswith("cpu"):
                    self._annotators.release()
        if job.first_frame is not None:
            if pipeline.draws_together:
                raise InvalidSettings(f"first_frame: {row.label} was trained on videos and begins by itself")
            first_frame = fit_picture(job.first_frame, *size_px(settings, video))
        prompts = frame_prompts(settings, settings.num_frames) if isinstance(settings, MotionSettings) else None
        if prompts is not None:
            prompts = tuple(told_prompt(prompt, row, pipeline.tokenizer) if prompt else "" for prompt in prompts)
        return settings, Inputs(video, first_frame, inputs.notes, prompts)

    def preview_matrix(self, row: builtin_models.ModelRow, pipeline: Any) -> np.ndarray:
        """What turns latents into approximate colours: float32 (channels + 1, 3), fitted once per VAE."""
        source = row.vae or row.source
        if source not in self._previews:
            self._previews[source] = fit_preview(pipeline)
        return self._previews[source]


def run(mode: Mode, pipeline: Any, settings: Any, inputs: Inputs, reporter: Reporter) -> np.ndarray:
    """The pipeline under complete settings: uint8 (frames, height, width, 3)."""
    from pipelines.video import RunOptions

    options = RunOptions(settings.chunk_size, attention_of(settings), watch=reporter)
    return pipeline(**call_arguments(mode, pipeline, settings, inputs), options=options)[0]


def next_plan(plan: MemoryPlan, device: str, size: tuple[int, int]) -> MemoryPlan:
    """The plan for another try after memory ran out; raises GenerationFailed where there is none."""
    tighter_plan = tighter(plan, shared=is_shared(device))
    if tighter_plan is None:
        raise GenerationFailed(
            f"out of memory even for one {size[0]}x{size[1]} frame at a time: make the picture smaller"
        )
    logger.info("out of memory: going on with %s", tighter_plan)
    return tighter_plan
