"""The places, drawn procedurally in a flat style: uint8 RGB pictures, and depth.

Every place has a standard layout; ``variation`` says how far its hills, clouds and trees may be from it.
"""

from collections.abc import Callable

import cv2
import numpy as np

from storybook.canvas import Canvas, rgb
from storybook.scene import COLOURS, PLAIN, RGB
from storybook.scenery import building, conifer, leaf, peak, seaweed, waves, window

PALE: tuple[RGB, RGB] = ((206, 226, 240), (240, 238, 228))
GROUND = {"meadow", "jungle", "forest", "desert", "beach", "sea", "snow", "mountains", "city", "room"}
HORIZON = 0.5


def draw_place(place: str, seed: int, variation: float, height: int, width: int) -> np.ndarray:
    """A place of the storybook, uint8 (height, width, 3); the same seed and variation give the same picture."""
    canvas = Canvas(height, width, seed, variation)
    if place == PLAIN:
        canvas.gradient(*PALE)
    elif place.startswith(f"{PLAIN} "):
        canvas.pixels[:] = plain_colour(place)
    else:
        PAINTERS[place](canvas)
    return canvas.pixels


def plain_colour(place: str) -> RGB:
    """The colour of a plain coloured background: softer than a thing of that colour."""
    red, green, blue = COLOURS[place.removeprefix(f"{PLAIN} ")]
    return round(0.7 * red + 45), round(0.7 * green + 45), round(0.7 * blue + 45)


def place_depth(place: str, height: int, width: int) -> np.ndarray:
    """Depth of a place, float32 (height, width), near is bright: ground comes nearer below the horizon."""
    if place not in GROUND:
        return np.full((height, width), 10, np.float32)
    down = (np.arange(height, dtype=np.float32) + 0.5) / height
    ramp = 10 + 90 * np.clip((down - HORIZON) / (1 - HORIZON), 0, 1)
    return np.broadcast_to(ramp[:, None], (height, width)).copy()


def _meadow(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((150, 205, 240)), canvas.tone((214, 236, 246)), 0, 0.62)
    canvas.cloud(0.2, 0.16, 0.07)
    canvas.cloud(0.78, 0.22, 0.06)
    canvas.hills(0.5, 0.05, 1.0, 0.4, canvas.tone((170, 208, 122)))
    canvas.hills(0.56, 0.04, 0.8, 2.6, canvas.tone((140, 190, 95)))
    canvas.hills(0.66, 0.015, 0.7, 0.5, canvas.tone((118, 174, 80)))
    canvas.specks(16, (0.74, 1.0), 0.010, ((255, 250, 235), (250, 215, 90), (240, 140, 170)))


def _jungle(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((120, 170, 110)), canvas.tone((176, 208, 130)), 0, 0.75)
    for x, width in ((0.12, 0.07), (0.33, 0.04), (0.67, 0.045), (0.9, 0.08)):
        x = canvas.vary(x, 0.06)
        canvas.polygon([(x, 0), (x + width, 0), (x + 1.3 * width, 0.8), (x - 0.3 * width, 0.8)], (104, 112, 70))
    canvas.hills(0.62, 0.02, 2.0, 0.3, canvas.tone((88, 138, 72)))
    canvas.hills(0.72, 0.02, 1.3, 1.3, canvas.tone((70, 116, 60)))
    for x in (0.22, 0.5, 0.8):
        x = canvas.vary(x, 0.09)
        canvas.line((x, 0), (canvas.vary(x, 0.03), canvas.vary(0.26, 0.1)), 0.012, (62, 108, 56))
    for x, y, turn, length in (
        *((0.0, 0.0, 0.7, 0.42), (0.0, 0.12, 0.15, 0.34), (0.0, 0.0, 1.3, 0.3), (1.0, 0.0, 2.4, 0.42)),
        *((1.0, 0.14, 2.95, 0.34), (1.0, 0.0, 1.85, 0.3), (0.35, -0.03, 1.2, 0.2), (0.66, -0.03, 1.9, 0.2)),
        *((0.0, 1.0, -0.9, 0.32), (0.0, 1.0, -0.35, 0.3), (1.0, 1.0, -2.25, 0.32), (1.0, 1.0, -2.8, 0.3)),
    ):
        leaf(canvas, (x, y), canvas.vary(turn, 0.3), canvas.vary(length, 0.08), canvas.tone((46, 112, 54), 16))


def _forest(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((206, 224, 216)), canvas.tone((226, 236, 220)), 0, 0.7)
    for count, level, size, colour in ((9, 0.56, 0.30, (160, 192, 176)), (7, 0.63, 0.46, (112, 156, 132))):
        tint = canvas.tone(colour)
        for number in range(count):
            x = canvas.vary((number + 0.5) / count, 0.06)
            conifer(canvas, x, level + 0.02, canvas.vary(size, 0.1), tint)
    canvas.hills(0.62, 0.012, 1.2, 0.3, canvas.tone((150, 170, 112)))
    canvas.hills(0.74, 0.015, 0.8, 2.0, canvas.tone((124, 146, 90)))
    for x in (0.03, 0.97):
        x = canvas.vary(x, 0.03)
        canvas.box(x - 0.03, 0, x + 0.03, canvas.vary(0.84, 0.03), canvas.tone((112, 84, 62)))
    canvas.specks(12, (0.78, 1.0), 0.012, ((108, 128, 76), (160, 130, 84)))


def _desert(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((250, 214, 160)), canvas.tone((252, 234, 200)), 0, 0.62)
    mesa = canvas.tone((214, 146, 104))
    for left, right, top in ((0.06, 0.26, 0.36), (0.7, 0.86, 0.41)):
        left, right, top = canvas.vary(left, 0.06), canvas.vary(right, 0.06), canvas.vary(top, 0.05)
        canvas.polygon([(left, top), (right, top), (right + 0.05, 0.62), (left - 0.05, 0.62)], mesa)
    canvas.hills(0.52, 0.03, 1.0, 2.2, canvas.tone((236, 194, 132)))
    canvas.hills(0.6, 0.05, 0.7, 0.2, canvas.tone((228, 178, 112)))
    canvas.hills(0.74, 0.04, 0.6, 3.4, canvas.tone((218, 164, 96)))
    canvas.specks(10, (0.8, 1.0), 0.008, ((198, 144, 84), (240, 200, 140)))


def _beach(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((140, 206, 244)), canvas.tone((206, 236, 248)), 0, 0.42)
    canvas.cloud(0.24, 0.15, 0.06)
    canvas.cloud(0.8, 0.2, 0.05)
    shore = canvas.vary(0.6, 0.02)
    canvas.gradient(canvas.tone((58, 158, 200)), canvas.tone((96, 200, 214)), canvas.vary(0.4, 0.02), 0.72)
    canvas.hills(shore, 0.012, 1.6, 0.2, (246, 250, 250))
    canvas.hills(shore + 0.025, 0.014, 1.4, 0.5, canvas.tone((238, 216, 164)))
    canvas.hills(0.8, 0.03, 0.7, 3.0, canvas.tone((230, 204, 146)))
    canvas.specks(14, (0.8, 1.0), 0.008, ((250, 236, 204), (214, 180, 124), (240, 170, 150)))


def _sea(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((158, 212, 242)), canvas.tone((216, 238, 248)), 0, 0.5)
    canvas.cloud(0.22, 0.14, 0.07)
    canvas.cloud(0.8, 0.24, 0.05)
    canvas.gradient(canvas.tone((64, 140, 196)), canvas.tone((34, 98, 160)), canvas.vary(0.42, 0.03), 1)
    for number, (level, colour) in enumerate(
        ((0.5, (58, 134, 192)), (0.6, (48, 122, 182)), (0.71, (40, 110, 170)), (0.83, (32, 98, 158)))
    ):
        waves(canvas, canvas.vary(level, 0.02), 5 - number * 0.5, number * 0.37, canvas.tone(colour, 6))


def _under_water(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((96, 196, 216)), canvas.tone((24, 96, 150)))
    plain = canvas.pixels.copy()
    for x, breadth in ((0.2, 0.10), (0.48, 0.07), (0.75, 0.12)):
        x = canvas.vary(x, 0.1)
        canvas.polygon([(x, 0), (x + breadth, 0), (x + 2 * breadth - 0.1, 0.85), (x - 0.12, 0.85)], (190, 236, 240))
    canvas.pixels = cv2.addWeighted(plain, 0.82, canvas.pixels, 0.18, 0)
    canvas.hills(0.86, 0.025, 1.0, 0.4, canvas.tone((206, 190, 142)))
    for x, height in ((0.05, 0.34), (0.12, 0.24), (0.9, 0.3), (0.96, 0.2), (0.84, 0.16)):
        seaweed(canvas, canvas.vary(x, 0.03), canvas.vary(height, 0.08), canvas.tone((40, 140, 100), 20))
    for number in range(9):
        x, y = (0.16, 0.8)[number % 2], 0.1 + 0.075 * number
        canvas.disc(canvas.vary(x, 0.12), canvas.vary(y, 0.06), 0.008 + 0.003 * (number % 4), (200, 240, 246))


def _snow(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((176, 202, 226), 8), canvas.tone((214, 228, 240), 8), 0, 0.65)
    for number, x in enumerate((0.06, 0.17, 0.86, 0.95)):
        x, size = canvas.vary(x, 0.04), canvas.vary((0.34, 0.22)[number % 2], 0.05)
        conifer(canvas, x, 0.6, size, (112, 150, 150))
        canvas.polygon(
            [(x, 0.6 - size), (x + 0.06 * size, 0.6 - 0.8 * size), (x - 0.06 * size, 0.6 - 0.8 * size)], (240, 246, 250)
        )
    canvas.hills(0.55, 0.035, 0.9, 0.6, canvas.tone((226, 236, 245), 6))
    canvas.hills(0.66, 0.03, 0.7, 2.8, canvas.tone((236, 243, 249), 6))
    canvas.hills(0.8, 0.02, 0.6, 0.4, canvas.tone((222, 232, 243), 6))
    canvas.specks(26, (0.0, 0.75), 0.008, ((252, 253, 255),))


def _mountains(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((170, 208, 236)), canvas.tone((226, 236, 244)), 0, 0.62)
    canvas.cloud(0.5, 0.1, 0.05)
    for x, top, breadth, colour in (
        *((0.5, 0.26, 0.34, (156, 168, 192)), (0.16, 0.16, 0.36, (128, 142, 170)), (0.85, 0.2, 0.36, (118, 134, 164))),
    ):
        peak(canvas, canvas.vary(x, 0.1), canvas.vary(top, 0.07), canvas.vary(breadth, 0.06), canvas.tone(colour))
    canvas.hills(0.6, 0.02, 1.1, 0.6, canvas.tone((128, 164, 112)))
    canvas.hills(0.7, 0.025, 0.7, 2.4, canvas.tone((110, 150, 96)))
    canvas.specks(9, (0.8, 1.0), 0.014, ((150, 154, 158), (128, 132, 138)))


def _sky(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((92, 170, 236)), canvas.tone((190, 226, 250)))
    for x, y, radius in (
        (0.16, 0.14, 0.08),
        (0.82, 0.2, 0.07),
        (0.14, 0.74, 0.07),
        (0.8, 0.86, 0.1),
        (0.42, 0.93, 0.06),
    ):
        canvas.cloud(x, y, radius, canvas.tone((246, 250, 255), 5))


def _night(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((18, 26, 72)), canvas.tone((66, 72, 138)))
    canvas.specks(40, (0.0, 0.72), 0.006, ((255, 250, 220), (226, 232, 255)))
    canvas.hills(0.78, 0.035, 1.0, 0.5, canvas.tone((38, 46, 92), 8))
    canvas.hills(0.87, 0.03, 0.8, 2.7, canvas.tone((26, 34, 68), 8))


def _space(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((22, 14, 42), 8), canvas.tone((44, 22, 74), 8))
    dark = canvas.pixels.copy()
    canvas.disc(canvas.vary(0.7, 0.2), canvas.vary(0.62, 0.2), 0.34, (150, 60, 160), 0.6)
    canvas.disc(canvas.vary(0.25, 0.15), canvas.vary(0.35, 0.2), 0.26, (50, 90, 190), 0.7)
    glow = cv2.resize(canvas.pixels, (canvas.width // 16, canvas.height // 16), interpolation=cv2.INTER_AREA)
    glow = cv2.resize(cv2.GaussianBlur(glow, (5, 5), 0), (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    canvas.pixels = cv2.addWeighted(dark, 0.6, glow, 0.4, 0)
    canvas.specks(60, (0.0, 1.0), 0.005, ((255, 255, 255), (255, 230, 190), (190, 210, 255)))
    x, y = canvas.vary(0.15, 0.06), canvas.vary(0.82, 0.06)
    canvas.disc(x, y, 0.11, canvas.tone((226, 150, 96), 20))
    canvas.disc(x, y + 0.012, 0.17, (236, 206, 160), 0.16)
    canvas.disc(x, y - 0.012, 0.10, canvas.tone((226, 150, 96), 4), 0.45)
    canvas.disc(canvas.vary(0.88, 0.05), canvas.vary(0.14, 0.05), 0.06, canvas.tone((120, 170, 190), 20))


def _city(canvas: Canvas) -> None:
    canvas.gradient(canvas.tone((182, 210, 232)), canvas.tone((232, 232, 226)), 0, 0.7)
    heights = (0.2, 0.3, 0.14, 0.34, 0.42, 0.26, 0.16, 0.3)
    colours = ((170, 182, 200), (196, 168, 152), (150, 164, 186), (206, 192, 164))
    for number, top in enumerate(heights):
        left = number / len(heights)
        building(canvas, left, left + 1 / len(heights), canvas.vary(top, 0.12), canvas.tone(colours[number % 4]))
    canvas.box(0, 0.68, 1, 0.76, canvas.tone((196, 194, 190)))
    canvas.box(0, 0.75, 1, 1, canvas.tone((104, 108, 118)))
    shift = canvas.vary(0.0, 0.1)
    for number in range(-1, 5):
        left = number / 4 + 0.06 + shift
        canvas.box(left, 0.875, left + 0.13, 0.895, (236, 232, 214))


def _room(canvas: Canvas) -> None:
    wall = canvas.tone((238, 220, 196))
    canvas.pixels[:] = wall
    stripe = (rgb(wall[0] - 8), rgb(wall[1] - 9), rgb(wall[2] - 10))
    for number in range(10):
        canvas.box(number / 10, 0, number / 10 + 0.05, 0.7, stripe)
    window(canvas, canvas.vary(0.14, 0.04), canvas.vary(0.16, 0.04))
    x, y = canvas.vary(0.72, 0.05), canvas.vary(0.14, 0.04)
    canvas.box(x, y, x + 0.18, y + 0.15, (150, 104, 70))
    canvas.box(x + 0.018, y + 0.018, x + 0.162, y + 0.132, canvas.tone((160, 196, 186), 25))
    floor = canvas.tone((190, 142, 98))
    canvas.box(0, 0.68, 1, 0.71, (246, 238, 226))
    canvas.box(0, 0.7, 1, 1, floor)
    for number in range(1, 4):
        canvas.box(
            0,
            0.7 + 0.075 * number,
            1,
            0.706 + 0.075 * number,
            (rgb(floor[0] - 22), rgb(floor[1] - 20), rgb(floor[2] - 18)),
        )
    canvas.disc(0.5, 0.86, canvas.vary(0.36, 0.03), canvas.tone((206, 110, 104), 20), 0.25)
    canvas.disc(0.5, 0.86, 0.30, canvas.tone((226, 150, 132), 12), 0.25)


PAINTERS: dict[str, Callable[[Canvas], None]] = {
    "meadow": _meadow,
    "jungle": _jungle,
    "forest": _forest,
    "desert": _desert,
    "beach": _beach,
    "sea": _sea,
    "under water": _under_water,
    "snow": _snow,
    "mountains": _mountains,
    "sky": _sky,
    "night": _night,
    "space": _space,
    "city": _city,
    "room": _room,
}
