"""Draw a storybook scene, and say exactly what is in the picture.

The truth (masks, boxes, edges, depth) comes from the drawings' own coverage, never from the finished picture.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from media.masks import bounding_box, outlines
from storybook.drawings import load_drawings
from storybook.places import draw_place, place_depth
from storybook.scene import COLOURS, Placed, Scene
from storybook.things import thing_index

SIZE_PX = 256
HUE_REACH = 40.0  # degrees from the main hue that a colour word still paints over
# Degrees of the hue that a colour word means, where it is not that of the largest area.
MAIN_HUES = {"bus": 40, "sailboat": 45, "frog": 150, "cherries": 0, "grapes": 275}
GREY = 0.22  # chroma below which a drawing's main colour counts as grey


@dataclass(frozen=True)
class Truth:
    """One thing in the picture: visible coverage ``mask`` float32 (height, width) in 0..1, ``box`` x0 y0 x1 y1 in
    pixels (exclusive, of all of it, also where nearer things hide it), None outside the picture."""

    thing: Placed
    mask: np.ndarray
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Rendering:
    """A drawn scene: ``image`` uint8 (height, width, 3), ``edges`` uint8 {0, 255} and ``depth`` uint8 (near is bright),
    both (height, width); ``things`` from far to near."""

    image: np.ndarray
    edges: np.ndarray
    depth: np.ndarray
    things: tuple[Truth, ...]


def render(
    scene: Scene, height: int = SIZE_PX, width: int = SIZE_PX, *, drawings: np.ndarray | None = None
) -> Rendering:
    """Draw ``scene`` at the given size in pixels; ``drawings`` replaces the picture sets (things, 2, side, side, 4)."""
    image = draw_place(scene.place, scene.place_seed, scene.variation, height, width)
    depth = place_depth(scene.place, height, width)
    things: list[Truth] = []
    for placed in sorted(scene.things, key=lambda placed: placed.nearness):
        layer, rows, columns = thing_layer(placed, height, width, drawings)
        mask = np.zeros((height, width), np.float32)
        if layer.size:
            part = image[rows, columns]
            cv2.convertScaleAbs(layer[..., :3] + part * (1 - layer[..., 3:] / 255), dst=part)
            image[rows, columns] = part
            mask[rows, columns] = layer[..., 3] / 255
        depth += mask * (90 + 160 * placed.nearness - depth)
        things = [Truth(far.thing, far.mask * (1 - mask), far.box) for far in things]
        things.append(Truth(placed, mask, bounding_box(mask)))
    return Rendering(
        image, outlines((truth.mask for truth in things), height, width), np.rint(depth).astype(np.uint8), tuple(things)
    )


def thing_layer(
    placed: Placed, height: int, width: int, drawings: np.ndarray | None = None
) -> tuple[np.ndarray, slice, slice]:
    """A thing alone: premultiplied RGBA, float32 (rows, columns, 4) in 0..255, and the rows and columns it covers."""
    index = thing_index(placed.name)
    side = min(height, width)
    if drawings is None:
        levels = _levels(index, placed.drawing, placed.colour, MAIN_HUES.get(placed.name))
    else:
        levels = _pyramid(recoloured(drawings[index, placed.drawing], placed.colour, MAIN_HUES.get(placed.name)))
    wanted = max(1.0, placed.size * side)
    source = next((level for level in reversed(levels) if len(level) >= wanted), levels[0])
    turn = math.radians(placed.angle)
    cosine, sine = math.cos(turn) * wanted / len(source), math.sin(turn) * wanted / len(source)
    mirror = -1.0 if placed.mirrored else 1.0
    matrix = np.array([[mirror * cosine, sine, 0.0], [-mirror * sine, cosine, 0.0]])
    centre = np.array([(placed.x - 0.5) * side + width / 2, (placed.y - 0.5) * side + height / 2])
    reach = wanted / 2 * (abs(math.cos(turn)) + abs(math.sin(turn))) + 1
    low = np.clip(np.floor(centre - reach), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(centre + reach), 0, (width, height)).astype(int)
    middle = (len(source) - 1) / 2
    matrix[:, 2] = centre - 0.5 - low - matrix[:, :2] @ np.array([middle, middle])
    columns, rows = slice(low[0], high[0]), slice(low[1], high[1])
    if (high <= low).any():
        return np.zeros((0, 0, 4), np.float32), rows, columns
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    return cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32), rows, columns


def recoloured(drawing: np.ndarray, colour: str | None, main_hue: int | None = None) -> np.ndarray:
    """A premultiplied drawing whose main colour is replaced; shades, outlines, eyes and wheels stay. ``main_hue`` in
    degrees says which colour is the main one where the largest is not."""
    if colour is None:
        return drawing
    alpha = drawing[..., 3:].astype(np.float32) / 255
    plain = drawing[..., :3] / np.maximum(255 * alpha, 1)
    share = _main_colour_share(plain, alpha[..., 0], main_hue)
    value, chroma = _value_and_chroma(plain)
    inside = share * alpha[..., 0] > 0.5
    level = max(0.3, float(np.median(value[inside]))) if inside.any() else 1.0
    strength = float(np.median(chroma[inside])) if inside.any() else 0.0
    target = np.array(COLOURS[colour], np.float32) / 255
    painted = target * (0.35 + 0.65 * value[..., None] / level)
    if strength > GREY:
        pale = np.clip(1 - chroma / strength, 0, 1)[..., None]
        painted = painted + pale * (0.97 * value[..., None] - painted)
    mixed = plain + share[..., None] * (np.clip(painted, 0, 1) - plain)
    result = drawing.copy()
    result[..., :3] = np.rint(255 * mixed * alpha)
    return result


def _value_and_chroma(plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest channel of each pixel, and how far the smallest is below it."""
    red, green, blue = cv2.split(plain)
    value = np.maximum(np.maximum(red, green), blue)
    return value, value - np.minimum(np.minimum(red, green), blue)


def _main_colour_share(plain: np.ndarray, alpha: np.ndarray, main_hue: int | None) -> np.ndarray:
    """Return each pixel's membership in the drawing's main colour, 0..1."""
    value, chroma = _value_and_chroma(plain)
    body = (alpha > 0.9) & (value > 0.25)
    colourful = body & (chroma > GREY)
    if main_hue is None and colourful.sum() <= 0.3 * body.sum():
        return np.clip((GREY - chroma) / (0.3 * GREY), 0, 1) * np.clip((value - 0.2) / 0.15, 0, 1)
    hue = cv2.cvtColor(plain.astype(np.float32), cv2.COLOR_RGB2HSV)[..., 0]
    if main_hue is None:
        counts = np.histogram(hue[colourful], bins=36, range=(0, 360))[0]
        smooth = np.sum([np.roll(counts, shift) for shift in (-2, -1, 0, 1, 2)], axis=0)
        main_hue = 10 * int(smooth.argmax()) + 5
    away = np.abs((hue - main_hue + 180) % 360 - 180)
    return np.clip((HUE_REACH - away) / 10, 0, 1) * np.clip((chroma - 0.5 * GREY) / (0.5 * GREY), 0, 1)


@lru_cache(maxsize=1024)
def _levels(index: int, drawing: int, colour: str | None, main_hue: int | None) -> list[np.ndarray]:
    return _pyramid(recoloured(load_drawings()[index, drawing], colour, main_hue))


def _pyramid(drawing: np.ndarray) -> list[np.ndarray]:
    """The drawing and halves of it, so that shrinking never aliases."""
    levels = [drawing]
    while len(levels[-1]) >= 48:
        half = len(levels[-1]) // 2
        levels.append(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA))
    return levels
