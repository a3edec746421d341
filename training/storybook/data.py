"""The pools of drawn scenes that the storybook's networks learn from; captions are made anew at each use.

A pool keeps its scenes beside their pictures: what was drawn stays true when the world's dice change.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from storybook.render import SIZE_PX, render
from storybook.scene import STAGES, Placed, Scene, Variety, random_scene
from training.toyworld.data import CHUNK, MASK_CELLS, Pool, coarse_mask, load_arrays

TRAINING_SEED = 11
HELD_OUT_SEED = 12
SCENE_BYTES = 1024
SHAPES = {"images": (SIZE_PX, SIZE_PX, 3), "masks": (MASK_CELLS, MASK_CELLS), "scenes": (SCENE_BYTES,)}


@dataclass(frozen=True)
class DrawnPool(Pool):
    """A pool with its ``scenes``, uint8 (n, SCENE_BYTES)."""

    scenes: np.ndarray

    def scene(self, index: int) -> Scene:
        """The scene of a picture."""
        return unpacked(self.scenes[index])


def scene_at(index: int, variety: Variety = STAGES[-1], seed: int = TRAINING_SEED) -> Scene:
    """The scene with this number; numbers under another seed are scenes that training never saw."""
    return random_scene(np.random.default_rng([seed, index]), variety)


def packed(scene: Scene) -> np.ndarray:
    """A scene as JSON in uint8 (SCENE_BYTES,), filled up with zeros."""
    text = json.dumps(asdict(scene), separators=(",", ":")).encode()
    return np.frombuffer(text.ljust(SCENE_BYTES, b"\0"), np.uint8)


def unpacked(record: np.ndarray) -> Scene:
    """The scene that was ``packed``."""
    values = json.loads(record.tobytes().rstrip(b"\0"))
    return Scene(**(values | {"things": tuple(Placed(**placed) for placed in values["things"])}))


def draw(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The picture, uint8 (256, 256, 3), and where things are in it, uint8 (32, 32)."""
    drawn = render(scene)
    return drawn.image, coarse_mask([truth.mask for truth in drawn.things])


def draw_chunk(start: int, variety: Variety) -> tuple[int, dict[str, np.ndarray]]:
    """Draw CHUNK scenes from number ``start`` on."""
    arrays = {name: np.empty((CHUNK, *shape), np.uint8) for name, shape in SHAPES.items()}
    for offset in range(CHUNK):
        scene = scene_at(start + offset, variety)
        arrays["images"][offset], arrays["masks"][offset] = draw(scene)
        arrays["scenes"][offset] = packed(scene)
    return start, arrays


def load_pictures(folder: Path, pictures: int, variety: Variety = STAGES[-1]) -> DrawnPool:
    """The first ``pictures`` scenes of a world that varies so much, drawn where ``folder`` does not hold them yet."""
    return DrawnPool(**load_arrays(folder, pictures, SHAPES, partial(draw_chunk, variety=variety)))
