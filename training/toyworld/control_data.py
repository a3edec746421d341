"""The scenes that control and editing are learned from, and what steers or comes before each of them."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from annotators.canny import Canny
from annotators.pose import draw_skeleton
from toyworld.edits import edit
from toyworld.render import keypoints as figure_keypoints
from toyworld.render import object_layers, render
from toyworld.scene import BLOB, Object, Scene, random_background, random_figure, random_object, random_pair
from training.toyworld.data import CHUNK, SHAPES, SIZE_PX, Pool, coarse_mask, load_arrays

CONTROLS = ("canny", "depth", "pose")
EDIT = "edit"
TRAINING_SEED, HELD_OUT_SEED = 11, 12


def scene_at(kind: str, index: int, seed: int = TRAINING_SEED) -> Scene:
    """The scene with this number for this kind of control; under HELD_OUT_SEED one that training never saw.

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
    """The pair at clearly different depths, moved together so far that most often the nearer hides a part of the
    other: nothing else in a flat picture shows which is nearer."""
    near, far = float(random.uniform(0.65, 1.0)), float(random.uniform(0.2, 0.45))
    nearness = (near, far) if random.random() < 0.5 else (far, near)
    share = float(random.uniform(0.35, 0.8))
    first, second = (
        replace(thing, nearness=depth, x=0.5 + share * (thing.x - 0.5), y=0.5 + share * (thing.y - 0.5))
        for thing, depth in zip(pair, nearness, strict=True)
    )
    return first, second


def edited_at(index: int, seed: int = TRAINING_SEED) -> tuple[Scene, str, str, Scene]:
    """The scene of kind EDIT with this number, the attribute and the instruction of its edit, and what comes of it."""
    before = scene_at(EDIT, index, seed)
    return before, *edit(before, np.random.default_rng([seed, 99, index]))


@dataclass(frozen=True)
class ControlPool(Pool):
    """A pool of one kind, with the ``control`` of each picture: depth uint8 (n, 128, 128), the picture before the edit
    (n, 128, 128, 3), or nothing where it is made at every use."""

    control: np.ndarray


def draw_chunk(kind: str, start: int) -> tuple[int, dict[str, np.ndarray]]:
    """Draw CHUNK scenes of a kind from number ``start`` on."""
    arrays = {name: np.empty((CHUNK, *shape), np.uint8) for name, shape in shapes(kind).items()}
    for offset in range(CHUNK):
        if kind == EDIT:
            before, _, _, scene = edited_at(start + offset)
            arrays["control"][offset] = render(before, SIZE_PX, SIZE_PX).image
        else:
            scene = scene_at(kind, start + offset)
        drawn = render(scene, SIZE_PX, SIZE_PX)
        if kind == "depth":
            arrays["control"][offset] = drawn.depth
        arrays["images"][offset], arrays["masks"][offset] = (
            drawn.image,
            coarse_mask([truth.mask for truth in drawn.things]),
        )
    return start, arrays


def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """The shape of one entry of each array of a pool."""
    control: dict[str, tuple[int, ...]] = {"depth": (SIZE_PX, SIZE_PX), EDIT: (SIZE_PX, SIZE_PX, 3)}
    return SHAPES | {"control": control.get(kind, (0,))}


def control_pictures(kind: str, pool: ControlPool, chosen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What a ControlNet is shown of the chosen pictures, as an annotator would draw it: uint8 (n, 128, 128, 3)."""
    if kind == "canny":
        low = int(random.integers(60, 150))
        return Canny(low, int(random.integers(low + 30, 250)))(pool.images[chosen])
    if kind == "depth":  # an estimator's depth has no scale: its ends are wherever the picture's are
        depth = pool.control[chosen].astype(np.float32)
        darkest, brightest = random.uniform(0, 40), random.uniform(200, 255)
        low, high = depth.min(axis=(1, 2), keepdims=True), depth.max(axis=(1, 2), keepdims=True)
        stretched = darkest + (depth - low) / np.maximum(high - low, 1) * (brightest - darkest)
        return np.repeat(np.rint(stretched).astype(np.uint8)[..., None], 3, axis=-1)
    # Lines are thinner where a large drawing has been made small.
    people = [keypoints(scene_at(kind, int(number))) for number in chosen]
    return np.stack([draw_skeleton(person, SIZE_PX, SIZE_PX, random.uniform(0.8, 1.8)) for person in people])


def keypoints(scene: Scene, height: int = SIZE_PX, width: int = SIZE_PX) -> np.ndarray:
    """Where the mannequins' joints are: float (figures, 18, 2), x and y in pixels."""
    return np.stack([figure_keypoints(figure, height, width) for figure in scene.figures])


def near_and_far(scene: Scene, side: int = SIZE_PX) -> tuple[np.ndarray, np.ndarray]:
    """The whole masks, bool (height, width), of the nearer and of the farther of two objects."""
    far, near = sorted(scene.objects, key=lambda thing: thing.nearness)
    return tuple(object_layers(thing, side, side)[0][0][0] > 0.9 for thing in (near, far))  # type: ignore[return-value]


def hidden(scene: Scene) -> np.ndarray:
    """Where the nearer of two objects hides the farther: bool (128, 128); nowhere without two."""
    if len(scene.objects) != 2:
        return np.zeros((SIZE_PX, SIZE_PX), bool)
    near, far = near_and_far(scene)
    return near & far


def load_pool(folder: Path, kind: str, pictures: int) -> ControlPool:
    """The first ``pictures`` scenes of a kind, drawn now where ``folder`` does not hold them yet."""
    return ControlPool(**load_arrays(folder, pictures, shapes(kind), partial(draw_chunk, kind)))
