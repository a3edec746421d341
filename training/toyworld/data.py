"""The pool of drawn pictures every stage learns from, kept on disk; captions are made anew at each use."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from toyworld.render import render
from toyworld.splits import SIZE_PX, scene_at
from utils import granted_cores

logger = logging.getLogger(__name__)
MASK_CELLS = 32
CHUNK = 1000
SHAPES = {"images": (SIZE_PX, SIZE_PX, 3), "masks": (MASK_CELLS, MASK_CELLS)}


@dataclass(frozen=True)
class Pool:
    """Drawn scenes 0..len: ``images`` uint8 (n, side, side, 3); ``masks`` uint8 (n, 32, 32), coverage by things."""

    images: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def draw_chunk(start: int) -> tuple[int, dict[str, np.ndarray]]:
    """Draw CHUNK scenes from number ``start`` on."""
    arrays = {name: np.empty((CHUNK, *shape), np.uint8) for name, shape in SHAPES.items()}
    for offset in range(CHUNK):
        drawn = render(scene_at(start + offset), SIZE_PX, SIZE_PX)
        arrays["images"][offset] = drawn.image
        arrays["masks"][offset] = coarse_mask([truth.mask for truth in drawn.things])
    return start, arrays


def coarse_mask(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the union of ``masks``, float (side, side) in 0..1, per latent cell: uint8 (32, 32)."""
    covered = np.max(masks, axis=0)
    cell = len(covered) // MASK_CELLS
    return (255 * covered.reshape(MASK_CELLS, cell, MASK_CELLS, cell).max(axis=(1, 3))).astype(np.uint8)


def load_pool(folder: Path, pictures: int) -> Pool:
    """Return the first ``pictures`` scenes, rounded up to whole chunks, drawn now if ``folder`` lacks them."""
    return Pool(**load_arrays(folder, pictures, SHAPES, draw_chunk))


def load_arrays(
    folder: Path,
    pictures: int,
    shapes: dict[str, tuple[int, ...]],
    draw: Callable[[int], tuple[int, dict[str, np.ndarray]]],
) -> dict[str, np.ndarray]:
    """Return arrays of uint8 (pictures, *shape) by name, on disk in ``folder``, drawn now if it lacks them.

    ``draw(start)`` gives CHUNK entries of each and runs on all processors. The files get their names when they are
    whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-pictures // CHUNK) * CHUNK
    paths = {name: folder / f"{name}-{count}.npy" for name in shapes}
    if not all(path.exists() for path in paths.values()):
        partial = {name: path.with_suffix(".partial") for name, path in paths.items()}
        arrays = {
            name: np.lib.format.open_memmap(partial[name], mode="w+", dtype=np.uint8, shape=(count, *shape))
            for name, shape in shapes.items()
        }
        with get_context("spawn").Pool(granted_cores()) as workers:
            for done, (start, drawn) in enumerate(workers.imap_unordered(draw, range(0, count, CHUNK)), 1):
                for name, values in drawn.items():
                    arrays[name][start : start + CHUNK] = values
                logger.info("%s: drawn %d of %d pictures", folder.name, done * CHUNK, count)
        for name, path in paths.items():
            arrays[name].flush()
            partial[name].replace(path)
    return {name: np.load(path, mmap_mode="r") for name, path in paths.items()}
