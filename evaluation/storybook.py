"""Fidelity of a storybook checkpoint to its captions: ``python -m evaluation.storybook``.

Captions that training never saw are drawn with the page's default settings, and the yardstick, a small network that has
seen renderings alone, says what the pictures show. Shares: ``thing`` (all things asked for, no other kind), ``place``,
``both``, ``count``, ``position``, ``size`` and ``colour`` where they are named, ``unseen`` (both, of pairs of thing and
place that training never shows together); and precision, recall and F1 of things, colours and places. Of clips:
``right`` (the thing moves as far as the motion field says, within a fifth), ``still`` (without motion it stays within
3 % of the side), ``same`` (frames with the first frame's thing).
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from evaluation.agreement import agreement
from evaluation.sheets import contact_sheet
from evaluation.storybook_yardstick import Reading, read
from media.pictures import write_picture
from model import Model
from model_manager.builtin_models import ModelRow
from pipelines.motion import UNITS_PER_SIDE
from settings import TextToVideoSettings
from storybook.captions import caption
from storybook.render import thing_layer
from storybook.scene import (
    COLOURS,
    MIDDLE,
    POSITIONS,
    STAGES,
    Placed,
    Scene,
    Variety,
    held_out_pair,
    random_scene,
    takes_colour,
)

HELD_OUT_SEED = 5150
VARIETY = replace(STAGES[1], plain=0.0, plain_colour=0.0, place_variation=0.5)
STRENGTH = 12.0  # 512ths of the width per frame, the page's own
FRAMES = 8
NEAR, STILL = 0.2, 0.03
SEARCH = 0.3  # sides that a thing may be away from where it was
# What one caption in ten asks for besides a thing and a place.
KINDS = ("unseen", "position", "size", "colour", "count", "pair", *("plain",) * 4)


@dataclass(frozen=True)
class Case:
    """A scene that a picture should show, its caption, and what is special about it (of KINDS)."""

    scene: Scene
    prompt: str
    kind: str


def held_out(count: int = 200, *, things: int = VARIETY.things) -> list[Case]:
    """Return cases that training never saw, of the first so many things, in the plainest words."""
    return [_case(number, replace(VARIETY, things=things)) for number in range(count)]


def _case(number: int, variety: Variety) -> Case:
    kind = KINDS[number % len(KINDS)]
    random = np.random.default_rng([HELD_OUT_SEED, number])
    scene = random_scene(random, variety, held_out=kind == "unseen")
    while kind == "colour" and not takes_colour(scene.things[0].name):
        scene = random_scene(random, variety)
    scene = _CHANGES.get(kind, _unchanged)(scene, random, variety)
    return Case(scene, caption(scene, random, complete=True), kind)


def _unchanged(scene: Scene, random: np.random.Generator, variety: Variety) -> Scene:
    return scene


def _elsewhere(scene: Scene, random: np.random.Generator, variety: Variety) -> Scene:
    (thing,) = scene.things
    position = str(random.choice([name for name in POSITIONS if name != "centre"]))
    x, y = {"left": (0.29, 0.52), "right": (0.71, 0.52), "top": (0.5, 0.29), "bottom": (0.5, 0.71)}[position]
    return replace(scene, things=(replace(thing, x=x, y=y),))


def _resized(scene: Scene, random: np.random.Generator, variety: Variety) -> Scene:
    return replace(scene, things=(replace(scene.things[0], size=float(random.choice([0.28, 0.83]))),))


def _coloured(scene: Scene, random: np.random.Generator, variety: Variety) -> Scene:
    return replace(scene, things=(replace(scene.things[0], colour=str(random.choice(list(COLOURS)))),))


def _several(scene: Scene, random: np.random.Generator, variety: Variety) -> Scene:
    count = int(random.integers(2, 4))
    size = {2: 0.42, 3: 0.29}[count]
    middles = [(number + 0.5) / count for number in range(count)]
    return replace(scene, things=tuple(replace(scene.things[0], x=x, size=size) for x in middles))


def _paired(scene: Scene, random: np.random.Generator, variety: Variety) -> Scene:
    (first,) = scene.things
    while True:
        second = random_scene(random, variety).things[0].name
        if second != first.name and not held_out_pair(second, scene.place):
            break
    pair = replace(first, x=0.25, size=0.42), Placed(second, x=0.75, size=0.42)
    return replace(scene, things=pair)


_CHANGES: dict[str, Callable[[Scene, np.random.Generator, Variety], Scene]] = {
    "position": _elsewhere,
    "size": _resized,
    "colour": _coloured,
    "count": _several,
    "pair": _paired,
}


def right_in(case: Case, reading: Reading) -> dict[str, bool]:
    """Return by name whether a reading is what the case asks for, in all that the case names."""
    first = case.scene.things[0]
    right = {
        "thing": set(reading.things) == {thing.name for thing in case.scene.things},
        "place": reading.place == case.scene.place,
        "count": reading.count == len(case.scene.things),
    }
    right["both"] = right["thing"] and right["place"]
    named = {
        "unseen": right["both"],
        "position": reading.position == first.position,
        "size": reading.size == first.size_word,
        "colour": reading.colour == first.colour,
    }
    return right | ({case.kind: named[case.kind]} if case.kind in named else {})


def words_asked(case: Case) -> dict[str, list[str]]:
    """Return the kinds of things, the colours where the caption names them, and the place that a case asks for."""
    colours = [thing.colour for thing in case.scene.things if thing.colour is not None]
    words = {"things": sorted({thing.name for thing in case.scene.things}), "places": [case.scene.place]}
    return words | ({"colours": colours} if case.kind == "colour" else {})


def words_seen(reading: Reading) -> dict[str, list[str]]:
    """Return the kinds of things, the colour and the place that a reading has."""
    colours = [] if reading.colour is None else [reading.colour]
    return {"things": list(reading.things), "colours": colours, "places": [reading.place]}


def shares(cases: Sequence[Case], readings: Sequence[Reading]) -> dict[str, float]:
    """Return the share of pictures that are right, by name, over the cases that name it, and the precision, recall and
    F1 of things, colours and places (see ``agreement``)."""
    found: dict[str, list[bool]] = defaultdict(list)
    for case, reading in zip(cases, readings, strict=True):
        for name, right in right_in(case, reading).items():
            found[name].append(right)
    words = [(words_asked(case), words_seen(reading)) for case, reading in zip(cases, readings, strict=True)]
    return {name: float(np.mean(values)) for name, values in found.items()} | agreement(words)


def travel(frames: np.ndarray, thing: Placed, *, drawings: np.ndarray | None = None) -> np.ndarray:
    """Return how far the thing of the first frame is from there in every frame, in sides: float (frames, 2), x and y.

    ``thing`` is what the first frame shows and where; what lies under its drawing is looked for in the others.
    ``drawings`` replaces the picture sets, as in ``render``.
    """
    height, width = frames.shape[1:3]
    layer, rows, columns = thing_layer(thing, height, width, drawings)
    pattern = frames[0, rows, columns].astype(np.float32)
    mask = np.repeat(layer[..., 3:] / 255, 3, axis=2).astype(np.float32)
    reach = round(SEARCH * min(height, width))
    offsets = []
    for frame in frames:
        wide = cv2.copyMakeBorder(frame.astype(np.float32), reach, reach, reach, reach, cv2.BORDER_REFLECT)
        part = wide[rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
        fit = cv2.matchTemplate(part, pattern, cv2.TM_SQDIFF, mask=mask)
        _, _, best, _ = cv2.minMaxLoc(fit)
        offsets.append([best[0] - reach, best[1] - reach])
    return np.array(offsets, np.float64) / min(height, width)


def moves_as_told(offsets: np.ndarray, strength: float = STRENGTH) -> bool:
    """Return True if a thing has gone to the right as far as the motion field says, within a fifth."""
    told = strength / UNITS_PER_SIDE * (len(offsets) - 1)
    return bool(abs(offsets[-1, 0] - told) <= NEAR * told and abs(offsets[-1, 1]) <= NEAR * told)


def stays(offsets: np.ndarray) -> bool:
    """Return True if a thing keeps its place in all frames."""
    return bool(np.abs(offsets).max() <= STILL)


def same_thing(readings: Sequence[Reading]) -> float:
    """Return the share of frames after the first that show its thing."""
    return float(np.mean([reading.things[:1] == readings[0].things[:1] for reading in readings[1:]]))


def drawn_pictures(model: Model, name: str, cases: Sequence[Case]) -> np.ndarray:
    """Return a still picture for each case with the page's default settings, seeded by its number."""
    pictures = []
    for number, case in enumerate(cases):
        settings = TextToVideoSettings(prompt=case.prompt, model=name, seed=number, num_frames=1)
        pictures.append(model.generate(settings).frames[0])
    return np.stack(pictures)


def motion_shares(model: Model, name: str, cases: Sequence[Case]) -> tuple[dict[str, float], np.ndarray]:
    """Return the shares of clips that move as told, stay, and keep their thing; and the strips of the moving ones."""
    found: dict[str, list[float]] = defaultdict(list)
    strips = []
    for number, case in enumerate(cases):
        (placed,) = case.scene.things
        standing = replace(placed, x=MIDDLE[0], y=MIDDLE[1])
        for kind, strength in (("right", STRENGTH), ("still", 0.0)):
            settings = TextToVideoSettings(
                prompt=case.prompt,
                model=name,
                seed=number,
                num_frames=FRAMES,
                motion_field_strength_x=strength,
                motion_field_strength_y=0.0,
            )
            frames = model.generate(settings).frames
            offsets = travel(frames, standing)
            found[kind].append(moves_as_told(offsets) if strength else stays(offsets))
            found["same"].append(same_thing(read(frames)))
            if strength:
                strips.append(np.concatenate(frames, axis=1))
    return {name: float(np.mean(values)) for name, values in found.items()}, np.stack(strips)


def model_with(source: str) -> tuple[Model, str]:
    """Return a model that knows the checkpoint, and its name: a row's name, or a folder."""
    model = Model(device="cpu")
    if not Path(source).is_dir():
        return model, source
    row = ModelRow("storybook-folder", "Storybook", str(Path(source).resolve()), "")
    model.rows = {**model.rows, row.name: row}
    return model, row.name


def main() -> None:
    """Measure a checkpoint and print its shares as a line of JSON; write a contact sheet and strips of clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="storybook", help="a name of the registry, or a diffusers folder")
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--clips", type=int, default=20, help="how many to move and to keep still")
    parser.add_argument("--things", type=int, default=VARIETY.things, help="how many of the list are asked for")
    parser.add_argument("--sheets", type=Path, help="a folder for the contact sheet and the strips")
    options = parser.parse_args()
    model, name = model_with(options.model)
    cases = held_out(options.captions, things=options.things)
    pictures = drawn_pictures(model, name, cases)
    readings = read(pictures)
    result = {"captions": options.captions, "things": options.things} | shares(cases, readings)
    clips = [case for case in cases if case.kind == "plain"][: options.clips]
    if clips:
        moved, strips = motion_shares(model, name, clips)
        result |= moved
    print(json.dumps(result))
    if options.sheets is not None:
        right = [right_in(case, reading)["both"] for case, reading in zip(cases, readings, strict=True)]
        write_picture(options.sheets / "sheet.jpg", contact_sheet(pictures[:100, ::2, ::2], right[:100]))
        if clips:
            write_picture(options.sheets / "strips.jpg", contact_sheet(strips[:, ::2, ::2], columns=1))


if __name__ == "__main__":
    main()
