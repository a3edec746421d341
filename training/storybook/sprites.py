"""Scenes put together from sprites by PyTorch: thousands a second on a card, without OpenCV.

The sprites are the world's own drawings in all their colours; places are pictures that were drawn beforehand. What
comes out is what ``storybook.render`` draws, but for the places' variation, of which there are so many pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from storybook.places import draw_place
from storybook.render import MAIN_HUES, recoloured
from storybook.scene import BACKGROUNDS, COLOURS, PLAIN, Placed, Scene, takes_colour
from storybook.things import all_things, thing_index
from training.toyworld.data import MASK_CELLS

VARIATIONS = (0.15, 0.4, 1.0)  # of the places' pictures
Key = tuple[int, int, str | None]  # thing, drawing, colour


@dataclass(frozen=True)
class Sprites:
    """``pixels`` premultiplied RGBA, uint8 (n, side, side, 4), with the row of each thing, drawing and colour;
    ``places`` uint8 (variations, pictures, height, width, 3) by background, with a single picture of the plain ones."""

    pixels: torch.Tensor
    rows: dict[Key, int]
    places: dict[str, torch.Tensor]


def draw_places(pictures: int, side_px: int, *, variations: Sequence[float] = VARIATIONS) -> dict[str, np.ndarray]:
    """Pictures of all backgrounds, uint8 (variations, pictures, side, side, 3)."""
    drawn = {}
    for place in BACKGROUNDS:
        count = 1 if place.startswith(PLAIN) else pictures
        drawn[place] = np.stack(
            [
                np.stack([draw_place(place, seed, variation, side_px, side_px) for seed in range(count)])
                for variation in variations[: 1 if count == 1 else None]
            ]
        )
    return drawn


def keys_of(things: int) -> list[Key]:
    """Every drawing of the first ``things`` in every colour that it can have."""
    return [
        (number, drawing, colour)
        for number, thing in enumerate(all_things()[:things])
        for drawing in (0, 1)
        for colour in (None, *(COLOURS if takes_colour(thing.name) else ()))
    ]


def coloured(key: Key, drawings: np.ndarray) -> np.ndarray:
    """One sprite."""
    number, drawing, colour = key
    return recoloured(drawings[number, drawing], colour, MAIN_HUES.get(all_things()[number].name))


def make_sprites(
    drawings: np.ndarray, places: dict[str, np.ndarray], things: int, device: str, *, workers: int = 1
) -> Sprites:
    """The sprites of the first ``things`` on the device, coloured by so many processes."""
    keys = keys_of(things)
    if workers > 1:
        with get_context("spawn").Pool(workers) as processes:
            made = processes.map(partial(coloured, drawings=drawings), keys, chunksize=-(-len(keys) // workers))
    else:
        made = [coloured(key, drawings) for key in keys]
    return Sprites(
        torch.from_numpy(np.stack(made)).to(device),
        {key: row for row, key in enumerate(keys)},
        {name: torch.from_numpy(pictures).to(device) for name, pictures in places.items()},
    )


def load_places(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of ``draw_places`` from their file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def put_together(scenes: Sequence[Scene], sprites: Sprites) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of the scenes, float (n, 3, height, width) in 0..255 on the sprites' device, and where things are in
    them, uint8 (n, MASK_CELLS, MASK_CELLS)."""
    images = torch.stack([_background(scene, sprites) for scene in scenes]).permute(0, 3, 1, 2).float()
    covered = torch.zeros_like(images[:, :1])
    ordered = [sorted(scene.things, key=lambda placed: placed.nearness) for scene in scenes]
    for layer in range(max(map(len, ordered))):
        chosen = [index for index, things in enumerate(ordered) if len(things) > layer]
        drawn = _warped([ordered[index][layer] for index in chosen], sprites, images.shape[2], images.shape[3])
        alpha = drawn[:, 3:] / 255
        images[chosen] = drawn[:, :3] + images[chosen] * (1 - alpha)
        covered[chosen] = torch.maximum(covered[chosen], alpha)
    cells = functional.adaptive_max_pool2d(covered, MASK_CELLS)[:, 0]
    return images.round().clamp(0, 255), (255 * cells).to(torch.uint8)


def _background(scene: Scene, sprites: Sprites) -> torch.Tensor:
    pictures = sprites.places[scene.place]
    nearest = min(range(len(VARIATIONS)), key=lambda number: abs(VARIATIONS[number] - scene.variation))
    return pictures[min(nearest, len(pictures) - 1), scene.place_seed % pictures.shape[1]]


def _warped(things: Sequence[Placed], sprites: Sprites, height: int, width: int) -> torch.Tensor:
    """Each thing alone on a transparent canvas: premultiplied RGBA, float (n, 4, height, width) in 0..255."""
    rows = [sprites.rows[thing_index(placed.name), placed.drawing, placed.colour] for placed in things]
    source = sprites.pixels[rows].permute(0, 3, 1, 2).float()
    small = [2 * placed.size * min(height, width) <= source.shape[2] for placed in things]
    result = torch.empty((len(things), 4, height, width), device=source.device)
    for halved in (False, True):
        chosen = [index for index, smaller in enumerate(small) if smaller == halved]
        if chosen:
            level = functional.avg_pool2d(source[chosen], 2) if halved else source[chosen]
            grid = _grid([things[index] for index in chosen], level.shape[2], height, width, level.device)
            result[chosen] = functional.grid_sample(level, grid, align_corners=True)
    return result


def _grid(things: Sequence[Placed], sprite_px: int, height: int, width: int, device: torch.device) -> torch.Tensor:
    """For each pixel of the picture, where in the sprite it comes from in -1..1: float (n, height, width, 2)."""
    side, middle = min(height, width), (sprite_px - 1) / 2
    turns = [math.radians(placed.angle) for placed in things]
    values = [
        (
            (placed.x - 0.5) * side + width / 2 - 0.5,
            (placed.y - 0.5) * side + height / 2 - 0.5,
            math.cos(turn) * sprite_px / (placed.size * side * middle),
            math.sin(turn) * sprite_px / (placed.size * side * middle),
            -1.0 if placed.mirrored else 1.0,
        )
        for placed, turn in zip(things, turns, strict=True)
    ]
    x, y, cosine, sine, mirror = torch.tensor(values, device=device).T[:, :, None, None]
    across = torch.arange(width, device=device, dtype=torch.float32)[None, None] - x
    down = torch.arange(height, device=device, dtype=torch.float32)[None, :, None] - y
    return torch.stack([mirror * (cosine * across - sine * down), sine * across + cosine * down], dim=-1)
