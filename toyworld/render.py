"""Draw a toy-world scene, together with the exact truth of the picture.

Everything is drawn at four times the size and averaged down, so outlines are smooth at any resolution.
The truth (masks, edges, depth, skeleton) comes from the same masks, never from the finished picture.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from media.masks import bounding_box, outlines
from toyworld.scene import COLOURS, JOINTS, PLAIN_COLOURS, RGB, SKIN, Figure, Object, Scene

SUPERSAMPLING = 4
CLOUD: RGB = (225, 238, 248)
CLOUD_OPACITY = 0.4
# The OpenPose order of 18 (COCO).
KEYPOINTS = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)

# Proportions of the mannequin in heights: bone lengths and limb thickness.
HEAD_RADIUS, NECK, TORSO, SHOULDER, HIP = 0.085, 0.05, 0.30, 0.10, 0.065
UPPER_ARM, FOREARM, THIGH, SHIN = 0.17, 0.16, 0.24, 0.23
ARM_WIDTH, LEG_WIDTH, TORSO_WIDTH = 0.075, 0.095, 0.17


@dataclass(frozen=True)
class Truth:
    """Truth of one thing in the picture.

    Coverage ``mask`` is float32 (height, width) in 0..1, ``box`` is x0 y0 x1 y1 in pixels, ``keypoints`` are (18, 2)
    x and y in pixels for a mannequin, else None.
    """

    thing: Object | Figure
    mask: np.ndarray
    box: tuple[int, int, int, int] | None
    keypoints: np.ndarray | None


@dataclass(frozen=True)
class Rendering:
    """A drawn scene with its truth.

    ``image`` is uint8 (height, width, 3), ``edges`` uint8 {0, 255} and ``depth`` uint8 (near is bright), both
    (height, width); ``things`` go from far to near, their masks without the parts that nearer things hide.
    """

    image: np.ndarray
    edges: np.ndarray
    depth: np.ndarray
    things: tuple[Truth, ...]


def render(scene: Scene, height: int = 128, width: int = 128) -> Rendering:
    """Draw ``scene`` at the given size in pixels; lengths scale with the shorter side around the centre."""
    image = draw_background(scene.background, scene.texture_seed, height, width).astype(np.float32)
    depth = background_depth(scene.background, height, width)
    things: list[Truth] = []
    everything: list[Object | Figure] = [*scene.objects, *scene.figures]
    for thing in sorted(everything, key=lambda thing: thing.nearness):
        if isinstance(thing, Object):
            layers, keypoints = object_layers(thing, height, width)
        else:
            layers, keypoints = figure_layers(thing, height, width)
        mask = np.zeros((height, width), np.float32)
        for coverage, colour in layers:
            image += coverage[..., None] * (np.array(colour, np.float32) - image)
            mask = np.maximum(mask, coverage)
        depth += mask * (90 + 160 * thing.nearness - depth)
        things = [Truth(far.thing, far.mask * (1 - mask), far.box, far.keypoints) for far in things]
        things.append(Truth(thing, mask, bounding_box(mask), keypoints))
    return Rendering(
        image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        edges=outlines((truth.mask for truth in things), height, width),
        depth=np.clip(np.rint(depth), 0, 255).astype(np.uint8),
        things=tuple(things),
    )


# --- backgrounds -----------------------------------------------------------------------------------------------


def base_colours(background: str) -> tuple[RGB, RGB]:
    """Return the colours of a background at the top and at the bottom of the picture."""
    if background.startswith("plain "):
        colour = PLAIN_COLOURS[background.removeprefix("plain ")]
        return colour, colour
    return {
        "sky": ((105, 175, 235), (165, 212, 245)),
        "grass": ((105, 150, 60), (85, 130, 45)),
        "sand": ((230, 202, 150), (215, 182, 125)),
        "sea": ((25, 125, 160), (15, 95, 135)),
        "night": ((20, 22, 70), (38, 34, 100)),
    }[background]


def gradient(background: str, height: int, width: int) -> np.ndarray:
    """Draw the background without its texture: float32 (height, width, 3)."""
    top, bottom = (np.array(colour, np.float32) for colour in base_colours(background))
    ramp = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None, None]
    return np.broadcast_to(top + ramp * (bottom - top), (height, width, 3)).copy()


def draw_background(background: str, seed: int, height: int, width: int) -> np.ndarray:
    """Draw a background with its texture, uint8 (height, width, 3); the same seed gives the same texture."""
    random = np.random.default_rng(seed)
    side = min(height, width)
    canvas = gradient(background, height, width)
    if background == "sky":
        cloud = np.zeros((height, width), np.float32)
        for x, y, radius in random.uniform((0, 0, 0.05), (1, 1, 0.12), (5, 3)):
            for shift in (-1.1, 0.0, 1.1):
                centre = (round((x + shift * radius) * width), round((y + 0.2 * abs(shift) * radius) * height))
                cv2.ellipse(cloud, centre, (round(radius * side), round(0.6 * radius * side)), 0, 0, 360, 1.0, -1)
        cloud = cv2.GaussianBlur(cloud, (0, 0), 0.02 * side)[..., None]
        canvas += CLOUD_OPACITY * cloud * (np.array(CLOUD, np.float32) - canvas)
    elif background in ("grass", "sea", "sand"):
        strokes = np.zeros((height, width), np.float32)
        count = {"grass": 150, "sea": 45, "sand": 120}[background]
        for x, y, length, strength in random.uniform((0, 0, 0.5, -1), (1, 1, 1, 1), (count, 4)):
            start = np.array([x * width, y * height])
            reach = {"grass": (0.01, -0.05), "sea": (0.10, 0.0), "sand": (0.006, 0.006)}[background]
            end = start + np.array(reach) * length * side
            thickness = max(1, round(0.012 * side))
            cv2.line(strokes, start.round().astype(int), end.round().astype(int), strength, thickness, cv2.LINE_AA)
        canvas += strokes[..., None] * {"grass": 22.0, "sea": 16.0, "sand": 14.0}[background]
    elif background == "night":
        for x, y, strength in random.uniform((0, 0, 0.5), (1, 1, 1), (28, 3)):
            centre = (round(x * width), round(y * height))
            colour = tuple(float(strength * value) for value in (235, 235, 210))
            cv2.circle(canvas, centre, max(1, round(0.007 * side)), colour, -1, cv2.LINE_AA)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def background_depth(background: str, height: int, width: int) -> np.ndarray:
    """Return the background's depth, float32 (height, width): a far wall, or ground that comes nearer downwards."""
    if background in ("grass", "sand", "sea"):
        ramp = (np.arange(height, dtype=np.float32) + 0.5) / height
        return np.broadcast_to((10 + 70 * ramp)[:, None], (height, width)).copy()
    return np.full((height, width), 10, np.float32)


# --- objects ---------------------------------------------------------------------------------------------------


def unit_outline(shape: str, outline: tuple[float, ...] = ()) -> np.ndarray:
    """Return the outline of a shape in the unit circle: float64 (points, 2), x to the right and y downwards."""
    if outline:
        angles = np.linspace(0, 2 * math.pi, len(outline), endpoint=False)
        dense = np.linspace(0, 2 * math.pi, 120, endpoint=False)
        radii = np.interp(dense, angles, outline, period=2 * math.pi)
        return radii[:, None] * np.stack([np.cos(dense), np.sin(dense)], axis=1)
    turn = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    if shape == "circle":
        return 0.92 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
        return np.stack([x, y - 2.5], axis=1) / 16.5
    if shape == "star":
        corners = -math.pi / 2 + np.arange(10) * math.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
        return radii[:, None] * np.stack([np.cos(corners), np.sin(corners)], axis=1)
    return np.array(
        {
            "square": [(-0.76, -0.76), (0.76, -0.76), (0.76, 0.76), (-0.76, 0.76)],
            "triangle": [(0, -0.95), (0.95, 0.75), (-0.95, 0.75)],
            "diamond": [(0, -1), (0.66, 0), (0, 1), (-0.66, 0)],
        }[shape],
        dtype=np.float64,
    )


def filled(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Fill polygons given in pixels: coverage float32 (height, width) in 0..1, antialiased."""
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    for polygon in polygons:
        points = np.rint((polygon * SUPERSAMPLING - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [points], 255, cv2.LINE_8, 4)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def to_pixels(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Convert scene coordinates to pixels; the picture's shorter side is the unit, its centre stays the centre."""
    return (points - 0.5) * min(height, width) + np.array([width, height]) / 2


def object_layers(thing: Object, height: int, width: int) -> tuple[list[tuple[np.ndarray, RGB]], np.ndarray | None]:
    """Return an object's one layer, coverage and colour, and None for its keypoints."""
    angle = -math.radians(thing.angle)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = unit_outline(thing.shape, thing.outline) @ rotation * thing.radius + np.array([thing.x, thing.y])
    return [(filled([to_pixels(points, height, width)], height, width), COLOURS[thing.colour])], None


def joints(figure: Figure) -> dict[str, np.ndarray]:
    """Return the 18 keypoints of a mannequin by name, in scene coordinates."""
    angle = {joint: math.radians(value) for joint, value in zip(JOINTS, figure.angles, strict=True)}

    def along(direction: float, length: float) -> np.ndarray:
        return figure.height * length * np.array([math.sin(direction), math.cos(direction)])

    hips = np.array([figure.x, figure.y])
    up = along(angle["torso"] + math.pi, 1.0)
    side = np.array([-up[1], up[0]])  # towards the person's left, picture right
    neck = hips + TORSO * up
    joint = {"neck": neck, "nose": neck + (NECK + HEAD_RADIUS) * up}
    for name, sign in (("right", -1), ("left", 1)):
        shoulder = neck + sign * SHOULDER * side - 0.01 * up
        elbow = shoulder + along(angle[f"{name}_upper_arm"], UPPER_ARM)
        hip = hips + sign * HIP * side
        knee = hip + along(angle[f"{name}_thigh"], THIGH)
        joint |= {
            f"{name}_shoulder": shoulder,
            f"{name}_elbow": elbow,
            f"{name}_wrist": elbow + along(angle[f"{name}_forearm"], FOREARM),
            f"{name}_hip": hip,
            f"{name}_knee": knee,
            f"{name}_ankle": knee + along(angle[f"{name}_shin"], SHIN),
            f"{name}_eye": joint["nose"] + sign * 0.03 * side + 0.025 * up,
            f"{name}_ear": joint["nose"] + sign * 0.075 * side + 0.015 * up,
        }
    return joint


def keypoints(figure: Figure, height: int, width: int) -> np.ndarray:
    """Return a mannequin's 18 keypoints in the order of KEYPOINTS: float (18, 2), x and y in pixels."""
    named = joints(figure)
    return np.stack([to_pixels(named[name], height, width) for name in KEYPOINTS])


def capsule(start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    """Return the outline of a thick line with round ends: (points, 2)."""
    direction = math.atan2(*(end - start)[::-1])
    arc = np.linspace(-math.pi / 2, math.pi / 2, 9)
    caps = [
        centre + width / 2 * np.stack([np.cos(direction + turn + arc), np.sin(direction + turn + arc)], axis=1)
        for centre, turn in ((end, 0.0), (start, math.pi))
    ]
    return np.concatenate(caps)


def figure_layers(figure: Figure, height: int, width: int) -> tuple[list[tuple[np.ndarray, RGB]], np.ndarray | None]:
    """Return a mannequin's layers, coverage and colour from back to front, and its keypoints in pixels (18, 2)."""
    joint = {name: to_pixels(point, height, width) for name, point in joints(figure).items()}
    size = figure.height * min(height, width)
    shirt, trousers = COLOURS[figure.shirt], COLOURS[figure.trousers]
    hips = (joint["right_hip"] + joint["left_hip"]) / 2

    def limbs(*bones: tuple[str, str, float]) -> np.ndarray:
        return filled([capsule(joint[a], joint[b], breadth * size) for a, b, breadth in bones], height, width)

    def disc(centre: np.ndarray, radius: float) -> np.ndarray:
        return centre + radius * unit_outline("circle") / 0.92

    legs = limbs(
        *((f"{side}_hip", f"{side}_knee", LEG_WIDTH) for side in ("right", "left")),
        *((f"{side}_knee", f"{side}_ankle", 0.85 * LEG_WIDTH) for side in ("right", "left")),
    )
    torso = filled([capsule(joint["neck"] + 0.2 * (hips - joint["neck"]), hips, TORSO_WIDTH * size)], height, width)
    skin = filled(
        [
            disc(joint["nose"], HEAD_RADIUS * size),
            capsule(joint["nose"], joint["neck"], 0.06 * size),
            *(disc(joint[f"{side}_wrist"], 0.042 * size) for side in ("right", "left")),
        ],
        height,
        width,
    )
    sleeves = limbs(
        ("right_shoulder", "left_shoulder", 0.8 * ARM_WIDTH),
        *((f"{side}_shoulder", f"{side}_elbow", ARM_WIDTH) for side in ("right", "left")),
        *((f"{side}_elbow", f"{side}_wrist", 0.85 * ARM_WIDTH) for side in ("right", "left")),
    )
    layers = [(legs, trousers), (torso, shirt), (sleeves, shirt), (skin, SKIN)]
    return layers, np.stack([joint[name] for name in KEYPOINTS])
