"""The two drawings of every thing as pixels: fetched from the npm registry and rasterised once, by
``python -m storybook.drawings``; loaded from one file afterwards.

The sets are openly licensed (see the package's docstring); nothing of them is kept in the repository.
"""

import argparse
import json
import logging
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from storybook.things import LEFT, all_things

logger = logging.getLogger(__name__)
SETS = ("@iconify-json/fluent-emoji-flat", "@iconify-json/noto")
# For model cards of whatever is trained on these drawings.
ATTRIBUTION = (
    "Things are drawn after two openly licensed picture sets as packaged by Iconify: Fluent Emoji Flat "
    "(https://github.com/microsoft/fluentui-emoji), copyright Microsoft Corporation, MIT licence; and Noto Emoji "
    "(https://github.com/googlefonts/noto-emoji), copyright Google LLC, Apache License 2.0. Places are drawn by this "
    "project. No drawing of either set is part of the repository."
)
FOLDER = Path(".training/storybook")
FILE = "drawings.npz"
SIDE_PX = 192
MARGIN_PX = 2


@cache
def load_drawings(path: Path = FOLDER / FILE) -> np.ndarray:
    """Premultiplied RGBA, uint8 (things, 2, SIDE_PX, SIDE_PX, 4): each drawing centred, its longer side filling the
    square, facing right where it has sides."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run python -m storybook.drawings")
    with np.load(path) as file:
        return file["drawings"]


def fetch_set(name: str, folder: Path) -> dict[str, Any]:
    """The icons of one picture set, fetched with ``npm pack`` into ``folder`` where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"{name.removeprefix('@').replace('/', '-')}-*.tgz"
    if not any(folder.glob(pattern)):
        subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(max(folder.glob(pattern))) as archive:
        file = archive.extractfile("package/icons.json")
        if file is None:
            raise FileNotFoundError(f"{name} has no icons.json")
        return json.load(file)


def rasterise(icons: dict[str, Any], icon: str, side_px: int) -> np.ndarray:
    """One icon of a set, straight RGBA uint8 (side, side, 4)."""
    import cv2
    import resvg_py

    name = icons.get("aliases", {}).get(icon, {}).get("parent", icon)
    entry = icons["icons"][name]
    width, height = entry.get("width", icons.get("width", 16)), entry.get("height", icons.get("height", 16))
    left, top = entry.get("left", 0), entry.get("top", 0)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {top} {width} {height}">{entry["body"]}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=side_px, height=side_px, skip_system_fonts=True)
    decoded = cv2.imdecode(np.frombuffer(bytes(png), np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA)


def standard(rgba: np.ndarray, facing: str) -> np.ndarray:
    """A drawing as the world keeps it: premultiplied, trimmed, centred, facing right, its longer side SIDE_PX less the
    margins."""
    import cv2

    alpha = rgba[..., 3]
    rows, columns = np.flatnonzero(alpha.max(axis=1) > 8), np.flatnonzero(alpha.max(axis=0) > 8)
    part = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    part[..., :3] *= part[..., 3:] / 255
    if facing == LEFT:
        part = part[:, ::-1]
    height, width = part.shape[:2]
    scale = (SIDE_PX - 2 * MARGIN_PX) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    part = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA)
    square = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
    top, left = (SIDE_PX - size[1]) // 2, (SIDE_PX - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = np.clip(np.rint(part), 0, 255)
    return square


def make_drawings(folder: Path) -> Path:
    """Fetch both sets, rasterise every thing, write the array; returns its file."""
    things = all_things()
    drawings = np.zeros((len(things), len(SETS), SIDE_PX, SIDE_PX, 4), np.uint8)
    for column, name in enumerate(SETS):
        icons = fetch_set(name, folder)
        for row, thing in enumerate(things):
            drawings[row, column] = standard(rasterise(icons, thing.icon, 2 * SIDE_PX), thing.facing[column])
        logger.info("%s: %d drawings", name, len(things))
    path = folder / FILE
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, drawings=drawings)
    partial.replace(path)
    return path


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m storybook.drawings", description="Fetch and rasterise the things.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = make_drawings(parser.parse_args().folder)
    logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
