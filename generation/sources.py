"""What a job is made from besides its settings: files read and fitted, controls drawn, open settings filled in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotators.canny import Canny
from annotators.depth import Depth
from annotators.pose import Pose
from director.director import ChatModel, direct
from director.storyboard import load_storyboard, save_storyboard
from errors import InvalidSettings
from generation.progress import stop_if
from media import video_io
from media.pictures import read_picture
from model_manager import builtin_models
from settings import ControlSettings, DirectorSettings, GenerationSettings, MotionSettings, SourceSettings, check_pixels

Source = str | Path | np.ndarray


@dataclass(frozen=True)
class Inputs:
    """What a mode draws from besides its settings: ``video`` uint8 (frames, height, width, 3), the control or the video
    to edit; ``first_frame`` uint8 (height, width, 3); remarks for the user; ``frame_prompts``, one for each frame, as
    the text encoder gets them."""

    video: np.ndarray | None = None
    first_frame: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    frame_prompts: tuple[str, ...] | None = None


def frame_prompts(settings: MotionSettings, frames: int) -> tuple[str, ...] | None:
    """Each frame's own prompt, empty where it is a blend, or None where the prompt serves all; raises UserError."""
    text = settings.storyboard
    if not text.strip():
        if not isinstance(settings, DirectorSettings):
            return None
        text = settings.prompt
    prompts = load_storyboard(text, frames)
    if len(prompts) != frames:
        raise InvalidSettings(f"storyboard: has {len(prompts)} frames, the video {frames}: make them the same number")
    return prompts


def directed(settings: DirectorSettings, chat_model: ChatModel) -> DirectorSettings:
    """The settings with the storyboard that a language model writes; what is written there already is kept."""
    kept = {}
    if settings.storyboard.strip():
        prompts = load_storyboard(settings.storyboard, settings.num_frames)
        kept = {frame: prompt for frame, prompt in enumerate(prompts) if prompt}
    prompts = direct(settings.prompt, settings.num_frames, chat_model, kept)
    return settings.model_copy(update={"storyboard": save_storyboard(prompts)})


# What draws each control, from its settings and a device; what it is made from tells one annotator from another.
ANNOTATORS: Mapping[str, Callable[[ControlSettings, str], tuple[Any, ...]]] = {
    "canny": lambda settings, device: (Canny, settings.canny_low, settings.canny_high),
    "depth": lambda settings, device: (Depth, builtin_models.DEPTH_ESTIMATORS[settings.depth_estimator], device),
    "pose": lambda settings, device: (Pose, *builtin_models.POSE_NETWORKS, device),
}


class Annotators:
    """What turns a video into control frames; the last one is kept with its networks until ``release``."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._last: tuple[tuple[Any, ...], Any] | None = None

    def annotate(self, settings: ControlSettings, frames: np.ndarray, cancel: threading.Event | None) -> np.ndarray:
        """The control frames of a video under complete settings, or the video itself where it already is one."""
        if settings.source_is_control:
            return frames
        made_from = ANNOTATORS[settings.control](settings, self.device)
        if self._last is None or self._last[0] != made_from:
            self.release()
            self._last = made_from, made_from[0](*made_from[1:])
        return self._last[1](frames, lambda _: stop_if(cancel))

    def release(self) -> None:
        """Let go of its networks."""
        if self._last is not None:
            self._last[1].release()
        self._last = None


def complete(settings: Any, row: builtin_models.ModelRow, pipeline: Any, frames: np.ndarray | None) -> Any:
    """Settings with every open value filled in from the checkpoint and the source, all but the chunk size.

    Raises InvalidSettings for more than one job may ask for.
    """
    if frames is None:
        own_width, own_height = row.size_px or (pipeline.own_side_px(),) * 2
        width, height, count = settings.width or own_width, settings.height or own_height, settings.num_frames
        filled = {"width": width, "height": height}
    else:
        count, height, width = frames.shape[:3]
        filled = {"num_frames": count, "resolution": min(width, height)}
    affordable(count, width, height)
    filled["model"] = row.name
    if isinstance(settings, MotionSettings):
        filled["motion_window"] = settings.motion_window or row.motion_window
    if settings.guidance_scale is None:
        follows = isinstance(settings, SourceSettings)
        filled["guidance_scale"] = row.steered_guidance_scale if follows else row.guidance_scale
    if isinstance(settings, DirectorSettings) and settings.anchors is None:
        filled["anchors"] = "first" if settings.anchor_period or settings.match_filter else row.directed_anchors
    if isinstance(settings, ControlSettings) and settings.depth_estimator == "auto":
        filled["depth_estimator"] = row.depth_estimator
    return settings.model_copy(update=filled)


def size_px(settings: Any, video: np.ndarray | None) -> tuple[int, int]:
    """Width and height of the frames, from complete settings or the video that they follow."""
    return (settings.width, settings.height) if video is None else (video.shape[2], video.shape[1])


def affordable(num_frames: int, width: int, height: int) -> None:
    """Raise InvalidSettings for more pixels than one job may ask for."""
    try:
        check_pixels(num_frames, width, height)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None


def check_source(source: Source) -> None:
    """Refuse what is no video, before a checkpoint is loaded for it; raises UserError."""
    if not isinstance(source, np.ndarray):
        video_io.probe(Path(source))
        return
    if source.dtype != np.uint8 or source.ndim != 4 or source.shape[-1] != 3 or 0 in source.shape:
        raise InvalidSettings("source: must be uint8 (frames, height, width, 3)")
    height, width = source.shape[1:3]
    if height % 8 or width % 8 or not 64 <= min(height, width) <= max(height, width) <= video_io.MAX_FITTED_PX:
        raise InvalidSettings(
            f"source: sides must be multiples of 8 from 64 to {video_io.MAX_FITTED_PX}, not {width}x{height}"
        )


def read_source(settings: SourceSettings, source: Source, own_px: int) -> Inputs:
    """The frames of a source that the settings ask for, at the size they ask for.

    An array is taken as it is, at most ``num_frames`` of it; a file is resampled and resized.
    """
    if isinstance(source, np.ndarray):
        return Inputs(np.ascontiguousarray(source[: settings.num_frames]))
    path = Path(source)
    facts = video_io.probe(path)
    shorter = settings.resolution or own_px
    longest = shorter * max(facts.width, facts.height) / min(facts.width, facts.height)
    size = video_io.fit_size(facts.width, facts.height, side=min(round(longest), video_io.MAX_FITTED_PX))
    affordable(settings.num_frames, *size)
    frames = video_io.read_video(
        path, size=size, fps=settings.fps, num_frames=settings.num_frames, start_seconds=settings.source_start
    )
    if len(frames) == settings.num_frames:
        return Inputs(frames)
    return Inputs(frames, notes=(f"The source has {len(frames)} frames from there on, at {settings.fps} a second.",))


def as_picture(picture: Source) -> np.ndarray:
    """The pixels of a picture file, or of an array that is one: uint8 (height, width, 3)."""
    pixels = picture if isinstance(picture, np.ndarray) else read_picture(Path(picture))
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise InvalidSettings("first_frame: must be uint8 (height, width, 3)")
    return pixels


def fit_picture(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture cut to the shape of the video, around its middle, and resized: uint8 (height, width, 3)."""
    import cv2

    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    cut_width, cut_height = max(1, round(width / scale)), max(1, round(height / scale))
    left, top = max(0, pixels.shape[1] - cut_width) // 2, max(0, pixels.shape[0] - cut_height) // 2
    cut = np.ascontiguousarray(pixels[top : top + cut_height, left : left + cut_width])
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def truncation_notes(
    tokenizer: Any, settings: GenerationSettings, frame_prompts: Sequence[str] | None = None
) -> Iterator[str]:
    """A remark for each text that is longer than the checkpoint reads."""
    limit = tokenizer.model_max_length
    shown = [("prompt", settings.prompt)]
    if frame_prompts is not None:
        shown = [(f"prompt of frame {frame}", prompt) for frame, prompt in enumerate(frame_prompts)]
    for label, text in (*shown, ("negative prompt", settings.negative_prompt)):
        count = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if count > limit:
            yield f"The {label} is {count} tokens long; this checkpoint reads the first {limit} and ignores the rest."
