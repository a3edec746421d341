"""A running job as others see it: stopped when nobody wants it, reported as progress with a cheap preview."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from errors import Cancelled

if TYPE_CHECKING:
    import torch

PREVIEW_FRAMES = 8
SAMPLE_PX = 64  # side of the pictures that a preview is fitted on
REMEMBERED_CALLS = 5
FIXED_SHARE = 0.3  # of a call's time that its number of frames does not change, before two numbers have been seen


@dataclass(frozen=True)
class Progress:
    """Progress of a job, and a first look at it.

    ``step`` of ``total`` denoising steps and ``frame`` of ``frames`` within the step are done; after the last step
    frames are decoded. ``fraction`` of the whole time; ``seconds`` since the job began and ``seconds_left`` by the pace
    of calls, None before the first. ``preview`` is the picture predicted so far, uint8 (n, h, w, 3), up to eight frames
    as small as the latents, or None.
    """

    step: int
    total: int
    frame: int
    frames: int
    fraction: float
    seconds: float
    seconds_left: float | None
    preview: np.ndarray | None


OnStep = Callable[[Progress], None]


class Pace:
    """Seconds that a network's calls take by their number of frames, and those of decoding a frame; learnt from job to
    job of the same model, mode and picture size."""

    def __init__(self) -> None:
        self.calls: dict[int, deque[float]] = {}
        self.decoding: deque[float] = deque(maxlen=REMEMBERED_CALLS)

    def add_call(self, frames: int, seconds: float) -> None:
        """Learn from a call with so many frames."""
        self.calls.setdefault(frames, deque(maxlen=REMEMBERED_CALLS)).append(seconds)

    def call(self, frames: int) -> float:
        """Return the seconds of a call with so many frames: the median of such calls, or what a line through those of
        other numbers says; 0 before the first call."""
        if frames in self.calls:
            return statistics.median(self.calls[frames])
        known = {count: statistics.median(seconds) for count, seconds in self.calls.items()}
        if not known:
            return 0.0
        if len(known) == 1:
            ((count, seconds),) = known.items()
            return seconds * (FIXED_SHARE + (1 - FIXED_SHARE) * frames / count)
        slope, start = np.polyfit(list(known), list(known.values()), 1)
        return float(max(min(known.values()) * min(1.0, frames / min(known)), start + slope * frames))

    def decode(self, frames: int) -> float:
        """Return the seconds of decoding so many frames; before the first, as many calls with one."""
        each = statistics.median(self.decoding) if self.decoding else self.call(1)
        return frames * each


@dataclass
class Reporter:
    """A pipeline's ``watch``: stops a cancelled job, and reports progress, with previews where a ``matrix`` of
    ``fit_preview`` is given, and with the time left by the ``pace`` of calls."""

    on_step: OnStep | None
    cancel: threading.Event | None
    started: float  # the job, by time.monotonic()
    steps: int
    frames: int
    matrix: np.ndarray | None = None
    pace: Pace = field(default_factory=Pace)
    chunk: int = 0  # frames of the largest call so far
    fraction: float = 0.0
    preview: np.ndarray | None = None  # the newest, which every report has, since not every one is looked at
    before: tuple[int, int] = (0, 0)  # step and frames done within it, at ``looked``
    looked: float = field(default_factory=time.monotonic)

    def __call__(self, step: int, frames_done: int, latents: torch.Tensor) -> None:
        """The pipeline's ``watch``."""
        stop_if(self.cancel)
        self._learn(step, frames_done)
        if self.on_step is None or frames_done < 0:
            return
        if step < self.steps and frames_done == len(latents):
            step, frames_done = step + 1, 0
            self.preview = None if self.matrix is None else to_preview(latents, self.matrix)
        self._report(self.on_step, step, frames_done)

    def end(self) -> None:
        """Report that all is done."""
        if self.on_step is not None:
            now = time.monotonic() - self.started
            self.on_step(Progress(self.steps, self.steps, self.frames, self.frames, 1.0, now, 0.0, self.preview))

    def _learn(self, step: int, frames_done: int) -> None:
        """Take the time since the last look for the pace, if a call or a decoded frame lies between."""
        now, (step_before, done_before) = time.monotonic(), self.before
        count = frames_done - done_before
        if step == step_before and count > 0:
            if step == self.steps:
                self.pace.decoding.append((now - self.looked) / count)
            else:
                self.pace.add_call(count, now - self.looked)
                self.chunk = max(self.chunk, count)
        # A step that is not the one before begins with what is told first: nothing done, or the anchor ahead.
        self.before, self.looked = (step, max(0, frames_done)), now

    def _report(self, on_step: OnStep, step: int, frames_done: int) -> None:
        now = time.monotonic()
        left = self._seconds_left(step, frames_done) if self.pace.calls else None
        seconds = now - self.started
        if left is not None:
            self.fraction = max(self.fraction, min(seconds / max(seconds + left, 1e-9), 0.999))
        on_step(
            Progress(
                step=step,
                total=self.steps,
                frame=frames_done,
                frames=self.frames,
                fraction=self.fraction,
                seconds=seconds,
                seconds_left=left,
                preview=self.preview,
            )
        )

    def _seconds_left(self, step: int, frames_done: int) -> float:
        """Return the seconds that the rest takes: of this step, of those after it, and of decoding."""
        if step >= self.steps:
            return self.pace.decode(self.frames - frames_done)
        steps = self._seconds_of(self.frames) * (self.steps - step - 1) + self._seconds_of(self.frames - frames_done)
        return steps + self.pace.decode(self.frames)

    def _seconds_of(self, frames: int) -> float:
        """Return the seconds of so many frames in one step; while only the anchor has been drawn, as in one call."""
        chunk = self.chunk if self.chunk > 1 else self.frames
        whole, rest = divmod(frames, chunk)
        return whole * self.pace.call(chunk) + (self.pace.call(rest) if rest else 0.0)


def stop_if(cancel: threading.Event | None) -> None:
    """Raise Cancelled if the caller has asked to stop."""
    if cancel is not None and cancel.is_set():
        raise Cancelled


def fit_preview(pipeline: Any) -> np.ndarray:
    """Fit a linear map from latents (and a one) to colours in -1..1 on what a pipeline's autoencoder makes of flat
    colours and of random patches and gradients: float32 (channels + 1, 3)."""
    pictures = np.concatenate([flat_colours(), random_patches()])
    latents = pipeline.encode_for_unet(pictures).permute(0, 2, 3, 1).float().cpu().numpy()
    count, height, width, channels = latents.shape
    cells = pictures.reshape(count, height, SAMPLE_PX // height, width, SAMPLE_PX // width, 3).mean(axis=(2, 4))
    inputs = np.concatenate([latents.reshape(-1, channels), np.ones((count * height * width, 1), np.float32)], axis=1)
    return np.linalg.lstsq(inputs, cells.reshape(-1, 3) / 127.5 - 1, rcond=None)[0].astype(np.float32)


def flat_colours() -> np.ndarray:
    """Return pictures of one colour each, uint8 (27, SAMPLE_PX, SAMPLE_PX, 3)."""
    colours = np.stack(np.meshgrid(*[np.array([13, 128, 242], np.uint8)] * 3), axis=-1).reshape(-1, 1, 1, 3)
    return np.broadcast_to(colours, (len(colours), SAMPLE_PX, SAMPLE_PX, 3))


def random_patches() -> np.ndarray:
    """Return pictures of random colours in squares or blended, some of them grained, always the same ones: uint8 (24,
    SAMPLE_PX, SAMPLE_PX, 3)."""
    chance, pictures = np.random.default_rng(0), []
    for number in range(24):
        cells = (2, 4, 8, 16)[number % 4]
        small = Image.fromarray(chance.integers(0, 256, (cells, cells, 3)).astype(np.uint8))
        blend = Image.Resampling.BICUBIC if number % 8 < 4 else Image.Resampling.NEAREST
        grain = chance.normal(0, (0, 10, 20)[number % 3], (SAMPLE_PX, SAMPLE_PX, 1))
        pictures.append(np.asarray(small.resize((SAMPLE_PX, SAMPLE_PX), blend)) + grain)
    return np.clip(np.stack(pictures), 0, 255).astype(np.uint8)


def to_preview(latents: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
    """Draw small approximate pictures of up to eight frames, evenly chosen: uint8 (n, h, w, 3)."""
    chosen = np.unique(np.linspace(0, len(latents) - 1, PREVIEW_FRAMES).round().astype(int))
    values = latents[chosen].permute(0, 2, 3, 1).float().cpu().numpy()
    colours = values @ matrix[:-1] + matrix[-1]
    return np.clip((colours + 1) * 127.5, 0, 255).astype(np.uint8)
