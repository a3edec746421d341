"""Motion in the latents: a global translation that grows with the frame (arXiv 2303.13439, section 3.3.1).

Latents are moved by whole cells: blending neighbours would average their noise away. Which cell is taken is
computed exactly as the authors' chain of a 512-cell flow field, its bilinear reduction and ``grid_sample`` with
nearest neighbour and reflection comes out, without building any of it.
"""

from collections.abc import Sequence

import torch

# Strength 1 is one 512th of the frame's side per frame: the authors' flow field is 512 cells wide at any size.
UNITS_PER_SIDE = 512


def motion_field(places: int | Sequence[float], strength_x: float, strength_y: float) -> torch.Tensor:
    """The shift of every frame against the first (section 3.3.1: delta^k = lambda (k - 1) delta).

    Args:
        places: the place in time of every frame, 0 for one that stays; or how many frames from 0 on.
        strength_x, strength_y: 512ths of the frame's width and height per frame.

    Returns:
        float64 (frames, 2): how far to the right and down each frame *looks*, as fractions of width and
        height. The content therefore moves to the left and up where strengths are positive.
    """
    places = range(places) if isinstance(places, int) else places
    frames = torch.tensor(list(places), dtype=torch.float64)
    return frames[:, None] * torch.tensor([strength_x, strength_y], dtype=torch.float64) / UNITS_PER_SIDE


def warp(latents: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Latents as seen through a motion field: cell j shows what was at j + shift, mirrored at the border.

    Args:
        latents: (frames, channels, height, width).
        shifts: (frames, 2), to the right and down, fractions of width and height.

    Returns:
        (frames, channels, height, width), every value one of the input's own.
    """
    height, width = latents.shape[-2:]
    warped = []
    for frame, (right, down) in zip(latents, shifts.tolist(), strict=True):
        rows = source_cells(height, down).to(latents.device)
        columns = source_cells(width, right).to(latents.device)
        warped.append(frame[:, rows][:, :, columns])
    return torch.stack(warped) if warped else latents


def source_cells(count: int, shift: float) -> torch.Tensor:
    """Return the one of ``count`` cells that each cell shows after a shift by a fraction of the side: int64 (count,).

    The half-cell of the 512-cell flow field (count / 1024 cells) is part of the authors' arithmetic.
    """
    position = torch.arange(count, dtype=torch.float64) + shift * count - count / (2 * UNITS_PER_SIDE)
    if shift == 0:
        position = torch.arange(count, dtype=torch.float64)
    # Mirror at the outer edges of the first and the last cell, then take the nearest cell.
    folded = (position + 0.5) % (2 * count)
    folded = torch.minimum(folded, 2 * count - folded) - 0.5
    return folded.clamp(0, count - 1).round().long()
