"""What calls of diffusers' text-to-video pipelines have in common and in what they differ: what they take, how they are
watched, what they give."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from comparison.engine_specs import DiffusersPipeline
from errors import GenerationFailed, InvalidSettings
from generation.progress import OnStep, Progress, stop_if

# What pipelines call their number of frames.
LENGTHS = ("num_frames", "video_length", "frames")


def arguments_of(call: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """What a call takes, by name."""
    return inspect.signature(call).parameters


def required(takes: Mapping[str, inspect.Parameter]) -> set[str]:
    """The arguments without which a call fails."""
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name for name, one in takes.items() if one.default is one.empty and one.kind not in rest}


def length_argument(takes: Mapping[str, Any]) -> str:
    """What a pipeline calls its number of frames."""
    return next(argument for argument in LENGTHS if argument in takes)


def default_of(takes: Mapping[str, Any], argument: str) -> int:
    """A signature's default, 0 where it has none."""
    default = takes[argument].default if argument in takes else None
    return default if isinstance(default, int) else 0


def fitting_length(frames: int, row: DiffusersPipeline, name: str) -> int:
    """The shortest length in frames that the row can draw and that is not below ``frames``; raises InvalidSettings."""
    every, first = row.frames
    fitting = first + max(0, -(-(frames - first) // every)) * every
    if row.longest is not None and fitting > row.longest:
        raise InvalidSettings(f"{name} draws at most {row.longest} frames, not {frames}: ask for fewer")
    return fitting


def as_video(frames: Any, name: str) -> np.ndarray:
    """The first video of whatever a pipeline gave, as uint8 (f, h, w, 3): arrays (b, f, h, w, 3) or (f, h, w, 3) and
    tensors, (b, f, 3, h, w) as well, of numbers from 0 to 1; or pictures, in lists for each video.

    Raises GenerationFailed where it is no video, and where numbers are not finite, which would show as black.
    """
    values = as_array(frames)
    values = values[0] if values.ndim == 5 else values
    if values.ndim == 4 and values.shape[-1] != 3 and values.shape[1] == 3:
        values = values.transpose(0, 2, 3, 1)
    if values.ndim != 4 or values.shape[-1] != 3 or not values.size:
        raise GenerationFailed(f"{name} gave no video, but numbers of shape {values.shape}: leave it out")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if not np.isfinite(values).all():
        raise GenerationFailed(f"{name} drew numbers that are not finite: try another seed or size, or fewer frames")
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def as_array(frames: Any) -> np.ndarray:
    """Arrays, tensors, pictures, and lists of them at any depth, as one array."""
    if isinstance(frames, list | tuple):
        return np.stack([as_array(frame) for frame in frames]) if frames else np.empty(0)
    if hasattr(frames, "detach"):
        return frames.detach().float().cpu().numpy()
    return np.asarray(frames)


class StepReporter:
    """Told by a pipeline after each of its steps; stops it where nobody wants it, and tells how far it is."""

    def __init__(self, on_step: OnStep | None, cancel: threading.Event | None, total: int, frames: int) -> None:
        self.on_step, self.cancel, self.total, self.frames = on_step, cancel, total, frames
        self.steps = 0
        self.began = time.monotonic()

    def arguments(self, takes: Mapping[str, Any]) -> dict[str, Any]:
        """How this pipeline is watched; a pipeline without callbacks cannot be."""
        if "callback_on_step_end" in takes:
            return {"callback_on_step_end": self.after_step}
        return {"callback": lambda *_: self.step_done(), "callback_steps": 1}

    def after_step(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """``callback_on_step_end``: changes nothing. Some schedulers take more steps than they are asked for."""
        self.total = getattr(pipeline, "num_timesteps", None) or self.total
        self.step_done()
        return tensors

    def step_done(self) -> None:
        """Raises Cancelled."""
        stop_if(self.cancel)
        self.steps += 1
        if self.on_step is None:
            return
        total = max(self.total, self.steps)
        seconds = time.monotonic() - self.began
        self.on_step(
            Progress(
                step=self.steps,
                total=total,
                frame=self.frames,
                frames=self.frames,
                fraction=self.steps / total,
                seconds=seconds,
                seconds_left=seconds / self.steps * (total - self.steps),
                preview=None,
            )
        )
