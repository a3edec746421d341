"""Pack what a graphics card elsewhere needs for a slice of the course into one folder, and take its parts back.

``python -m training.storybook.pack`` makes the folder: drawings and places as arrays, the packages that are missing
there for Python 3.12, and ``run.sh``, which runs a slice there from the root of this repository and leaves what it made
as at most eight parts below 16 MB. ``--take PARTS`` puts those parts back into the state of the course.
"""

import argparse
import io
import logging
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.command_line import positive
from training.storybook.course import SHARPENED, SHARPENING

logger = logging.getLogger(__name__)
FOLDER = Path(".training/storybook-card")
WORK = Path(".training/storybook")
PART_BYTES = 15_900_000
PART = "storybook.tar.part"
WHEELS = ("diffusers==0.42.1", "einops==0.8.2", "importlib-metadata", "zipp")
STATES = ("denoiser-", SHARPENING)  # how the files of unfinished stages begin
RUN = """#!/usr/bin/env bash
# Run a slice of the storybook's course on this machine's card: run.sh MINUTES OUT, from the repository's root.
set -e
here=$(cd "$(dirname "$0")" && pwd)
packages=$(mktemp -d)
for wheel in "$here"/wheels/*.whl; do python -m zipfile -e "$wheel" "$packages"; done
export PYTHONPATH="$packages:$PWD:$here/instead" TOKENIZERS_PARALLELISM=false
python -m training.storybook --device cuda --minutes "$1" --work "$here/work" --packed "$here"
python -m training.storybook.pack --give "$here/work" --folder "$2"
"""
# Coloured sprites need three functions of OpenCV; where it is missing these stand in for them.
INSTEAD = '''"""The few functions of OpenCV that colouring sprites needs, where there is none."""

import numpy as np

COLOR_RGB2HSV = INTER_AREA = None


def split(pixels):
    return tuple(np.ascontiguousarray(pixels[..., channel]) for channel in range(pixels.shape[-1]))


def cvtColor(pixels, code):
    red, green, blue = split(pixels)
    value = pixels.max(axis=-1)
    chroma = value - pixels.min(axis=-1)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red, (green - blue) / safe, np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    hue = np.where(chroma > 0, 60 * hue % 360, 0)
    return np.stack([hue, chroma / np.maximum(value, 1e-12), value], axis=-1).astype(np.float32)
'''


def make(folder: Path, pictures: int) -> None:
    """Write the folder that travels."""
    from storybook.drawings import FILE
    from storybook.drawings import FOLDER as DRAWN
    from training.storybook.data import SIZE_PX
    from training.storybook.sprites import draw_places

    (folder / "instead").mkdir(parents=True, exist_ok=True)
    (folder / "instead" / "cv2.py").write_text(INSTEAD, encoding="utf-8")
    shutil.copy(DRAWN / FILE, folder / FILE)
    places: dict[str, Any] = dict(draw_places(pictures, SIZE_PX))
    np.savez_compressed(folder / "places.npz", **places)
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    fetch += ["--python-version", "3.12", "--dest", str(folder / "wheels"), *WHEELS]
    subprocess.run(fetch, check=True)
    script = folder / "run.sh"
    script.write_text(RUN, encoding="utf-8")
    script.chmod(0o755)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    logger.info("%s: %.1f MB", folder, size / 1e6)


def slim(state: Any, kind: torch.dtype = torch.float16) -> Any:
    """The same state with its numbers in half precision: an optimizer's in bfloat16, which keeps their range."""
    if isinstance(state, torch.Tensor):
        return state.to(kind) if state.dtype == torch.float32 and state.numel() > 1 else state
    if isinstance(state, Mapping):
        return {name: slim(value, torch.bfloat16 if name == "optimizer" else kind) for name, value in state.items()}
    return [slim(value, kind) for value in state] if isinstance(state, list) else state


def full(state: Any) -> Any:
    """A slim state in single precision again."""
    if isinstance(state, torch.Tensor):
        return state.float() if state.dtype in (torch.float16, torch.bfloat16) else state
    if isinstance(state, Mapping):
        return {name: full(value) for name, value in state.items()}
    return [full(value) for value in state] if isinstance(state, list) else state


def made_in(work: Path) -> list[Path]:
    """The latest denoiser of ``work``, the states of unfinished stages, and an autoencoder of the card's own."""
    denoisers = sorted(work.glob("unet-*.pt"), key=lambda path: path.stat().st_mtime)
    done = {path.name.replace("unet-", "denoiser-") for path in denoisers}
    if (work / SHARPENED).exists():
        done.add(f"{SHARPENING}.pt")
    unfinished = [path for path in work.glob("*.pt") if path.name.startswith(STATES) and path.name not in done]
    words = [work / "clip", work / "tokenizer"] if (work / "clip.pt").exists() else []  # else they came with it
    return [*denoisers[-1:], *unfinished, *work.glob(SHARPENED), *(path for path in words if path.exists())]


def give(work: Path, folder: Path) -> list[Path]:
    """Write what a slice made as parts of at most PART_BYTES into ``folder``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in made_in(work):
            if path.suffix == ".pt":
                half = io.BytesIO()
                torch.save(slim(torch.load(path, map_location="cpu", weights_only=True)), half)
                entry = tarfile.TarInfo(path.name)
                entry.size = half.tell()
                half.seek(0)
                archive.addfile(entry, half)
            else:
                archive.add(path, path.name)
    whole = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, start in enumerate(range(0, len(whole), PART_BYTES)):
        paths.append(folder / f"{PART}{number:02d}")
        paths[-1].write_bytes(whole[start : start + PART_BYTES])
    logger.info("%d parts, %.1f MB", len(paths), len(whole) / 1e6)
    return paths


def take(folder: Path, work: Path) -> None:
    """Put the parts in ``folder`` together and their files into ``work``, states in single precision."""
    whole = b"".join(path.read_bytes() for path in sorted(folder.glob(f"{PART}*")))
    work.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        archive.extractall(work, filter="data")
        names = [name for name in archive.getnames() if name.endswith(".pt")]
    for name in names:
        torch.save(full(torch.load(work / name, map_location="cpu", weights_only=True)), work / name)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="what travels is written here")
    parser.add_argument("--pictures", type=positive, default=50, help="of each place, for each variation")
    parser.add_argument("--give", type=Path, metavar="WORK", help="write parts of this state into --folder instead")
    parser.add_argument("--take", type=Path, metavar="PARTS", help="read the parts in this folder into --work instead")
    parser.add_argument("--work", type=Path, default=WORK, help="the state of the course")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.give is not None:
        give(options.give, options.folder)
    elif options.take is not None:
        take(options.take, options.work)
    else:
        make(options.folder, options.pictures)


if __name__ == "__main__":
    main()
