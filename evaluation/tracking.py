"""Centres of things over time, with direction and speed of their motion."""

from dataclasses import dataclass

import numpy as np

from media.masks import bounding_box
from toyworld.detector import Detection, Found
from toyworld.render import object_layers
from toyworld.scene import Object

STILL, UNKNOWN = "none", "unknown"
STILL_SIDES = 0.03  # over the whole clip, 4 px of 128: what a generated outline wavers by without going anywhere


@dataclass(frozen=True)
class Motion:
    """Steady motion in the picture.

    ``direction`` is left, right, up, down, none or unknown; ``velocity`` x and y and ``speed``, its length, are in
    sides of the picture per frame, NaN where the direction is unknown.
    """

    direction: str
    speed: float
    velocity: tuple[float, float]


def fit_motion(centres: np.ndarray) -> Motion:
    """Fit a steady motion to centres: float (frames, 2), x to the right, y downwards, in sides of the picture.

    They are NaN where nothing was found. The line centre(t) = a + v t by least squares over the frames that have one.
    The direction is that of the larger component of v; none where the line is shorter than 0.03 sides, unknown where
    fewer than two frames have a centre.
    """
    seen = np.isfinite(centres).all(axis=1)
    if seen.sum() < 2:
        return Motion(UNKNOWN, np.nan, (np.nan, np.nan))
    across, down = (float(value) for value in np.polyfit(np.flatnonzero(seen), centres[seen], 1)[0])
    speed = float(np.hypot(across, down))
    direction = STILL
    if speed * (len(centres) - 1) >= STILL_SIDES:
        sideways = abs(across) >= abs(down)
        direction = ("right" if across > 0 else "left") if sideways else ("down" if down > 0 else "up")
    return Motion(direction, speed, (across, down))


def found_centre(found: Found | None) -> np.ndarray:
    """Return the centre of what was found, x and y in the scene's coordinates; NaN of nothing."""
    if found is None:
        return np.full(2, np.nan)
    height, width = found.mask.shape
    return in_sides(np.array([found.x * width, found.y * height]), height, width)


def drawn_centre(thing: Object, height: int, width: int) -> np.ndarray:
    """Return the centre of an object as the detector would find it, in the scene's coordinates.

    It is that of its bounding box, which for a triangle or a heart is not quite its own; NaN outside of the picture.
    """
    box = bounding_box(object_layers(thing, height, width)[0][0][0])
    if box is None:
        return np.full(2, np.nan)
    left, top, right, bottom = box
    return in_sides(np.array([left + right, top + bottom]) / 2, height, width)


def middle_of_everything(detection: Detection) -> np.ndarray:
    """Return the centroid of all that was found, in the scene's coordinates: that of a mannequin of several colours."""
    if not detection.things:
        return np.full(2, np.nan)
    height, width = detection.things[0].mask.shape
    rows, columns = np.nonzero(everything(detection, height, width))
    return in_sides(np.array([columns.mean(), rows.mean()]) + 0.5, height, width)


def everything(detection: Detection, height: int, width: int) -> np.ndarray:
    """Return the mask of everything found in a picture of that size: bool (height, width)."""
    return np.any([np.zeros((height, width), bool), *(thing.mask for thing in detection.things)], axis=0)


def in_sides(point_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """Convert pixels to the scene's coordinates: the shorter side is the unit, the picture's centre is 0.5."""
    return (point_px - np.array([width, height]) / 2) / min(height, width) + 0.5
