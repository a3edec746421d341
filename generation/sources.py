"""Videos and pictures that a job is given: checked, read and fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from errors import InvalidSettings
from generation.request import Source
from media import video_io
from media.pictures import read_picture
from settings import check_pixels


def check_source_video(source: Source) -> None:
    """Refuse anything but a video, before a checkpoint is loaded for it; raises UserError."""
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


def read_source(
    source: Source, *, fps: int, num_frames: int, start_seconds: float, side_px: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read at most ``num_frames`` frames, uint8 (frames, height, width, 3), and remarks for the user.

    An array is taken as it is. A file is read from ``start_seconds`` on at ``fps`` frames a second, with ``side_px`` as
    the shorter side. Raises UserError.
    """
    if isinstance(source, np.ndarray):
        return np.ascontiguousarray(source[:num_frames]), ()
    path = Path(source)
    facts = video_io.probe(path)
    size = video_io.fit_shorter_side(facts.width, facts.height, side_px)
    check_affordable(num_frames, *size)
    frames = video_io.read_video(path, size=size, fps=fps, num_frames=num_frames, start_seconds=start_seconds)
    if len(frames) == num_frames:
        return frames, ()
    return frames, (f"The source has {len(frames)} frames from there on, at {fps} a second.",)


def check_affordable(num_frames: int, width: int, height: int) -> None:
    """Raise InvalidSettings for more pixels than one job may ask for."""
    try:
        check_pixels(num_frames, width, height)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None


def read_first_frame(picture: Source) -> np.ndarray:
    """Read a picture file, or check an array that is one: uint8 (height, width, 3); raises UserError."""
    pixels = picture if isinstance(picture, np.ndarray) else read_picture(Path(picture))
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise InvalidSettings("first_frame: must be uint8 (height, width, 3)")
    return pixels


def fit_picture(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Cut a picture around its middle to the shape of the video, and resize it: uint8 (height, width, 3)."""
    import cv2

    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    cut_width, cut_height = max(1, round(width / scale)), max(1, round(height / scale))
    left, top = max(0, pixels.shape[1] - cut_width) // 2, max(0, pixels.shape[0] - cut_height) // 2
    cut = np.ascontiguousarray(pixels[top : top + cut_height, left : left + cut_width])
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
