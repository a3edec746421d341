"""Measures of a toy-world video against the scenes that it should show; exact up to the detector.

Frames are uint8 (frames, height, width, 3), and there is a scene for each of them: the same one over and over for a
prompt without motion. Attributes are those that the words of a complete caption name and the detector can tell:
background, colour, shape and position of one object; colours, shapes and arrangement of two; shirt and trousers of a
mannequin.
"""

from collections.abc import Sequence
from itertools import permutations

import cv2
import numpy as np

from evaluation.agreement import agreement
from evaluation.metrics import mean, temporal_flicker
from evaluation.tracking import Motion, drawn_centre, everything, fit_motion, found_centre, middle_of_everything
from toyworld.detector import Detection, Found, detect
from toyworld.render import SKIN, render
from toyworld.scene import BLOB, COLOURS, Object, Scene

IDENTITY = ("colour", "shape", "shirt", "trousers")
TEMPLATE_ANGLES = 24  # degrees; the detector tells shapes apart that are turned by no more
NEAR_COLOUR = 40.0  # in RGB: what is farther from every colour is a blend at an edge
NEAR_THING_PX = 2  # around what was found, where its edge blends into the background
Attributes = dict[str, tuple[str | None, ...]]


def measures(frames: np.ndarray, scenes: Sequence[Scene]) -> dict[str, float]:
    """Return every measure of a clip by name; NaN where the detector cannot tell.

    ``things``, ``colours`` and ``places`` (backgrounds) have a precision, a recall and an F1; see ``agreement``.

    A scene without objects has no ``position_error``. The mean over frames of each attribute of ``fidelity`` and of
    ``position_errors``, ``identity_to_first`` and ``identity_to_expected``, ``speed`` (sides per frame) and
    ``direction`` (1 where it is that of the scenes, else 0), ``background_flicker``.
    """
    detections = [detect(frame) for frame in frames]
    values = {name: float(right.mean()) for name, right in fidelity(frames, scenes, detections).items()}
    if scenes[0].objects:
        errors = position_errors(scenes, detections)
        values["position_error"] = mean(errors[np.isfinite(errors)])
    values["identity_to_first"], values["identity_to_expected"] = identity(frames, scenes, detections)
    found, expected = found_motion(scenes, detections), expected_motion(scenes, *frames.shape[1:3])
    values["speed"] = found.speed
    values["direction"] = float(found.direction == expected.direction) if len(frames) > 1 else np.nan
    values["background_flicker"] = background_flicker(frames, detections)
    names = named(scenes)
    words = [
        (words_asked(scene, names), words_seen(scene, *picture))
        for scene, *picture in zip(scenes, frames, detections, strict=True)
    ]
    return values | agreement(words)


def asked(scene: Scene) -> Attributes:
    """Return the attributes that the scene should show, one word for each thing.

    A free-form outline has no shape to ask for, and one turned too far none that the detector can tell.
    """
    if scene.figures:
        figure = scene.figures[0]
        return {"background": (scene.background,), "shirt": (figure.shirt,), "trousers": (figure.trousers,)}
    words: Attributes = {"background": (scene.background,), "colour": tuple(thing.colour for thing in scene.objects)}
    if all(shape_can_be_told(thing) for thing in scene.objects):
        words["shape"] = tuple(thing.shape for thing in scene.objects)
    return words | {"position": (place(scene.objects),)}


def shown(scene: Scene, image: np.ndarray, detection: Detection) -> Attributes:
    """Return the attributes found in a picture made for the scene, under the same names; None for missing things."""
    if scene.figures:
        shirt, trousers = worn(image, detection)
        return {"background": (detection.background,), "shirt": (shirt,), "trousers": (trousers,)}
    found = matched(scene, detection)
    return {
        "background": (detection.background,),
        "colour": tuple(None if thing is None else thing.colour for thing in found),
        "shape": tuple(None if thing is None else thing.shape for thing in found),
        "position": (place([thing for thing in found if thing is not None]) if all(found) else None,),
    }


def words_asked(scene: Scene, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the words that the scene should show by kind (of ``agreement``), of its attributes of these names."""
    words = asked(scene)
    kinds = {"things": ("shape",), "colours": ("colour", "shirt", "trousers"), "places": ("background",)}
    found = {
        kind: [word for name in of for word in words.get(name, ()) if name in names and word is not None]
        for kind, of in kinds.items()
    }
    return {kind: asked_for for kind, asked_for in found.items() if asked_for}


def words_seen(scene: Scene, image: np.ndarray, detection: Detection) -> dict[str, list[str]]:
    """Return the words found in a picture by kind: of everything in it, also of what the scene does not ask for."""
    if scene.figures:
        colours = [colour for colour in worn(image, detection) if colour is not None]
    else:
        colours = [thing.colour for thing in detection.things]
    return {"things": [thing.shape for thing in detection.things], "colours": colours, "places": [detection.background]}


def shape_can_be_told(thing: Object) -> bool:
    """Return True if the detector can tell this object's shape: a named one, and not turned too far."""
    return thing.shape != BLOB and abs(thing.angle) <= TEMPLATE_ANGLES


def place(things: Sequence[Object | Found]) -> str:
    """Return the position word of one thing, or that of the first of two relative to the second."""
    if len(things) == 1:
        return things[0].position
    first, second = things
    across, down = first.x - second.x, first.y - second.y
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def matched(scene: Scene, detection: Detection) -> tuple[Found | None, ...]:
    """Return the found thing of each object of the scene, or None.

    The largest things are assigned so that the most colours and shapes agree, and among equals so that they are
    nearest.
    """
    largest: list[Found | None] = list(detection.things[: len(scene.objects)])
    largest += [None] * (len(scene.objects) - len(largest))

    def agreement(order: tuple[Found | None, ...]) -> tuple[int, float]:
        pairs = [(found, thing) for found, thing in zip(order, scene.objects, strict=True) if found is not None]
        same = sum((found.colour == thing.colour) + (found.shape == thing.shape) for found, thing in pairs)
        return same, -sum(float(np.hypot(found.x - thing.x, found.y - thing.y)) for found, thing in pairs)

    return max(permutations(largest), key=agreement)


def worn(image: np.ndarray, detection: Detection) -> tuple[str | None, str | None]:
    """Return the colours of a mannequin's shirt and trousers, wherever it stands.

    They are the upper and the lower of the two colours that cover the most; one colour alone is both, None stands for
    nothing found.
    """
    if not detection.things:
        return None, None
    rows, columns = np.nonzero(everything(detection, *image.shape[:2]))
    palette = np.array([*COLOURS.values(), SKIN], np.float32)
    off = np.linalg.norm(image[rows, columns].astype(np.float32)[:, None] - palette, axis=2)
    nearest = np.where(off.min(axis=1) < NEAR_COLOUR, off.argmin(axis=1), len(COLOURS))
    counts = np.bincount(nearest, minlength=len(COLOURS))[: len(COLOURS)]
    most = [int(index) for index in np.argsort(-counts)[:2] if counts[index] > 0.05 * len(rows)]
    heights = sorted((float(np.median(rows[nearest == index])), list(COLOURS)[index]) for index in most)
    return (heights[0][1], heights[-1][1]) if heights else (None, None)


def fidelity(frames: np.ndarray, scenes: Sequence[Scene], detections: Sequence[Detection]) -> dict[str, np.ndarray]:
    """Return the fidelity of each frame to its scene by attribute: float (frames,), 1 right, 0 wrong.

    It is 0.5 where one of two things is right. Only attributes that all the scenes name are there.
    """
    seen = [shown(*frame) for frame in zip(scenes, frames, detections, strict=True)]

    def right(index: int, name: str) -> float:
        return float(np.mean([a == b for a, b in zip(asked(scenes[index])[name], seen[index][name], strict=True)]))

    return {name: np.array([right(index, name) for index in range(len(frames))]) for name in named(scenes)}


def named(scenes: Sequence[Scene]) -> list[str]:
    """Return the attributes that every scene names: a shape that turns cannot be told in all frames."""
    return [name for name in asked(scenes[0]) if all(name in asked(scene) for scene in scenes)]


def identity(frames: np.ndarray, scenes: Sequence[Scene], detections: Sequence[Detection]) -> tuple[float, float]:
    """Return the shares of frames with the identity of the first frame, and with the expected identity.

    Identity means colours and shapes, or clothes. The first share leaves the first frame out and is NaN for one frame.
    A frame in which something is missing is not the same as any other.
    """
    names = [name for name in named(scenes) if name in IDENTITY]

    def words(attributes: Attributes) -> list[tuple[str | None, ...]]:
        return [attributes[name] for name in names]

    seen = [words(shown(*frame)) for frame in zip(scenes, frames, detections, strict=True)]
    whole = [all(None not in word for word in picture) for picture in seen]
    as_first = [there and picture == seen[0] for there, picture in zip(whole[1:], seen[1:], strict=True)]
    as_asked = [picture == words(asked(scene)) for picture, scene in zip(seen, scenes, strict=True)]
    return float(np.mean(as_first)) if as_first else np.nan, float(np.mean(as_asked))


def position_errors(scenes: Sequence[Scene], detections: Sequence[Detection]) -> np.ndarray:
    """Return the distance of each frame's objects from their places, in sides of the picture: float (frames,).

    It is the mean of two objects, NaN where one is missing.
    """
    errors = []
    for scene, detection in zip(scenes, detections, strict=True):
        off = [
            float(np.linalg.norm(found_centre(found) - drawn_centre(thing, *found.mask.shape))) if found else np.nan
            for found, thing in zip(matched(scene, detection), scene.objects, strict=True)
        ]
        errors.append(float(np.mean(off)))
    return np.array(errors)


def found_motion(scenes: Sequence[Scene], detections: Sequence[Detection]) -> Motion:
    """Return the motion of the scenes' first object, or of the mannequin, in the video."""
    centres = [
        found_centre(matched(scene, detection)[0]) if scene.objects else middle_of_everything(detection)
        for scene, detection in zip(scenes, detections, strict=True)
    ]
    return fit_motion(np.array(centres))


def expected_motion(scenes: Sequence[Scene], height: int, width: int) -> Motion:
    """Return the motion that the scenes ask for, by the same measure."""
    if not scenes[0].objects:
        return found_motion(scenes, [detect(render(scene, height, width).image) for scene in scenes])
    return fit_motion(np.array([drawn_centre(scene.objects[0], height, width) for scene in scenes]))


def background_flicker(frames: np.ndarray, detections: Sequence[Detection]) -> float:
    """Return the ``temporal_flicker`` of the background; NaN where there is none.

    Left out is what belongs to a thing or lies beside one in either of two consecutive frames. Motion in the background
    (a panning camera) counts.
    """
    beside = np.ones((2 * NEAR_THING_PX + 1,) * 2, np.uint8)
    masks = [
        cv2.dilate(everything(detection, *frames.shape[1:3]).astype(np.uint8), beside) > 0 for detection in detections
    ]
    return temporal_flicker(frames, without=np.stack(masks))
