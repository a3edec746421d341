"""Joints of a drawn mannequin, found by drawing one over it (analysis by synthesis); nothing is learned."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from toyworld.detector import distance_from_background
from toyworld.render import KEYPOINTS, SKIN, figure_layers, keypoints
from toyworld.scene import COLOURS, JOINTS, Figure

ROUNDS = ((16.0, 0.03), (8.0, 0.015), (4.0, 0.008), (2.0, 0.004))  # steps of angles in degrees and of lengths
SWEEPS = 3  # of all parameters in each round, at most
NEAR = 0.05  # of the figure's height: as near as a joint must be to count as right


def joints_right(image: np.ndarray, background: str, figure: Figure) -> np.ndarray:
    """Return for each visible joint True if it is within 5 % of the figure's height of its place: bool (joints,).

    ``image`` is uint8 (height, width, 3), generated for this figure before this background.
    """
    height, width = image.shape[:2]
    fitted = fit_figure(image, background, figure)
    wanted, found = (keypoints(thing, height, width) for thing in (figure, fitted))
    reach_px = NEAR * figure.height * min(height, width)
    near = np.linalg.norm(found - wanted, axis=1) <= reach_px
    there = occupied(classes(image, background, figure), drawn_classes(fitted, height, width), found, reach_px)
    return (near & there)[visible(figure, height, width)]


def occupied(seen: np.ndarray, drawn: np.ndarray, places: np.ndarray, reach_px: float) -> np.ndarray:
    """Return for each place (x, y) True if the picture shows most of what is drawn around it: bool (places,).

    The search leaves a limb where it began if the picture has it nowhere near.
    """
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    around = [np.hypot(columns - x, rows - y) <= reach_px for x, y in places]
    return np.array([(seen > 0)[disc & (drawn > 0)].mean() > 0.5 for disc in around])


def visible(figure: Figure, height: int, width: int) -> np.ndarray:
    """Return the keypoints that show in a flat picture: bool (18,); an elbow before the torso has its colour."""
    torso = figure_layers(figure, height, width)[0][1][0] > 0.5
    columns, rows = np.rint(keypoints(figure, height, width)).astype(int).T
    inside = torso[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    arms = np.array(["elbow" in name for name in KEYPOINTS])
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return within & ~(arms & inside)


def fit_figure(image: np.ndarray, background: str, start: Figure) -> Figure:
    """Find the figure whose drawing agrees best with the picture, from ``start``, changing one parameter at a time.

    Pictures are compared as maps of classes: background, trousers, shirt or skin. Another part of the figure
    counts half, since a generated one may have a stain.
    """
    seen = classes(image, background, start)
    height, width = seen.shape

    def score(figure: Figure) -> float:
        drawn = drawn_classes(figure, height, width)
        either = (seen > 0) | (drawn > 0)
        agreement = 0.5 * (seen == drawn) + 0.5 * ((seen > 0) == (drawn > 0))
        return float(agreement[either].mean()) if either.any() else 0.0

    best, best_score = start, score(start)
    for degrees, length in ROUNDS:
        for _ in range(SWEEPS):
            before = best_score
            for change in changes(degrees, length):
                candidate = change(best)
                reached = score(candidate)
                if reached > best_score:
                    best, best_score = candidate, reached
            if best_score - before < 1e-4:
                break
    return best


def changes(degrees: float, length: float) -> Sequence[Callable[[Figure], Figure]]:
    """Return small changes of a figure: each angle, place and height, up and down."""
    lengths = [partial(moved, name=name, by=sign * length) for sign in (1, -1) for name in ("x", "y", "height")]
    return lengths + [
        partial(turned, index=index, by=sign * degrees) for sign in (1, -1) for index in range(len(JOINTS))
    ]


def moved(figure: Figure, name: str, by: float) -> Figure:
    """Return the figure with its place or height changed."""
    return replace(figure, **{name: getattr(figure, name) + by})


def turned(figure: Figure, index: int, by: float) -> Figure:
    """Return the figure with one joint's angle changed by so many degrees."""
    angles = list(figure.angles)
    angles[index] += by
    return replace(figure, angles=tuple(angles))


def classes(image: np.ndarray, background: str, figure: Figure) -> np.ndarray:
    """Classify each pixel: uint8 (height, width), 0 background, 1 trousers, 2 shirt, 3 skin."""
    pixels = image.astype(np.float32)
    palette = np.array([COLOURS[figure.trousers], COLOURS[figure.shirt], SKIN], np.float32)
    off = np.linalg.norm(pixels[:, :, None] - palette, axis=3)
    foreground = (off.min(axis=2) < distance_from_background(pixels, background)).astype(np.uint8)
    foreground = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.where(foreground > 0, off.argmin(axis=2) + 1, 0).astype(np.uint8)


def drawn_classes(figure: Figure, height: int, width: int) -> np.ndarray:
    """Return the same classes of a figure as it would be drawn."""
    legs, torso, sleeves, skin = (coverage > 0.5 for coverage, _ in figure_layers(figure, height, width)[0])
    drawn = np.where(legs, 1, 0).astype(np.uint8)
    drawn[torso | sleeves] = 2
    drawn[skin] = 3
    return drawn
