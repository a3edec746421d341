"""The pool of drawn pictures every stage learns from, kept on disk; captions are made anew at each use."""

import logging
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from training.toyworld.render import render
from training.toyworld.scene import Scene, random_scene

logger = logging.getLogger(__name__)
SIZE_PX = 128
MASK_CELLS = 32
TRAINING_SEED = 1
HELD_OUT_SEED = 2
CHUNK = 1000


def scene_at(index: int, seed: int = TRAINING_SEED) -> Scene:
    """The scene with this number; numbers under another seed are scenes that training never saw."""
    return random_scene(np.random.default_rng([seed, index]))


@dataclass(frozen=True)
class Pool:
    """Drawn scenes 0..len: ``images`` uint8 (n, 128, 128, 3); ``masks`` uint8 (n, 32, 32), where things are."""

    images: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def draw_chunk(start: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Draw CHUNK scenes from number ``start`` on."""
    images = np.empty((CHUNK, SIZE_PX, SIZE_PX, 3), np.uint8)
    masks = np.empty((CHUNK, MASK_CELLS, MASK_CELLS), np.uint8)
    cell = SIZE_PX // MASK_CELLS
    for offset in range(CHUNK):
        drawn = render(scene_at(start + offset), SIZE_PX, SIZE_PX)
        covered = np.max([truth.mask for truth in drawn.things], axis=0)
        images[offset] = drawn.image
        masks[offset] = 255 * covered.reshape(MASK_CELLS, cell, MASK_CELLS, cell).max(axis=(1, 3))
    return start, images, masks


def load_pool(folder: Path, pictures: int) -> Pool:
    """The first ``pictures`` scenes, drawn now where ``folder`` does not hold them yet; rounds up to whole chunks."""
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-pictures // CHUNK) * CHUNK
    paths = {"images": folder / f"images-{count}.npy", "masks": folder / f"masks-{count}.npy"}
    if not all(path.exists() for path in paths.values()):
        shapes = {"images": (count, SIZE_PX, SIZE_PX, 3), "masks": (count, MASK_CELLS, MASK_CELLS)}
        partial = {name: path.with_suffix(".partial") for name, path in paths.items()}
        arrays = {
            name: np.lib.format.open_memmap(partial[name], mode="w+", dtype=np.uint8, shape=shape)
            for name, shape in shapes.items()
        }
        with get_context("spawn").Pool() as workers:
            for done, (start, images, masks) in enumerate(
                workers.imap_unordered(draw_chunk, range(0, count, CHUNK)), 1
            ):
                arrays["images"][start : start + CHUNK] = images
                arrays["masks"][start : start + CHUNK] = masks
                logger.info("drawn %d of %d pictures", done * CHUNK, count)
        for name, path in paths.items():
            arrays[name].flush()
            partial[name].replace(path)
    return Pool(**{name: np.load(path, mmap_mode="r") for name, path in paths.items()})
