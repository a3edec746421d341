"""A running job as others see it: stopped when nobody wants it, reported as progress with a cheap preview."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from errors import Cancelled

if TYPE_CHECKING:
    import torch

PREVIEW_FRAMES = 8


@dataclass(frozen=True)
class Progress:
    """Progress of a job, and a first look at it.

    ``step`` of ``total`` denoising steps and ``frame`` of ``frames`` within the step are done; ``fraction`` of all
    predictions of a frame; ``seconds`` since the job began and ``seconds_left`` by the pace so far, None before
    there is one. ``preview`` is uint8 (n, h, w, 3), up to eight frames as small as the latents, or None.
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


@dataclass
class Reporter:
    """A pipeline's ``watch``: stops a cancelled job, and reports progress, with previews where a ``matrix`` of
    ``fit_preview`` is given."""

    on_step: OnStep | None
    cancel: threading.Event | None
    started: float  # the job, by time.monotonic()
    steps: int
    frames: int
    matrix: np.ndarray | None = None
    predicted: int = 0  # frames, over all finished steps; the anchor's first steps are of one frame
    began: float = field(default_factory=time.monotonic)

    def __call__(self, step: int, frames_done: int, latents: torch.Tensor) -> None:
        """The pipeline's ``watch``."""
        stop_if(self.cancel)
        if step < self.steps and frames_done == len(latents):
            self.predicted += frames_done
            step, frames_done = step + 1, 0
        if self.on_step is None or frames_done < 0:
            return
        if step >= self.steps:
            step, frames_done = self.steps, 0
        now, done = time.monotonic(), self.predicted + frames_done
        left = (self.steps - step) * self.frames - frames_done
        self.on_step(
            Progress(
                step=step,
                total=self.steps,
                frame=frames_done,
                frames=self.frames,
                fraction=done / max(1, done + left),
                seconds=now - self.started,
                seconds_left=left * (now - self.began) / done if done else None,
                preview=None if self.matrix is None or frames_done else to_preview(latents, self.matrix),
            )
        )


def stop_if(cancel: threading.Event | None) -> None:
    """Raise Cancelled if the caller has asked to stop."""
    if cancel is not None and cancel.is_set():
        raise Cancelled


def fit_preview(pipeline: Any) -> np.ndarray:
    """Fit a linear map from latents (and a one) to colours in -1..1 on what a pipeline's autoencoder makes of flat
    colours: float32 (channels + 1, 3)."""
    colours = np.stack(np.meshgrid(*[np.array([13, 128, 242], np.uint8)] * 3), axis=-1).reshape(-1, 3)
    pictures = np.broadcast_to(colours[:, None, None], (len(colours), 64, 64, 3))
    latents = pipeline.encode_for_unet(pictures)
    middle = latents.mean(dim=(2, 3)).cpu().numpy()
    inputs = np.concatenate([middle, np.ones((len(middle), 1), np.float32)], axis=1)
    return np.linalg.lstsq(inputs, colours / 127.5 - 1, rcond=None)[0].astype(np.float32)


def to_preview(latents: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
    """Draw small approximate pictures of up to eight frames, evenly chosen: uint8 (n, h, w, 3)."""
    chosen = np.unique(np.linspace(0, len(latents) - 1, PREVIEW_FRAMES).round().astype(int))
    values = latents[chosen].permute(0, 2, 3, 1).float().cpu().numpy()
    colours = values @ matrix[:-1] + matrix[-1]
    return np.clip((colours + 1) * 127.5, 0, 255).astype(np.uint8)
