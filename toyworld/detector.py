"""Find in any picture what the toy world could have drawn there, without learning anything.

The background is the one whose colours fit the border best; what differs from it is segmented by colour, and
its outline compared with the known shapes. Works on renderings (99 % right, a test says so) as on generated
pictures, which is how every claim about fidelity and motion in this project is measured.
"""

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from toyworld.render import CLOUD, CLOUD_OPACITY, filled, gradient, unit_outline
from toyworld.scene import BACKGROUNDS, BLOB, COLOURS, SHAPES, position_word

TEMPLATE_PX = 48
# Below this overlap with the best-matching shape an outline is a free-form one. Set by what drawn blobs reach (of 1200,
# 99 % stay below): many are nearly round or diamond-like, none comes near a star or a triangle.
BLOB_OVERLAP = {"circle": 0.84, "square": 0.84, "triangle": 0.65, "star": 0.65, "heart": 0.87, "diamond": 0.84}
MIN_AREA = 0.008  # of the picture; anything smaller is texture


@dataclass(frozen=True)
class Found:
    """One thing found in a picture.

    Centre (``x``, ``y``) and ``radius`` are fractions of the picture's width and height, ``overlap`` is the
    intersection over union with the ideal outline, ``mask`` is bool (height, width).
    """

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    overlap: float
    mask: np.ndarray

    @property
    def position(self) -> str:
        """Position word for the centre."""
        return position_word(self.x, self.y)


@dataclass(frozen=True)
class Detection:
    """Contents of a picture: the background's name and the things, largest first."""

    background: str
    things: tuple[Found, ...]


def detect(image: np.ndarray) -> Detection:
    """Find background and things in a picture, uint8 (height, width, 3) RGB."""
    height, width = image.shape[:2]
    pixels = image.astype(np.float32)
    background = find_background(pixels)
    distance = distance_from_background(pixels, background)
    foreground = (distance > threshold(background)).astype(np.uint8)
    foreground = cv2.morphologyEx(foreground, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    things: list[Found] = []
    for mask in components(foreground):
        things.extend(describe(piece, pixels) for piece in split_by_colour(mask, pixels))
    things = [thing for thing in things if thing.mask.sum() >= MIN_AREA * height * width]
    return Detection(background, tuple(sorted(things, key=lambda thing: -int(thing.mask.sum()))))


@cache
def background_model(background: str, height: int, width: int) -> np.ndarray:
    """Return the background without texture, float32 (height, width, 3)."""
    return gradient(background, height, width)


def find_background(pixels: np.ndarray) -> str:
    """Return the name of the background whose colours are nearest to the picture's border, by the median distance."""
    height, width = pixels.shape[:2]
    margin = max(2, round(0.06 * min(height, width)))
    border = np.ones((height, width), bool)
    border[margin:-margin, margin:-margin] = False
    observed = pixels[border]
    costs = {
        name: float(np.median(np.linalg.norm(observed - background_model(name, height, width)[border], axis=1)))
        for name in BACKGROUNDS
    }
    return min(costs, key=lambda name: costs[name])


def distance_from_background(pixels: np.ndarray, background: str) -> np.ndarray:
    """Return each pixel's distance from the background in RGB: float32 (height, width).

    The model is first shifted by the median offset of this picture's background from it; in the sky, anything between
    blue and cloud is background.
    """
    height, width = pixels.shape[:2]
    model = background_model(background, height, width)
    difference = pixels - model
    near = np.linalg.norm(difference, axis=2) < 45
    if near.mean() > 0.1:
        difference = difference - np.median(difference[near], axis=0)
    if background == "sky":
        towards_cloud = CLOUD_OPACITY * (np.array(CLOUD, np.float32) - model)
        share = (difference * towards_cloud).sum(axis=2) / np.square(towards_cloud).sum(axis=2)
        difference = difference - share.clip(0, 1)[..., None] * towards_cloud
    return np.linalg.norm(difference, axis=2)


def threshold(background: str) -> float:
    """Return the distance in RGB beyond which a pixel belongs to a thing; larger for textured backgrounds."""
    return {"sky": 48.0, "grass": 46.0, "sand": 36.0, "sea": 42.0, "night": 44.0}.get(background, 26.0)


def components(foreground: np.ndarray) -> list[np.ndarray]:
    """Return the connected regions with their holes filled, bool (height, width) each."""
    contours, _ = cv2.findContours(foreground, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    masks = []
    for contour in contours:
        if cv2.contourArea(contour) < MIN_AREA * foreground.size:
            continue
        mask = np.zeros(foreground.shape, np.uint8)
        cv2.drawContours(mask, [contour], -1, 1, -1)
        masks.append(mask.astype(bool))
    return masks


def nearest_colour(rgb: np.ndarray) -> str:
    """Return the palette colour nearest to an RGB value."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(rgb - np.array(COLOURS[name]))))


def split_by_colour(mask: np.ndarray, pixels: np.ndarray) -> list[np.ndarray]:
    """Return the region, or its parts if two large areas of different palette colours touch."""
    palette = np.array(list(COLOURS.values()), np.float32)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2).astype(bool)
    if inner.sum() < 30:
        return [mask]
    nearest = np.linalg.norm(pixels[inner][:, None] - palette, axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=len(palette)) / len(nearest)
    parts = np.flatnonzero(shares > 0.25)
    if len(parts) < 2:
        return [mask]
    everywhere = np.linalg.norm(pixels[:, :, None] - palette[parts], axis=3).argmin(axis=2)
    pieces = []
    for index in range(len(parts)):
        piece = cv2.morphologyEx((mask & (everywhere == index)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
        pieces += components(piece)
    return pieces or [mask]


def describe(mask: np.ndarray, pixels: np.ndarray) -> Found:
    """Return colour, place and shape of one region."""
    height, width = mask.shape
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2).astype(bool)
    core = inner if inner.any() else mask
    rows, columns = np.nonzero(mask)
    shape, overlap, radius = match_shape(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    # The middle of the bounding box, which is where the renderer's centre is to within a few pixels for every shape.
    return Found(
        shape=shape,
        colour=nearest_colour(np.median(pixels[core], axis=0)),
        x=float((left + right) / 2 / width),
        y=float((top + bottom) / 2 / height),
        radius=radius,
        overlap=overlap,
        mask=mask,
    )


@cache
def templates() -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the ideal outlines, bool (n, TEMPLATE_PX**2), and the shape of each.

    They have equal area, are centred on their centroids, and turned by angles from -24 to 24 degrees.
    """
    masks, names = [], []
    for shape in SHAPES:
        for angle in range(-24, 25, 6):
            turn = math.radians(angle)
            rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
            points = (unit_outline(shape) @ rotation + 1) * 64
            masks.append(normalised(filled([points], 128, 128) > 0.5)[0].ravel())
            names.append(shape)
    return np.stack(masks), tuple(names)


def normalised(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the mask, centred in a small square and scaled to a fixed area, and its radius in pixels.

    The radius is that of the circle of equal area.
    """
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    radius = math.sqrt(area / math.pi)
    scale = 0.28 * TEMPLATE_PX / radius
    centre = np.array([moments["m10"], moments["m01"]]) / area
    offset = np.array([TEMPLATE_PX / 2 - 0.5, TEMPLATE_PX / 2 - 0.5]) - scale * centre
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    size = (TEMPLATE_PX, TEMPLATE_PX)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    moved = cv2.warpAffine(mask.astype(np.float32), matrix, size, flags=interpolation)
    return moved > 0.5, radius


def match_shape(mask: np.ndarray) -> tuple[str, float, float]:
    """Return the best shape, its overlap (intersection over union) and the radius.

    The radius is that of the circle of equal area, as a fraction of the picture's shorter side.
    """
    outline, radius = normalised(mask)
    known, names = templates()
    flat = outline.ravel()
    overlaps = (known & flat).sum(axis=1) / (known | flat).sum(axis=1)
    best = int(overlaps.argmax())
    shape = names[best] if overlaps[best] >= BLOB_OVERLAP[names[best]] else BLOB
    return shape, float(overlaps[best]), radius / min(mask.shape)
