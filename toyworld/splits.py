"""Numbered scenes: those that networks are trained on, and those held out to measure them by."""

import numpy as np

from toyworld.captions import caption
from toyworld.scene import BLOB, Scene, random_background, random_object, random_scene

SIZE_PX = 128  # side of the pictures that the toy world's networks are trained on
TRAINING_SEED, HELD_OUT_SEED = 1, 2


def scene_at(index: int, seed: int = TRAINING_SEED) -> Scene:
    """Return the scene with this number; numbers under another seed are scenes that training never saw."""
    return random_scene(np.random.default_rng([seed, index]))


def held_out_scenes(count: int, *, unseen_pairs: bool = False) -> list[Scene]:
    """Return ``count`` scenes with one named shape that training never showed.

    With ``unseen_pairs`` colour and shape are of HELD_OUT_PAIRS, which training never shows together.
    """
    if unseen_pairs:
        return [unseen_pair(index) for index in range(count)]
    candidates = (scene_at(index, HELD_OUT_SEED) for index in range(20 * count + 100))
    named = (scene for scene in candidates if len(scene.objects) == 1 and scene.objects[0].shape != BLOB)
    return [scene for scene, _ in zip(named, range(count), strict=False)]


def unseen_pair(index: int) -> Scene:
    """Return the scene with this number of those with one object of HELD_OUT_PAIRS."""
    random = np.random.default_rng([HELD_OUT_SEED, 10**6 + index])
    background = random_background(random)
    return Scene(background, (random_object(random, background, held_out=True),))


def captions_of(scenes: list[Scene]) -> list[str]:
    """Return the complete caption of each scene."""
    random = np.random.default_rng(0)
    return [caption(scene, random, complete=True) for scene in scenes]
