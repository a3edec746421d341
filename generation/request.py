"""A job before, ready and done: the request, the prepared job, the clip."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from generation.progress import OnStep
from generation.prompts import EncoderPrompts
from media import video_io
from model_manager.builtin_models import ModelRow
from model_manager.styles import Style
from settings import GenerationSettings
from settings.parsing import to_json
from utils import versions

Source = str | Path | np.ndarray


@dataclass(frozen=True)
class GenerationRequest:
    """Arguments of one call of ``Model.generate``, which documents them."""

    settings: Any  # of some mode; modes have different fields
    source: Source | None = None
    first_frame: Source | None = None
    on_step: OnStep | None = None
    cancel: threading.Event | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedJob:
    """Everything a pipeline is called with, ready.

    ``settings`` are complete but for the chunk size. ``video``, uint8 (frames, height, width, 3), steers or is edited;
    ``first_frame`` is uint8 (height, width, 3), of the video's size. ``size_px`` is width and height. ``one_batch``
    means that all frames have to be computed at once. ``notes`` are remarks for the user.
    """

    request: GenerationRequest
    row: ModelRow
    pipeline: Any  # of diffusers, with our VideoPipelineMixin
    settings: Any
    prompts: EncoderPrompts
    size_px: tuple[int, int]
    one_batch: bool
    video: np.ndarray | None = None
    first_frame: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """A finished video.

    ``frames`` are uint8 (frames, height, width, 3); ``control``, of the same shape, is what steered it or was edited.
    ``settings`` make it again: seed, model and sizes are filled in. ``notes`` are remarks for the user. ``style`` is
    the one that the settings name, as it was.
    """

    frames: np.ndarray
    settings: GenerationSettings
    seconds: float
    notes: tuple[str, ...] = ()
    control: np.ndarray | None = None
    style: Style | None = None

    @property
    def fps(self) -> int:
        """Playback speed in frames per second."""
        return self.settings.fps

    def save(self, path: str | Path) -> Path:
        """Write an ``.mp4`` or ``.gif`` with settings and versions inside; raises ValueError for other suffixes."""
        metadata = {"settings": to_json(self.settings), "versions": json.dumps(versions())}
        if self.style is not None:
            metadata["style"] = json.dumps(self.style.to_dict())
        return video_io.write_video(Path(path), self.frames, self.fps, metadata)

    def save_control(self, path: str | Path) -> Path | None:
        """Write the control or edited video as ``.mp4`` or ``.gif``; None where there is none."""
        return None if self.control is None else video_io.write_video(Path(path), self.control, self.fps, {})
