"""Fidelity of directed videos to their storyboards, on the toy world: ``python -m evaluation.storyboards``.

Storyboards with a known course (a thing moves, grows, changes its colour or shape, day becomes night) are drawn with
several methods of temporal consistency, so that the value of each part is seen. A frame *follows* if the changing
attribute is that of the nearest moment; it *keeps* if all other attributes (colour, shape, background) are as asked
for. The *jumps* of a thing between frames that leave it in its place are measured in sides of the picture.
"""

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from director.storyboard import storyboard
from media.pictures import write_picture
from model import Model
from pipelines.prompt_blending import blend_prompts
from settings import DirectorSettings, GenerationSettings, TextToVideoSettings
from toyworld.captions import caption
from toyworld.detector import Detection, Found, detect
from toyworld.edits import with_object
from toyworld.render import unit_outline
from toyworld.scene import (
    BLOB,
    COLOURS,
    HELD_OUT_PAIRS,
    PLACES,
    SHAPES,
    SIZES,
    Object,
    Scene,
    clashes,
    random_background,
    random_object,
)

COURSES = ("position", "size", "colour", "shape", "background")
IDENTITY = ("colour", "shape", "background")
FRAMES, STEPS = 8, 20
SIDES = {"left": (0.25, 0.5), "right": (0.75, 0.5), "top": (0.5, 0.25), "bottom": (0.5, 0.75)}
OPPOSITES = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}

STILL: dict[str, Any] = {"motion_field": False}
FIRST: dict[str, Any] = {"anchors": "first"}
# What holds the frames together: the settings class and what it is given besides the storyboard.
WAYS: Mapping[str, tuple[type[GenerationSettings], Mapping[str, Any]]] = {
    "independent frames": (TextToVideoSettings, STILL | {"cross_frame_attention": False}),
    "cross-frame attention": (TextToVideoSettings, STILL),
    "motion window 881-941": (
        TextToVideoSettings,
        {"motion_window": (881, 941), "motion_field_strength_x": 0.0, "motion_field_strength_y": 0.0},
    ),
    "shared noise": (DirectorSettings, {"anchors": "itself"}),
    "shared noise, cross-frame attention": (DirectorSettings, FIRST),
    "the same, rotating every 4 steps": (DirectorSettings, FIRST | {"anchor_period": 4}),
    "the same, filtering 5 %": (DirectorSettings, FIRST | {"match_filter": 0.05}),
    "the same, rotating and filtering 5 % (DirecT2V)": (
        DirectorSettings,
        FIRST | {"anchor_period": 4, "match_filter": 0.05},
    ),
    "the same, filtering 50 %": (DirectorSettings, FIRST | {"match_filter": 0.5}),
    "shared noise, previous frame": (DirectorSettings, {"anchors": "previous"}),
    "shared noise, first and previous frame": (DirectorSettings, {"anchors": "first + previous"}),
    "shared noise, all frames": (DirectorSettings, {"anchors": "all"}),
}


@dataclass(frozen=True)
class Board:
    """A storyboard of moments, the attribute (of COURSES) that changes, and the scene of each moment."""

    text: str
    course: str
    moments: tuple[Scene, ...]

    def scenes(self, frames: int) -> tuple[Scene, ...]:
        """Return the scene that each frame should show: that of the nearest moment."""
        prompts = storyboard(self.text, frames)
        order = [frame for frame, prompt in enumerate(prompts) if prompt]
        nearest = [place.before if place.share < 0.5 else place.after for place in blend_prompts(prompts)]
        return tuple(self.moments[order.index(frame)] for frame in nearest)


def boards(count: int, seed: int = 41) -> list[Board]:
    """Return so many random storyboards, of each course the same number."""
    return [board_of(COURSES[index % len(COURSES)], np.random.default_rng([seed, index])) for index in range(count)]


def board_of(course: str, random: np.random.Generator) -> Board:
    """Draw a random storyboard of one course."""
    background = random_background(random)
    thing = random_object(random, background)
    while thing.shape == BLOB:  # its size cannot be told
        thing = random_object(random, background)
    moments = tuple(changed(course, Scene(background, (thing,)), random))
    texts = [caption(moment, np.random.default_rng(0), complete=True) for moment in moments]
    return Board(" -> ".join(texts), course, moments)


def changed(course: str, scene: Scene, random: np.random.Generator) -> Iterable[Scene]:
    """Return the moments of a course that begins like the scene."""
    thing = replace(scene.objects[0], x=0.5, y=0.5, angle=0.0)
    if course == "position":
        side = str(random.choice(list(SIDES)))
        places = (SIDES[side], (0.5, 0.5), SIDES[OPPOSITES[side]])
        radius = min(thing.radius, SIZES["medium"][0])
        return [with_object(scene, replace(thing, x=x, y=y, radius=radius)) for x, y in places]
    if course == "size":
        radii = [float(np.mean(SIZES[size])) for size in ("small", "large")]
        return [with_object(scene, replace(thing, radius=radius)) for radius in radii]
    if course == "background":
        days = [place for place in PLACES if not clashes(thing.colour, place) and place != "night"]
        day = str(random.choice(days))
        return [replace(with_object(scene, thing), background=background) for background in (day, "night")]
    recoloured = [replace(thing, colour=colour) for colour in COLOURS]
    reshaped = [replace(thing, shape=shape) for shape in SHAPES]
    fitting = [one for one in (recoloured if course == "colour" else reshaped) if fits(one, scene.background)]
    old, new = random.choice(len(fitting), 2, replace=False)
    return [with_object(scene, fitting[index]) for index in (old, new)]


def fits(thing: Object, background: str) -> bool:
    """Return True if the thing can be seen there, and training showed its colour and shape together."""
    return not clashes(thing.colour, background) and (thing.colour, thing.shape) not in HELD_OUT_PAIRS


def followed(board: Board, frames: np.ndarray) -> dict[str, list[float]]:
    """Return ``follows``, ``keeps`` and ``jumps`` (see the module) of each frame, uint8 (frames, height, width, 3).

    There are no ``jumps`` where the course moves the thing.
    """
    detections = [detect(frame) for frame in frames]
    values: dict[str, list[float]] = {"follows": [], "keeps": []}
    for scene, detection in zip(board.scenes(len(frames)), detections, strict=True):
        wanted, found = attributes(scene), attributes_of(detection)
        values["follows"].append(found[board.course] == wanted[board.course])
        values["keeps"].append(all(found[name] == wanted[name] for name in IDENTITY if name != board.course))
    if board.course != "position":
        centres = [(each.things[0].x, each.things[0].y) for each in detections if each.things]
        values["jumps"] = [float(np.hypot(*step)) for step in np.diff(np.array(centres), axis=0)]
    return values


def attributes(scene: Scene) -> dict[str, str]:
    """Return the attributes of a scene, by course."""
    thing = scene.objects[0]
    return {name: getattr(thing, name) for name in COURSES[:-1]} | {"background": scene.background}


def attributes_of(detection: Detection) -> dict[str, str | None]:
    """Return the attributes of what was found, under the same names."""
    if not detection.things:
        return dict.fromkeys(COURSES[:-1]) | {"background": detection.background}
    largest = detection.things[0]
    size = Object(largest.shape, largest.colour, largest.x, largest.y, drawn_radius(largest)).size
    found = {name: getattr(largest, name) for name in ("position", "colour", "shape")}
    return found | {"size": size, "background": detection.background}


def drawn_radius(found: Found) -> float:
    """Return the radius that an object of this shape was drawn with; found is that of the circle of equal area."""
    outline = unit_outline(found.shape if found.shape != BLOB else "circle").astype(np.float32)
    return found.radius / math.sqrt(cv2.contourArea(outline) / math.pi)


def measure(
    model: Model, way: str, chosen: Iterable[Board], changes: Mapping[str, Any]
) -> tuple[dict[str, float], np.ndarray]:
    """Generate and measure storyboards one way; ``changes`` are settings other than the way's.

    Returns the shares of frames that follow (over all, and by course) and that keep, and the clips: uint8 (boards,
    frames, height, width, 3).
    """
    kind, options = WAYS[way]
    values: dict[str, list[float]] = defaultdict(list)
    clips = []
    for seed, board in enumerate(chosen):
        settings = kind(  # type: ignore[call-arg] # both classes have these
            prompt="as the storyboard says",
            storyboard=board.text,
            model="toyworld",
            seed=seed,
            num_frames=FRAMES,
            **{**options, **changes},
        )
        clips.append(model.generate(settings).frames)
        found = followed(board, clips[-1])
        for name, each in found.items():
            values[name] += each
        values[f"follows {board.course}"] += found["follows"]
    return {name: float(np.mean(each)) for name, each in values.items()}, np.stack(clips)


def main() -> None:
    """Measure the ways that the command line names, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbered = "; ".join(f"{number} {way}" for number, way in enumerate(WAYS))
    parser.add_argument("ways", nargs="*", help=f"numbers of: {numbered.replace('%', '%%')}")
    parser.add_argument("--boards", type=int, default=50, help="how many storyboards")
    parser.add_argument("--steps", type=int, default=STEPS, help="denoising steps")
    parser.add_argument("--sheets", type=Path, help="a folder for strips of the first clips, to be looked at")
    options = parser.parse_args()
    model = Model(device="cpu")
    chosen = boards(options.boards)
    for number, way in enumerate(WAYS):
        if options.ways and str(number) not in options.ways:
            continue
        shares, clips = measure(model, way, chosen, {"num_inference_steps": options.steps})
        print(json.dumps({"way": way, "boards": len(chosen), "steps": options.steps} | shares), flush=True)
        if options.sheets is not None:
            rows = [np.concatenate(list(clip), axis=1) for clip in clips[:20]]
            write_picture(options.sheets / f"{number}.jpg", np.concatenate(rows))


if __name__ == "__main__":
    main()
