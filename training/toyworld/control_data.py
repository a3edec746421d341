"""Pools of drawn pictures that control and editing are learned from, with the control picture of each."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from annotators.canny import Canny
from annotators.pose import draw_skeleton
from toyworld.control_scenes import EDIT, edited_at, keypoints, scene_at
from toyworld.render import render
from toyworld.splits import SIZE_PX
from training.toyworld.data import CHUNK, SHAPES, Pool, coarse_mask, load_arrays


@dataclass(frozen=True)
class ControlPool(Pool):
    """A pool of one kind, with the ``control`` of each picture.

    That is depth, uint8 (n, 128, 128), the picture before the edit, (n, 128, 128, 3), or nothing where it is made at
    every use.
    """

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
    """Return the shape of one entry of each array of a pool."""
    control: dict[str, tuple[int, ...]] = {"depth": (SIZE_PX, SIZE_PX), EDIT: (SIZE_PX, SIZE_PX, 3)}
    return SHAPES | {"control": control.get(kind, (0,))}


def control_pictures(kind: str, pool: ControlPool, chosen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw the control pictures of the chosen pictures as an annotator would: uint8 (n, 128, 128, 3)."""
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


def load_pool(folder: Path, kind: str, pictures: int) -> ControlPool:
    """Return the first ``pictures`` scenes of a kind, drawn now if ``folder`` does not hold them yet."""
    return ControlPool(**load_arrays(folder, pictures, shapes(kind), partial(draw_chunk, kind)))
