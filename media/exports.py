"""A finished clip in other formats: MP4, GIF, animated WebP, WebM, and its frames as PNG in a ZIP."""

import shutil
import zipfile
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from errors import InvalidVideo
from media.metadata import read_metadata
from media.video_io import SUFFIXES, probe, read_video, write_video

EXPORTS = ("mp4", "gif", "webp", "webm", "png")
MOST_FRAMES = 1024


def read_frames(path: Path) -> tuple[np.ndarray, float]:
    """Return the frames of a clip as they are, uint8 (frames, height, width, 3), and its speed in frames per second.

    Raises InvalidVideo.
    """
    facts = probe(path)
    return read_video(path, size=(facts.width, facts.height), fps=facts.fps, num_frames=MOST_FRAMES), facts.fps


def export(clip: Path, kind: str, folder: Path, name: str) -> Path:
    """Write a clip of this program in another format, and return the path ``folder/name.<suffix>``.

    Args:
        kind: one of EXPORTS; ``png`` gives a ZIP of the frames.

    Raises:
        ValueError: another kind.
        InvalidVideo: the clip cannot be read.
        OSError: the folder cannot be written.
    """
    if kind not in EXPORTS:
        raise ValueError(f"kind: one of {', '.join(EXPORTS)}, not {kind!r}")
    if clip.suffix == f".{kind}":
        return Path(shutil.copyfile(clip, folder / f"{name}.{kind}"))
    frames, fps = read_frames(clip)
    target = folder / f"{name}.{'zip' if kind == 'png' else kind}"
    if f".{kind}" in SUFFIXES:
        return write_video(target, frames, round(fps), _metadata(clip))
    if kind == "png":
        _write_pngs(target, frames)
    elif kind == "webm":
        quality = ["-crf", "24", "-b:v", "0"]
        options = {"fps": fps, "codec": "libvpx-vp9", "macro_block_size": 2, "output_params": quality}
        imageio.imwrite(target, frames, plugin="FFMPEG", **options)  # type: ignore[call-overload]
    else:
        imageio.imwrite(target, frames, plugin="pillow", duration=round(1000 / fps), loop=0, quality=90)
    return target


def _metadata(clip: Path) -> dict[str, str]:
    try:
        return read_metadata(clip)
    except InvalidVideo:
        return {}


def _write_pngs(target: Path, frames: np.ndarray) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number, frame in enumerate(frames):
            archive.writestr(f"frame-{number:04d}.png", imageio.imwrite("<bytes>", frame, extension=".png"))
