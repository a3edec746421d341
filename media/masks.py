"""Boxes and outlines of masks, the same for every drawn world."""

from collections.abc import Iterable

import numpy as np


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the box x0, y0, x1, y1 (exclusive) around ``mask`` > 0.5, or None if it is nowhere so."""
    solid = mask > 0.5
    columns, rows = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def outlines(masks: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """Draw one-pixel outlines of masks, (height, width) in 0..1 each: uint8 (height, width), 0 or 255."""
    import cv2

    edges = np.zeros((height, width), np.uint8)
    for mask in masks:
        solid = (mask > 0.5).astype(np.uint8)
        edges |= (solid - cv2.erode(solid, np.ones((3, 3), np.uint8))) * 255
    return edges
