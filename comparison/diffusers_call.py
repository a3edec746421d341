"""Calls of diffusers' text-to-video pipelines: parameters, progress after each step, and frames from any output."""

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

LENGTHS = ("num_frames", "video_length", "frames")  # names of the parameter for the number of frames
Parameters = Mapping[str, inspect.Parameter]


def parameters_of(call: Callable[..., object]) -> Parameters:
    """Return the parameters of a call by name."""
    return inspect.signature(call).parameters


def required(parameters: Parameters) -> set[str]:
    """Return the names of the parameters without which a call fails."""
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name for name, one in parameters.items() if one.default is one.empty and one.kind not in rest}


def length_name(parameters: Parameters) -> str:
    """Return a pipeline's name for its number of frames."""
    return next(name for name in LENGTHS if name in parameters)


def default_number(parameters: Parameters, name: str) -> int:
    """Return the default of a parameter, 0 if it is no whole number."""
    default = parameters[name].default if name in parameters else None
    return default if isinstance(default, int) else 0


def fitting_length(frames: int, pipeline: DiffusersPipeline, name: str) -> int:
    """Return the least number of frames that a pipeline can draw and that is not below ``frames``; raises
    InvalidSettings."""
    every, first = pipeline.frames
    fitting = first + max(0, -(-(frames - first) // every)) * every
    if pipeline.longest is not None and fitting > pipeline.longest:
        raise InvalidSettings(f"{name} draws at most {pipeline.longest} frames, not {frames}: ask for fewer")
    return fitting


def as_video(frames: object, name: str) -> np.ndarray:
    """Return the first video of a pipeline's output as uint8 (f, h, w, 3).

    Args:
        frames: arrays (b, f, h, w, 3) or (f, h, w, 3) or tensors, also (b, f, 3, h, w), of numbers from 0 to 1; or
            pictures, in lists for each video.
        name: the pipeline in messages.

    Raises GenerationFailed for anything else, and for numbers that are not finite, which would show as black.
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


def as_array(frames: object) -> np.ndarray:
    """Return arrays, tensors, pictures, and lists of them at any depth, as one array."""
    if isinstance(frames, list | tuple):
        return np.stack([as_array(frame) for frame in frames]) if frames else np.empty(0)
    if hasattr(frames, "detach"):
        return frames.detach().float().cpu().numpy()
    return np.asarray(frames)


class StepReporter:
    """Callback of a pipeline after each of its steps: stops a cancelled job, and reports progress."""

    def __init__(self, on_step: OnStep | None, cancel: threading.Event | None, *, total: int, frames: int) -> None:
        self.on_step, self.cancel, self.total, self.frames = on_step, cancel, total, frames
        self.steps = 0
        self.began = time.monotonic()

    def arguments(self, parameters: Parameters) -> dict[str, Any]:
        """Return the arguments that register the callback with a pipeline; one without callbacks takes none of them."""
        if "callback_on_step_end" in parameters:
            return {"callback_on_step_end": self.after_step}
        return {"callback": lambda *_: self.step_done(), "callback_steps": 1}

    def after_step(self, pipeline: object, step: int, timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
        """Serve as ``callback_on_step_end``, which changes nothing; some schedulers take more steps than asked for."""
        self.total = getattr(pipeline, "num_timesteps", None) or self.total
        self.step_done()
        return tensors

    def step_done(self) -> None:
        """Count and report a step; raises Cancelled."""
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
