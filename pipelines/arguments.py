"""Checks of what the pipelines are called with; every mistake is a ValueError before anything is computed."""

import math
from collections.abc import Sequence

import numpy as np


def check_one(prompt: str | list[str] | None, num_videos_per_prompt: int = 1) -> None:
    """Raise ValueError for more than one video at a time."""
    if num_videos_per_prompt != 1 or (isinstance(prompt, list) and len(prompt) != 1):
        raise ValueError("one prompt and one video at a time")


def check_video(image: np.ndarray) -> tuple[int, int, int]:
    """Return frames, height and width of a video that a pipeline follows; raises ValueError."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image must be an array, uint8 (frames, height, width, 3), not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image must be uint8 (frames, height, width, 3), not {image.dtype} {image.shape}")
    frames, height, width = image.shape[:3]
    if height % 8 or width % 8:
        raise ValueError(f"sides must be multiples of 8, not {width}x{height}")
    return frames, height, width


def check_finite(**numbers: float | None) -> None:
    """Raise ValueError, with its name, for a number that is none, infinite or not a number; None is left alone."""
    for name, number in numbers.items():
        if number is not None and (isinstance(number, (str, bytes)) or not math.isfinite(number)):
            raise ValueError(f"{name} must be a finite number, not {number!r}")


def check_count(**numbers: int) -> None:
    """Raise ValueError, with its name, for what is no whole number from 1 on."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {number!r}")


def check_frame_prompts(frame_prompts: Sequence[str] | None, frames: int) -> None:
    """Raise ValueError for more or fewer prompts than frames."""
    if frame_prompts is not None and len(frame_prompts) != frames:
        raise ValueError(f"{len(frame_prompts)} frame_prompts for {frames} frames")
