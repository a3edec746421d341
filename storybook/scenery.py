"""Scenery that places are made of: leaves, firs, waves, seaweed, peaks, buildings, windows."""

import numpy as np

from storybook.canvas import Canvas, rgb
from storybook.scene import RGB


def leaf(canvas: Canvas, root: tuple[float, float], turn: float, length: float, colour: RGB) -> None:
    """A long leaf from its root in a direction in radians."""
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    shares = np.linspace(0, 1, 9)
    breadth = 0.16 * length * np.sin(np.pi * shares**0.8)
    spine = np.array(root) + length * shares[:, None] * along
    edge = breadth[:, None] * across
    canvas.polygon(np.concatenate([spine + edge, (spine - edge)[::-1]]), colour)
    dark = (rgb(colour[0] * 0.75), rgb(colour[1] * 0.78), rgb(colour[2] * 0.75))
    canvas.line(tuple(spine[0]), tuple(spine[-2]), 0.006, dark)


def conifer(canvas: Canvas, x: float, foot: float, size: float, colour: RGB) -> None:
    """A fir's outline of three triangles."""
    for top, bottom, breadth in ((0.0, 0.45, 0.13), (0.22, 0.72, 0.18), (0.48, 1.0, 0.23)):
        high, low = foot - size * (1 - top), foot - size * (1 - bottom)
        canvas.polygon([(x, high), (x + breadth * size, low), (x - breadth * size, low)], colour)


def waves(canvas: Canvas, level: float, count: float, shift: float, colour: RGB) -> None:
    """A row of scalloped waves with a light crest, down to the bottom."""
    shift = canvas.vary(shift, 0.5)
    across = np.linspace(0, 1, 81)
    line = level + 0.022 * np.abs(np.sin(np.pi * (count * across + shift)))
    for lift, tint in ((0.0, tuple(rgb(value + 46) for value in colour)), (0.009, colour)):
        points = np.concatenate([np.stack([across, line + lift], axis=1), [(1, 1.01), (0, 1.01)]])
        canvas.polygon(points, (tint[0], tint[1], tint[2]))


def seaweed(canvas: Canvas, x: float, height: float, colour: RGB) -> None:
    """A wavy ribbon that grows from the sea floor."""
    shares = np.linspace(0, 1, 17)
    middle = x + 0.018 * np.sin(9 * shares + 40 * x)
    breadth = 0.018 * (1 - 0.7 * shares)
    down = 0.96 - height * shares
    right, left = np.stack([middle + breadth, down], axis=1), np.stack([middle - breadth, down], axis=1)
    canvas.polygon(np.concatenate([right, left[::-1]]), colour)


def peak(canvas: Canvas, x: float, top: float, breadth: float, colour: RGB) -> None:
    """A mountain with a shaded side and a cap of snow."""
    foot = 0.66
    canvas.polygon([(x, top), (x + breadth, foot), (x - breadth, foot)], colour)
    dark = (rgb(colour[0] - 22), rgb(colour[1] - 22), rgb(colour[2] - 20))
    canvas.polygon([(x, top), (x + breadth, foot), (x + 0.1 * breadth, foot)], dark)
    cap = 0.32
    low = top + cap * (foot - top)
    points = [(x, top), (x + cap * breadth, low), (x + 0.15 * breadth, low - 0.03), (x, low + 0.015)]
    canvas.polygon([*points, (x - 0.14 * breadth, low - 0.03), (x - cap * breadth, low)], (246, 249, 252))


def building(canvas: Canvas, left: float, right: float, top: float, colour: RGB) -> None:
    """A block with rows of windows."""
    canvas.box(left, top, right, 0.7, colour)
    pane = (rgb(colour[0] + 44), rgb(colour[1] + 44), rgb(colour[2] + 30))
    breadth = right - left
    down = top + 0.03
    while down < 0.62:
        for share in (0.16, 0.58):
            canvas.box(left + share * breadth, down, left + (share + 0.24) * breadth, down + 0.035, pane)
        down += 0.065


def window(canvas: Canvas, x: float, y: float) -> None:
    """A window with four panes and curtains."""
    canvas.box(x - 0.015, y - 0.015, x + 0.215, y + 0.265, (250, 248, 244))
    canvas.box(x, y, x + 0.2, y + 0.25, (166, 214, 242))
    canvas.box(x + 0.094, y, x + 0.106, y + 0.25, (250, 248, 244))
    canvas.box(x, y + 0.119, x + 0.2, y + 0.131, (250, 248, 244))
    for left, right in ((x - 0.04, x + 0.02), (x + 0.18, x + 0.24)):
        canvas.box(left, y - 0.03, right, y + 0.3, (214, 120, 110))
