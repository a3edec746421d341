"""Sheets of pictures for a person to look at."""

from collections.abc import Sequence

import numpy as np


def contact_sheet(images: np.ndarray, right: Sequence[bool] | None = None, columns: int = 10) -> np.ndarray:
    """Return the pictures in a grid, uint8 RGB; with ``right``, a red bar stands above each that is wrong."""
    cells = []
    for index, image in enumerate(images):
        cell = np.pad(image, ((6, 2), (2, 2), (0, 0)), constant_values=255)
        if right is not None and not right[index]:
            cell[:5, 2:-2] = (220, 0, 0)
        cells.append(cell)
    while len(cells) % columns:
        cells.append(np.full_like(cells[0], 255))
    return np.concatenate(
        [np.concatenate(cells[start : start + columns], axis=1) for start in range(0, len(cells), columns)]
    )
