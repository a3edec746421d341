"""A picture being drawn: gradients, polygons, hills, clouds and specks, and the dice that vary them.

Lengths are fractions of the picture, x of its width, y of its height, radii of its shorter side.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from storybook.scene import RGB

SUBPIXEL = 4  # fractional bits of the coordinates given to OpenCV


class Canvas:
    """A picture being drawn, with the dice that vary it."""

    def __init__(self, height: int, width: int, seed: int, variation: float) -> None:
        self.height, self.width = height, width
        self.side = min(height, width)
        self.random = np.random.default_rng(seed)
        self.variation = variation
        self.pixels = np.empty((height, width, 3), np.uint8)

    def vary(self, value: float, spread: float) -> float:
        """``value``, off by up to ``spread`` times the variation."""
        return value + self.variation * spread * float(self.random.uniform(-1, 1))

    def tone(self, colour: RGB, spread: float = 12.0) -> RGB:
        """A colour, a little lighter or darker and warmer or colder."""
        light, warm = self.vary(0, spread), self.vary(0, spread / 2)
        red, green, blue = colour
        return rgb(red + light + warm), rgb(green + light), rgb(blue + light - warm)

    def gradient(self, top: RGB, bottom: RGB, start: float = 0.0, end: float = 1.0) -> None:
        """Fill rows from ``start`` to ``end`` from one colour to another."""
        first, last = round(start * self.height), round(end * self.height)
        ramp = np.linspace(0, 1, max(1, last - first), dtype=np.float32)[:, None, None]
        rows = np.array(top, np.float32) * (1 - ramp) + np.array(bottom, np.float32) * ramp
        self.pixels[first:last] = rows.round().astype(np.uint8)

    def polygon(self, points: Sequence[tuple[float, float]] | np.ndarray, colour: RGB) -> None:
        """Fill a polygon."""
        scaled = np.asarray(points, np.float64) * (self.width, self.height) * 2**SUBPIXEL
        cv2.fillPoly(self.pixels, [np.rint(scaled).astype(np.int32)], colour, cv2.LINE_AA, SUBPIXEL)

    def disc(self, x: float, y: float, radius: float, colour: RGB, flat: float = 1.0) -> None:
        """Fill a circle, or an ellipse whose height is ``flat`` of its width."""
        centre = round(x * self.width * 2**SUBPIXEL), round(y * self.height * 2**SUBPIXEL)
        across = max(1, round(radius * self.side * 2**SUBPIXEL))
        axes = across, max(1, round(across * flat))
        cv2.ellipse(self.pixels, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, SUBPIXEL)

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float, colour: RGB) -> None:
        """Draw a line of some width."""
        (x0, y0), (x1, y1) = start, end
        points = [(round(x * self.width), round(y * self.height)) for x, y in ((x0, y0), (x1, y1))]
        cv2.line(self.pixels, points[0], points[1], colour, max(1, round(width * self.side)), cv2.LINE_AA)

    def box(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        """Fill an upright rectangle."""
        rows = slice(max(0, round(top * self.height)), max(0, round(bottom * self.height)))
        columns = slice(max(0, round(left * self.width)), max(0, round(right * self.width)))
        self.pixels[rows, columns] = colour

    def hills(self, level: float, swing: float, bumps: float, phase: float, colour: RGB) -> None:
        """Fill everything below a wavy line around ``level``."""
        level, swing = self.vary(level, 0.04), self.vary(swing, 0.5 * swing)
        phase, bumps = self.vary(phase, 2.5), self.vary(bumps, 0.3 * bumps)
        across = np.linspace(0, 1, 33)
        line = level - swing * np.sin(2 * np.pi * bumps * across + phase)
        self.polygon(np.concatenate([np.stack([across, line], axis=1), [(1, 1.01), (0, 1.01)]]), colour)

    def cloud(self, x: float, y: float, radius: float, colour: RGB = (250, 252, 255)) -> None:
        """A cloud of four discs on a flat base."""
        x, y, radius = self.vary(x, 0.2), self.vary(y, 0.06), self.vary(radius, 0.35 * radius)
        for right, down, share in ((-1.2, 0.1, 0.62), (-0.35, -0.3, 0.9), (0.6, -0.1, 0.75), (1.3, 0.15, 0.5)):
            self.disc(x + right * radius, y + down * radius, share * radius, colour)
        self.box(x - 1.2 * radius, y + 0.1 * radius, x + 1.3 * radius, y + 0.62 * radius, colour)

    def specks(self, count: int, region: tuple[float, float], radius: float, colours: Sequence[RGB]) -> None:
        """Small discs scattered between two heights; their standard places are fixed."""
        fixed = np.random.default_rng(count)
        for number in range(count):
            x, y, size = fixed.random(3)
            x, y = self.vary(x, 1.0) % 1.0, region[0] + (self.vary(y, 1.0) % 1.0) * (region[1] - region[0])
            self.disc(x, y, radius * (0.6 + 0.8 * size), colours[number % len(colours)])


def rgb(value: float) -> int:
    """A colour value, kept in 0..255."""
    return max(0, min(255, round(value)))
