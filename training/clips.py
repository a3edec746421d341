"""Captioned clips to learn from: found in a folder, read whatever their size and speed, kept as latents on disk.

It knows files, captions and an autoencoder, and nothing of the network that learns from them. What cannot be read is
reported and left out; nothing stops for it.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange

from errors import InvalidVideo, UserError
from training.toyworld.autoencoder import fingerprint
from training.toyworld.text import as_pixels
from video_io import probe, read_video

logger = logging.getLogger(__name__)
SUFFIXES = (".gif", ".mp4", ".mov", ".webm", ".mkv", ".avi")
LONGEST_S = 10.0  # of a longer video only the beginning is used
MAX_READ_FPS = 25.0
FEW = 32  # files that are read sooner than other processes would have started


@dataclass(frozen=True)
class CaptionedFile:
    """A video file and all that is said about it."""

    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """What clips are brought to: ``frames``, and a square of ``size_px``."""

    frames: int
    size_px: int


@dataclass(frozen=True)
class LatentClips:
    """Clips ready to learn from: ``latents`` float16 (clips, frames, channels, height, width), scaled; of each clip
    its ``captions``; a ``name`` that belongs to no other clips."""

    latents: np.ndarray
    captions: list[list[str]]
    name: str

    def __len__(self) -> int:
        return len(self.captions)


def find_clips(folder: Path) -> list[CaptionedFile]:
    """The videos in ``folder`` and below that have a caption: in a ``.txt`` of their name beside them, or in a line
    ``file<TAB>caption`` of any ``.tsv`` in the folder itself, where ``file`` may be an address ending in the name.

    Raises UserError where there is no such folder, or no video in it has a caption.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name one with GIFs or MP4s and their captions")
    written = captions_by_name(folder)
    videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = [CaptionedFile(path, captions_of(path, written)) for path in videos]
    captioned = [clip for clip in found if clip.captions]
    for clip in found:
        if not clip.captions:
            logger.warning("%s: skipped, it has no caption", clip.path.name)
    if not captioned:
        raise UserError(
            f"no captioned video in {folder}: put a .txt beside each GIF or MP4, or a .tsv of file<TAB>caption"
        )
    return captioned


def captions_by_name(folder: Path) -> dict[str, list[str]]:
    """Captions by file name, from every ``.tsv`` in the folder; lines without a tab or a caption are left out."""
    captions: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.tsv")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for name, tab, text in (line.partition("\t") for line in lines):
            if tab and text.strip():
                captions.setdefault(name.strip().rpartition("/")[2], []).append(text.strip())
    return captions


def captions_of(path: Path, written: dict[str, list[str]]) -> tuple[str, ...]:
    """The captions of one video: each line of the ``.txt`` beside it, and what is written elsewhere."""
    beside = path.with_suffix(".txt")
    lines = beside.read_text(encoding="utf-8", errors="replace").splitlines() if beside.is_file() else []
    return tuple([*(line.strip() for line in lines if line.strip()), *written.get(path.name, [])])


def read_clip(path: Path, shape: Shape) -> np.ndarray:
    """Frames evenly spaced over the video (its first ten seconds), the middle square of each: uint8
    (frames, size, size, 3). A video with fewer frames than asked for repeats some.

    Raises InvalidVideo where it cannot be read.
    """
    facts = probe(path)
    scale = shape.size_px / min(facts.width, facts.height)
    width, height = (max(shape.size_px, round(side * scale)) for side in (facts.width, facts.height))
    fps = min(facts.fps, MAX_READ_FPS)
    longest = max(1, round(LONGEST_S * fps))
    frames = read_video(path, size=(width, height), fps=fps, num_frames=longest)
    top, left = (height - shape.size_px) // 2, (width - shape.size_px) // 2
    square = frames[:, top : top + shape.size_px, left : left + shape.size_px]
    return square[np.linspace(0, len(frames) - 1, shape.frames).round().astype(int)]


def try_to_read(task: tuple[Path, Shape]) -> np.ndarray | str:
    """The clip, or why it cannot be used."""
    try:
        return read_clip(*task)
    except InvalidVideo as error:
        return str(error)


def readable_clips(files: list[CaptionedFile], shape: Shape) -> Iterator[tuple[CaptionedFile, np.ndarray]]:
    """Every file that can be read, with its frames, in order; where there are many, read ahead on all processors."""
    tasks = [(file.path, shape) for file in files]
    with ExitStack() as stack:
        results: Iterator[np.ndarray | str]
        if len(files) < FEW:
            results = map(try_to_read, tasks)
        else:
            results = stack.enter_context(get_context("spawn").Pool()).imap(try_to_read, tasks, chunksize=8)
        for number, (file, frames) in enumerate(zip(files, results, strict=True), 1):
            if isinstance(frames, str):
                logger.warning("%s: skipped, %s", file.path.name, frames)
            else:
                yield file, frames
            if number % 500 == 0 or number == len(files):
                logger.info("read %d of %d videos", number, len(files))


@torch.no_grad()
def encode_clip(autoencoder: AutoencoderKL, frames: np.ndarray) -> np.ndarray:
    """Scaled latents of a clip: float16 (frames, channels, height, width)."""
    pixels = as_pixels(frames).to(autoencoder.device)
    with torch.autocast(autoencoder.device.type, torch.bfloat16):
        mean = autoencoder.encode(pixels).latent_dist.mean
    return (mean.float() * autoencoder.config.scaling_factor).half().cpu().numpy()


def load_latents(work: Path, folder: Path, shape: Shape, autoencoder: AutoencoderKL) -> LatentClips:
    """The latents of all clips in ``folder``, from ``work`` where these very files were encoded before.

    Raises UserError where no file can be used.
    """
    files = find_clips(folder)
    path = work / f"clips-{content_key(files, shape)}-{fingerprint(autoencoder)}.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        encode_files(path, files, shape, autoencoder)
    captions = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return LatentClips(np.load(path, mmap_mode="r"), captions, path.stem)


def content_key(files: list[CaptionedFile], shape: Shape) -> str:
    """A short name for these files with these captions, brought to this shape."""
    facts = [(file.path.name, file.path.stat().st_size, file.path.stat().st_mtime_ns, file.captions) for file in files]
    return hashlib.blake2b(json.dumps([asdict(shape), facts]).encode(), digest_size=6).hexdigest()


def encode_files(path: Path, files: list[CaptionedFile], shape: Shape, autoencoder: AutoencoderKL) -> None:
    """Write the latents as ``path`` and the captions beside them; both appear when they are whole."""
    latents, captions = [], []
    for file, frames in readable_clips(files, shape):
        latents.append(encode_clip(autoencoder, frames))
        captions.append(list(file.captions))
    if not latents:
        raise UserError(f"none of the {len(files)} captioned videos can be read; the reasons stand above")
    logger.info("%d clips to learn from, %d files skipped", len(latents), len(files) - len(latents))
    path.with_suffix(".json").write_text(json.dumps(captions), encoding="utf-8")
    partial = path.with_suffix(".partial")
    with partial.open("wb") as target:
        np.save(target, np.stack(latents))
    partial.replace(path)


def as_network_input(latents: torch.Tensor) -> torch.Tensor:
    """(clips, frames, channels, height, width) to what a UNet3DConditionModel takes: channels before frames."""
    return rearrange(latents, "b f c h w -> b c f h w")
