"""Numbered scenes for control and editing, with the truth that steers or precedes each of them."""

from dataclasses import replace

import numpy as np

from toyworld.edits import edit
from toyworld.render import keypoints as figure_keypoints
from toyworld.render import object_layers
from toyworld.scene import BLOB, Object, Scene, random_background, random_figure, random_object, random_pair
from toyworld.splits import SIZE_PX

CONTROLS = ("canny", "depth", "pose")
EDIT = "edit"
TRAINING_SEED, HELD_OUT_SEED = 11, 12


def scene_at(kind: str, index: int, seed: int = TRAINING_SEED) -> Scene:
    """Return the scene with this number for a kind of control; under HELD_OUT_SEED training never saw it.

    Edges and depth see free-form outlines and turned shapes, so that any outline is followed; pose sees mannequins.
    """
    random = np.random.default_rng([seed, (*CONTROLS, EDIT).index(kind), index])
    background = random_background(random)
    texture = int(random.integers(2**31))
    chance = random.random()
    if kind == "pose" or chance < 0.15:
        return Scene(background, figures=(random_figure(random, background),), texture_seed=texture)
    if kind == EDIT:
        return Scene(background, objects=(random_object(random, background),), texture_seed=texture)
    if chance < (0.65 if kind == "depth" else 0.35):
        pair = random_pair(random, background)
        if kind == "depth":
            pair = one_behind_another(pair, random)
        return Scene(background, objects=pair, texture_seed=texture)
    thing = random_object(random, background, shape=BLOB if random.random() < 0.45 else None)
    if random.random() < 0.25:
        thing = replace(thing, angle=float(random.uniform(0, 360)))
    return Scene(background, objects=(thing,), texture_seed=texture)


def one_behind_another(pair: tuple[Object, Object], random: np.random.Generator) -> tuple[Object, Object]:
    """Return the pair at clearly different depths, most often moved together until the nearer hides part of the other.

    Nothing else in a flat picture shows which of them is nearer.
    """
    near, far = float(random.uniform(0.65, 1.0)), float(random.uniform(0.2, 0.45))
    nearness = (near, far) if random.random() < 0.5 else (far, near)
    share = float(random.uniform(0.35, 0.8))
    first, second = (
        replace(thing, nearness=depth, x=0.5 + share * (thing.x - 0.5), y=0.5 + share * (thing.y - 0.5))
        for thing, depth in zip(pair, nearness, strict=True)
    )
    return first, second


def edited_at(index: int, seed: int = TRAINING_SEED) -> tuple[Scene, str, str, Scene]:
    """Return the scene of kind EDIT with this number, its edit's attribute and instruction, and the edited scene."""
    before = scene_at(EDIT, index, seed)
    return before, *edit(before, np.random.default_rng([seed, 99, index]))


def keypoints(scene: Scene, height: int = SIZE_PX, width: int = SIZE_PX) -> np.ndarray:
    """Return the joints of the mannequins: float (figures, 18, 2), x and y in pixels."""
    return np.stack([figure_keypoints(figure, height, width) for figure in scene.figures])


def near_and_far(scene: Scene, side: int = SIZE_PX) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole masks, bool (side, side), of the nearer and of the farther of two objects."""
    far, near = (
        object_layers(thing, side, side)[0][0][0] > 0.9
        for thing in sorted(scene.objects, key=lambda thing: thing.nearness)
    )
    return near, far


def hidden(scene: Scene) -> np.ndarray:
    """Return the mask, bool (128, 128), of the farther of two objects behind the nearer; empty without two."""
    if len(scene.objects) != 2:
        return np.zeros((SIZE_PX, SIZE_PX), bool)
    near, far = near_and_far(scene)
    return near & far
