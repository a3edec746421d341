"""Scenes over time: things move, turn, grow, cross each other and act in the way that is theirs.

A sequence is a tuple of scenes, one per frame, so drawing it gives a video whose truth is known in every frame.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from storybook.captions import caption
from storybook.phrases import MOTION_WORDS
from storybook.scene import MIDDLE, Placed, Scene, Variety, held_out_pair, random_place
from storybook.things import FLIES, GOES, STANDS, SWIMS, all_things

MEDIUM = Placed("lion").size
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
EDGE = 0.03  # kept free between a thing and the picture's edge
KINDS = {"moves": 0.5, "grows": 0.08, "shrinks": 0.08, "turns": 0.07, "crosses": 0.1, "acts": 0.12, "rests": 0.05}


@dataclass(frozen=True)
class Sequence:
    """A clip: ``scenes``, one per frame; ``kind`` as in KINDS; ``detail``, the direction or empty."""

    scenes: tuple[Scene, ...]
    kind: str
    detail: str = ""


def moving(scene: Scene, direction: str, distance: float, frames: int) -> tuple[Scene, ...]:
    """The first thing goes ``distance`` (a fraction of the side) in a direction, at constant speed."""
    across, down = DIRECTIONS[direction]

    def at(thing: Placed, share: float) -> Placed:
        return replace(thing, x=thing.x + share * distance * across, y=thing.y + share * distance * down)

    return _with_first(scene, at, frames)


def turning(scene: Scene, degrees: float, frames: int) -> tuple[Scene, ...]:
    """The first thing turns counter-clockwise."""
    return _with_first(scene, lambda thing, share: replace(thing, angle=thing.angle + share * degrees), frames)


def growing(scene: Scene, factor: float, frames: int) -> tuple[Scene, ...]:
    """The first thing's size is multiplied by ``factor`` by the end; below 1 it shrinks."""
    return _with_first(scene, lambda thing, share: replace(thing, size=thing.size * factor**share), frames)


def crossing(scene: Scene, frames: int) -> tuple[Scene, ...]:
    """Two things side by side change places, the nearer one passing before the other."""
    first, second = scene.things

    def between(share: float) -> Scene:
        x = first.x + share * (second.x - first.x), second.x + share * (first.x - second.x)
        return replace(scene, things=(replace(first, x=x[0]), replace(second, x=x[1])))

    return tuple(between(share) for share in _shares(frames))


def acting(scene: Scene, frames: int, cycles: float = 2.0) -> tuple[Scene, ...]:
    """The first thing does what is its way: it hops along, glides in waves, sways, or stays."""
    act = _ACTS.get(scene.things[0].thing.moves, _sway)

    def at(thing: Placed, share: float) -> Placed:
        return act(thing, share, 2 * math.pi * cycles * share)

    return _with_first(scene, at, frames)


def changing(
    scene: Scene, frames: int, *, name: str | None = None, colour: str | None = None, place: str | None = None
) -> tuple[Scene, ...]:
    """The first thing becomes another or takes a colour, or the place changes, half-way, and stays so."""
    first, *others = scene.things
    changed = replace(first, name=name or first.name, colour=colour or first.colour)
    after = replace(scene, place=place or scene.place, things=(changed, *others))
    return tuple(scene if frame < frames / 2 else after for frame in range(frames))


def random_sequence(random: np.random.Generator, variety: Variety, frames: int = 8) -> Sequence:
    """A clip of the training distribution, of one thing, or of two that cross."""
    kind = str(random.choice(list(KINDS), p=list(KINDS.values())))
    scene = _still(random, variety)
    first = scene.things[0]
    if kind == "moves":
        direction = str(random.choice(list(DIRECTIONS)))
        start, distance = _path(random, direction, first.size)
        x, y = start
        mirrored = direction == "left" and first.thing.has_side(first.drawing)
        placed = replace(scene, things=(replace(first, x=x, y=y, mirrored=mirrored),))
        return Sequence(moving(placed, direction, distance, frames), kind, direction)
    if kind in ("grows", "shrinks"):
        factor = float(random.uniform(1.6, 2.2))
        size = float(random.uniform(0.3, 0.4)) * (1.0 if kind == "grows" else factor)
        placed = replace(scene, things=(replace(first, size=size),))
        return Sequence(growing(placed, factor if kind == "grows" else 1 / factor, frames), kind)
    if kind == "turns":
        return Sequence(turning(scene, float(random.uniform(40, 120)), frames), kind)
    if kind == "crosses":
        other = all_things()[: variety.things][random.integers(min(variety.things, len(all_things())))]
        pair = (replace(first, x=0.27, size=0.42, nearness=0.6), Placed(other.name, x=0.73, size=0.42, nearness=0.4))
        return Sequence(crossing(replace(scene, things=pair), frames), kind)
    return Sequence(acting(scene, frames) if kind == "acts" else (scene,) * frames, kind)


def describe(sequence: Sequence, random: np.random.Generator, *, complete: bool = False) -> str:
    """A caption of a clip: its first frame's, and what happens."""
    first = sequence.scenes[0]
    if sequence.kind == "acts":
        return caption(first, random, complete=complete)
    words = MOTION_WORDS[sequence.detail or sequence.kind]
    motion = words[0] if complete else str(random.choice(words))
    if len(first.things) == 1:
        # Neither the place where it starts, nor its size there, nor that it faces where it goes is worth a word.
        thing = replace(first.things[0], x=MIDDLE[0], y=MIDDLE[1], size=MEDIUM, mirrored=False)
        first = replace(first, things=(thing,))
    return caption(first, random, complete=complete, verb=motion)


def _still(random: np.random.Generator, variety: Variety) -> Scene:
    """A standard scene of one thing that training may show."""
    things = all_things()[: variety.things]
    while True:
        thing = things[random.integers(len(things))]
        place = random_place(random, thing, variety)
        if not held_out_pair(thing.name, place):
            placed = Placed(thing.name, size=float(random.uniform(0.4, 0.55)))
            return Scene(place, (placed,), int(random.integers(2**31)), variety.place_variation)


def _path(random: np.random.Generator, direction: str, size: float) -> tuple[tuple[float, float], float]:
    """A start from which a thing stays whole all the way, and how far it goes."""
    near = size / 2 + EDGE
    room = 1 - 2 * near
    distance = float(random.uniform(0.6 * room, room))
    start = float(random.uniform(near, 1 - near - distance))
    if sum(DIRECTIONS[direction]) < 0:
        start = 1 - start
    return ((start, MIDDLE[1]) if DIRECTIONS[direction][0] else (MIDDLE[0], start)), distance


def _shares(frames: int) -> list[float]:
    return [frame / max(1, frames - 1) for frame in range(frames)]


def _with_first(scene: Scene, at: Callable[[Placed, float], Placed], frames: int) -> tuple[Scene, ...]:
    """The scene with its first thing as ``at(thing, share)`` says, share running from 0 to 1."""
    first, *others = scene.things
    return tuple(replace(scene, things=(at(first, share), *others)) for share in _shares(frames))


def _hop(thing: Placed, share: float, phase: float) -> Placed:
    ahead = -1 if thing.mirrored else 1
    x, y = thing.x + 0.22 * ahead * (share - 0.5), thing.y - 0.05 * abs(math.sin(phase))
    return replace(thing, x=x, y=y, angle=thing.angle + 4 * math.sin(2 * phase))


def _glide(thing: Placed, share: float, phase: float) -> Placed:
    ahead = -1 if thing.mirrored else 1
    return replace(thing, x=thing.x + 0.26 * ahead * (share - 0.5), y=thing.y + 0.035 * math.sin(phase))


def _drift(thing: Placed, share: float, phase: float) -> Placed:
    glided = _glide(thing, share, phase)
    return replace(glided, angle=thing.angle + 5 * math.sin(phase))


def _sway(thing: Placed, share: float, phase: float) -> Placed:
    return replace(thing, angle=thing.angle + 6 * math.sin(phase))


_ACTS: dict[str, Callable[[Placed, float, float], Placed]] = {GOES: _hop, FLIES: _glide, SWIMS: _drift, STANDS: _sway}
