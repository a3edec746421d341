"""Pools of encoded scenes: what the denoiser learns from. Pictures are drawn, encoded and forgotten."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from storybook.scene import Scene, Variety
from training.storybook.data import SCENE_BYTES, draw, packed, scene_at, unpacked
from training.toyworld.autoencoder import fingerprint
from training.toyworld.data import MASK_CELLS
from training.toyworld.text import as_pixels
from utils import granted_cores

logger = logging.getLogger(__name__)
BATCH = 10  # more at once fall out of a processor's cache
SHAPES = {"latents": (4, MASK_CELLS, MASK_CELLS), "masks": (MASK_CELLS, MASK_CELLS), "scenes": (SCENE_BYTES,)}
TYPES = {"latents": np.float16, "masks": np.uint8, "scenes": np.uint8}


@dataclass(frozen=True)
class LatentPool:
    """``latents`` scaled, float16 (n, 4, 32, 32); ``masks`` uint8 (n, 32, 32), where things are; ``scenes`` packed."""

    latents: np.ndarray
    masks: np.ndarray
    scenes: np.ndarray

    def __len__(self) -> int:
        return len(self.latents)

    def scene(self, index: int) -> Scene:
        """The scene of an entry."""
        return unpacked(self.scenes[index])


def draw_batch(start: int, variety: Variety) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Draw BATCH scenes from number ``start`` on: that number, pictures, masks and scenes."""
    scenes = [scene_at(start + offset, variety) for offset in range(BATCH)]
    pictures, masks = zip(*(draw(scene) for scene in scenes), strict=True)
    return start, np.stack(pictures), np.stack(masks), np.stack([packed(scene) for scene in scenes])


@torch.no_grad()
def encode(model: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Scaled latents of uint8 pictures, float16 (n, 4, 32, 32); fastest from a model with channels last."""
    pixels = as_pixels(images).to(model.device, memory_format=torch.channels_last)
    with torch.autocast(model.device.type, torch.bfloat16):
        mean = model.encode(pixels).latent_dist.mean
    return (mean * model.config.scaling_factor).float().cpu().numpy().astype(np.float16)


def load_latents(
    folder: Path, model: AutoencoderKL, variety: Variety, count: int, *, first: int = 0, workers: int | None = None
) -> LatentPool:
    """``count`` scenes (whole batches) of a world that varies so much, from number ``first`` on; drawn by processes
    beside this one, which encodes, where ``folder`` does not hold them yet."""
    name = f"{first}-{count}-{abs(hash(variety)):x}-{fingerprint(model.encoder)}"
    paths = {part: folder / f"{part}-{name}.npy" for part in SHAPES}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        partial_paths = {part: path.with_suffix(".partial") for part, path in paths.items()}
        arrays = {
            part: np.lib.format.open_memmap(partial_paths[part], mode="w+", dtype=TYPES[part], shape=(count, *shape))
            for part, shape in SHAPES.items()
        }
        for done, (start, pictures, masks, scenes) in enumerate(_drawn(variety, first, count, workers), 1):
            rows = slice(start - first, start - first + BATCH)
            arrays["latents"][rows], arrays["masks"][rows] = encode(model, pictures), masks
            arrays["scenes"][rows] = scenes
            if done % 100 == 0:
                logger.info("%s: encoded %d of %d scenes", folder.name, done * BATCH, count)
        for part, path in paths.items():
            arrays[part].flush()
            partial_paths[part].replace(path)
    return LatentPool(**{part: np.load(path, mmap_mode="r") for part, path in paths.items()})


def _drawn(
    variety: Variety, first: int, count: int, workers: int | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    with get_context("spawn").Pool(workers or granted_cores()) as processes:
        yield from processes.imap_unordered(partial(draw_batch, variety=variety), range(first, first + count, BATCH))
