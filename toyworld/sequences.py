"""Scenes over time: an object moves, turns, grows or changes; a mannequin walks, waves, jumps or dances.

A sequence is a tuple of scenes, one per frame, so drawing it gives a video whose truth is known in every frame.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from toyworld.scene import JOINTS, Figure, Object, Scene, pose

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MOTIONS = ("walking", "waving", "jumping", "dancing")


def moving(scene: Scene, direction: str, distance: float, frames: int) -> tuple[Scene, ...]:
    """Move the first object by ``distance`` (a fraction of the side) in a direction, at constant speed."""
    across, down = DIRECTIONS[direction]

    def at(thing: Object, share: float) -> Object:
        return replace(thing, x=thing.x + share * distance * across, y=thing.y + share * distance * down)

    return _with_first_object(scene, at, frames)


def turning(scene: Scene, degrees: float, frames: int) -> tuple[Scene, ...]:
    """Turn the first object counter-clockwise."""
    return _with_first_object(scene, lambda thing, share: replace(thing, angle=thing.angle + share * degrees), frames)


def growing(scene: Scene, factor: float, frames: int) -> tuple[Scene, ...]:
    """Multiply the first object's radius by ``factor`` by the end; below 1 it shrinks."""
    return _with_first_object(scene, lambda thing, share: replace(thing, radius=thing.radius * factor**share), frames)


def changing(
    scene: Scene, frames: int, *, shape: str | None = None, colour: str | None = None, background: str | None = None
) -> tuple[Scene, ...]:
    """Change the first object's shape or colour, or the scene's background, half-way."""
    first, *others = scene.objects
    changed = replace(first, shape=shape or first.shape, colour=colour or first.colour)
    after = replace(scene, background=background or scene.background, objects=(changed, *others))
    return tuple(scene if frame < frames / 2 else after for frame in range(frames))


def acting(scene: Scene, motion: str, frames: int, cycles: float = 1.0) -> tuple[Scene, ...]:
    """Let the first mannequin walk, wave, jump or dance through so many cycles."""
    first, *others = scene.figures
    return tuple(
        replace(scene, figures=(_ACTS[motion](first, 2 * math.pi * cycles * frame / frames), *others))
        for frame in range(frames)
    )


def _with_first_object(scene: Scene, at: Callable[[Object, float], Object], frames: int) -> tuple[Scene, ...]:
    """Return the scene per frame, its first object replaced by ``at(object, share)``, share running from 0 to 1."""
    first, *others = scene.objects
    shares = [frame / max(1, frames - 1) for frame in range(frames)]
    return tuple(replace(scene, objects=(at(first, share), *others)) for share in shares)


def _walk(figure: Figure, phase: float) -> Figure:
    swing = math.sin(phase)
    angles = pose(
        "walking",
        right_upper_arm=28 * swing,
        right_forearm=28 * swing + 15,
        left_upper_arm=-28 * swing,
        left_forearm=-28 * swing + 15,
        right_thigh=-26 * swing,
        right_shin=-26 * swing - 10 * max(0.0, -math.cos(phase)),
        left_thigh=26 * swing,
        left_shin=26 * swing - 10 * max(0.0, math.cos(phase)),
    )
    return replace(figure, angles=angles, action="walking", x=figure.x + 0.02 * phase)


def _wave(figure: Figure, phase: float) -> Figure:
    angles = pose("waving", left_forearm=165 + 25 * math.sin(phase))
    return replace(figure, angles=angles, action="waving")


def _jump(figure: Figure, phase: float) -> Figure:
    """Leave the ground with arms and legs spread, and land."""
    height = max(0.0, math.sin(phase))
    standing, spread = (dict(zip(JOINTS, pose(action), strict=True)) for action in ("standing", "jumping"))
    angles = tuple(standing[joint] + height * (spread[joint] - standing[joint]) for joint in JOINTS)
    return replace(figure, angles=angles, action="jumping", y=figure.y - 0.12 * height)


def _dance(figure: Figure, phase: float) -> Figure:
    """Sway from foot to foot, the arms up and down in turn; no word of the captions means it."""
    sway, beat = math.sin(phase), math.sin(2 * phase)
    angles = pose(
        "standing",
        torso=9 * sway,
        right_upper_arm=-100 + 45 * sway,
        right_forearm=-150 + 60 * sway,
        left_upper_arm=100 + 45 * sway,
        left_forearm=150 + 60 * sway,
        right_thigh=-12 - 14 * max(0.0, sway),
        right_shin=-4 + 22 * max(0.0, sway),
        left_thigh=12 + 14 * max(0.0, -sway),
        left_shin=4 - 22 * max(0.0, -sway),
    )
    return replace(figure, angles=angles, action=None, x=figure.x + 0.03 * sway, y=figure.y - 0.015 * abs(beat))


_ACTS: dict[str, Callable[[Figure, float], Figure]] = dict(zip(MOTIONS, (_walk, _wave, _jump, _dance), strict=True))
