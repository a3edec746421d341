"""Captioned clips to learn from: found in a folder, read whatever their size and speed, kept as latents on disk.

It knows files, captions and an autoencoder, and nothing of the network that learns from them. What cannot be read is
reported and left out; nothing stops for it.
"""

import hashlib
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from diffusers import AutoencoderKL
from einops import rearrange

from errors import InvalidVideo, UserError
from media.video_io import probe, read_video
from settings.user_files import read_text
from training.toyworld.autoencoder import fingerprint
from training.toyworld.text import as_pixels
from utils import granted_cores

logger = logging.getLogger(__name__)
SUFFIXES = (".gif", ".mp4", ".mov", ".webm", ".mkv", ".avi")
LONGEST_S = 10.0  # of a longer video only the beginning is used
MIN_READ_FPS, MAX_READ_FPS = 0.01, 25.0  # the slowest that read_video can be asked for
FEW = 32  # files that are read sooner than other processes would have started
AHEAD = 4  # clips that each process may have read before they are wanted
DIGESTED_BYTES = 1 << 16


@dataclass(frozen=True)
class CaptionedFile:
    """A video file and its captions."""

    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """Common shape of clips: their number of ``frames``, squares of ``size_px``."""

    frames: int
    size_px: int


Task = tuple[Path, Shape]  # of reading one clip


@dataclass(frozen=True)
class LatentClips:
    """Clips ready to learn from.

    Args:
        latents: float16 (clips, frames, channels, height, width), scaled.
        captions: of each clip.
        name: a name that belongs to no other clips.
    """

    latents: np.ndarray
    captions: list[list[str]]
    name: str

    def __len__(self) -> int:
        return len(self.captions)


def find_clips(folder: Path) -> list[CaptionedFile]:
    """Return the videos in ``folder`` and below that have a caption.

    Captions stand in a ``.txt`` of the video's name beside it, or in lines ``file<TAB>caption`` of any ``.tsv`` in the
    folder itself. ``file`` is the path in the folder; a bare name, or an address ending in one, is of any video of that
    name that has no line with its path.

    Raises UserError where there is no such folder, or no video in it has a caption.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: name one with GIFs or MP4s and their captions")
    written = captions_by_path(folder)
    found = [CaptionedFile(path, captions_of(path, folder, written)) for path in videos_in(folder)]
    captioned = [clip for clip in found if clip.captions]
    for clip in found:
        if not clip.captions:
            logger.warning("%s: skipped, it has no caption", clip.path.name)
    if not captioned:
        raise UserError(
            f"no captioned video in {folder}: put a .txt beside each GIF or MP4, or into the folder a .tsv of "
            "file<TAB>caption, with each file's path in the folder"
        )
    warn_of_shared_names([clip.path for clip in captioned], folder, written)
    return captioned


def videos_in(folder: Path) -> list[Path]:
    """Return every file in ``folder`` and below with a video's suffix; links to nothing and folders are reported."""
    named = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in named:
        if not path.is_file():
            logger.warning("%s: skipped, there is no such file", path.name)
    return [path for path in named if path.is_file()]


def captions_by_path(folder: Path) -> dict[str, list[str]]:
    """Read the captions of every ``.tsv`` in the folder, by path in the folder, or by bare name.

    The bare name is that of lines with an address or with no more than it. Lines without a tab or a caption are left
    out.
    """
    captions: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.tsv")):
        lines = read_text(path, errors="replace").splitlines()
        for name, tab, text in (line.partition("\t") for line in lines):
            if tab and text.strip():
                place = PurePosixPath(name.strip())
                captions.setdefault(place.name if "://" in name else str(place), []).append(text.strip())
    return captions


def captions_of(path: Path, folder: Path, written: dict[str, list[str]]) -> tuple[str, ...]:
    """Return the captions of one video: each line of the ``.txt`` beside it, and those of the ``.tsv`` files."""
    beside = path.with_suffix(".txt")
    lines = read_text(beside, errors="replace").splitlines() if beside.is_file() else []
    elsewhere = written.get(written_as(path, folder, written), [])
    return tuple([*(line.strip() for line in lines if line.strip()), *elsewhere])


def written_as(path: Path, folder: Path, written: dict[str, list[str]]) -> str:
    """Return the key of a video's captions in ``written``: its path in the folder, or else its bare name."""
    inside = path.relative_to(folder).as_posix()
    return inside if inside in written else path.name


def warn_of_shared_names(videos: list[Path], folder: Path, written: dict[str, list[str]]) -> None:
    """Log each bare name that stands for several videos, which then share its captions."""
    users = Counter(name for path in videos if (name := written_as(path, folder, written)) in written)
    for name, count in users.items():
        if count > 1:
            logger.warning("%s: %d videos are called so and share its captions; write their paths instead", name, count)


def read_clip(path: Path, shape: Shape) -> np.ndarray:
    """Read frames evenly spaced over the video's first ten seconds: uint8 (frames, size, size, 3).

    Of each frame the middle square is taken. A video with fewer frames than asked for repeats some.

    Raises InvalidVideo where it cannot be read.
    """
    facts = probe(path)
    scale = shape.size_px / min(facts.width, facts.height)
    width, height = (max(shape.size_px, round(side * scale)) for side in (facts.width, facts.height))
    fps = min(max(facts.fps, MIN_READ_FPS), MAX_READ_FPS)
    longest = max(1, round(LONGEST_S * fps))
    frames = read_video(path, size=(width, height), fps=fps, num_frames=longest)
    top, left = (height - shape.size_px) // 2, (width - shape.size_px) // 2
    square = frames[:, top : top + shape.size_px, left : left + shape.size_px]
    return square[np.linspace(0, len(frames) - 1, shape.frames).round().astype(int)]


def try_to_read(task: Task) -> np.ndarray | str:
    """Return the clip, or the reason why it cannot be used."""
    try:
        return read_clip(*task)
    except InvalidVideo as error:
        return str(error)


def readable_clips(files: list[CaptionedFile], shape: Shape) -> Iterator[tuple[CaptionedFile, np.ndarray]]:
    """Yield every file that can be read, with its frames, in order.

    Many files are read ahead on all processors that this container may use.
    """
    tasks = [(file.path, shape) for file in files]
    with ExitStack() as stack:
        results: Iterator[np.ndarray | str]
        if len(files) < FEW:
            results = map(try_to_read, tasks)
        else:
            cores = granted_cores() or os.cpu_count() or 1
            pool = stack.enter_context(ProcessPoolExecutor(cores, get_context("spawn")))
            results = read_ahead(lambda task: pool.submit(try_to_read, task), tasks, AHEAD * cores)
        for number, (file, frames) in enumerate(zip(files, results, strict=True), 1):
            if isinstance(frames, str):
                logger.warning("%s: skipped, %s", file.path.name, frames)
            else:
                yield file, frames
            if number % 500 == 0 or number == len(files):
                logger.info("read %d of %d videos", number, len(files))


def read_ahead(
    submit: Callable[[Task], "Future[np.ndarray | str]"], tasks: Iterable[Task], window: int
) -> Iterator[np.ndarray | str]:
    """Yield the results in order; at most ``window`` are under way or waiting to be taken, since clips are large."""
    waiting: deque[Future[np.ndarray | str]] = deque()
    for task in tasks:
        if len(waiting) == window:
            yield waiting.popleft().result()
        waiting.append(submit(task))
    while waiting:
        yield waiting.popleft().result()


@torch.no_grad()
def encode_clip(autoencoder: AutoencoderKL, frames: np.ndarray) -> np.ndarray:
    """Encode a clip to scaled latents: float16 (frames, channels, height, width)."""
    pixels = as_pixels(frames).to(autoencoder.device)
    with torch.autocast(autoencoder.device.type, torch.bfloat16):
        mean = autoencoder.encode(pixels).latent_dist.mean
    return (mean.float() * autoencoder.config.scaling_factor).half().cpu().numpy()


def load_latents(work: Path, folder: Path, shape: Shape, autoencoder: AutoencoderKL) -> LatentClips:
    """Return the latents of all clips in ``folder``, from ``work`` if the same clips were encoded before.

    Raises UserError where no file can be used.
    """
    files = find_clips(folder)
    path = work / f"clips-{content_key(folder, files, shape)}-{fingerprint(autoencoder)}.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        encode_files(path, files, shape, autoencoder)
    captions = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return LatentClips(np.load(path, mmap_mode="r"), captions, path.stem)


def content_key(folder: Path, files: list[CaptionedFile], shape: Shape) -> str:
    """Return a short name of the files' contents, paths in ``folder``, captions and shape; a copy has the same."""
    facts = [
        (file.path.relative_to(folder).as_posix(), file.path.stat().st_size, beginning(file.path), file.captions)
        for file in files
    ]
    return hashlib.blake2b(json.dumps([asdict(shape), facts]).encode(), digest_size=6).hexdigest()


def beginning(path: Path) -> str:
    """Return a digest of a file's first 64 KiB; empty if it cannot be read, which reading it as a video reports."""
    try:
        with path.open("rb") as file:
            return hashlib.blake2b(file.read(DIGESTED_BYTES), digest_size=8).hexdigest()
    except OSError:
        return ""


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
    """Reorder (clips, frames, channels, height, width) for a UNet3DConditionModel: channels before frames."""
    return rearrange(latents, "b f c h w -> b c f h w")
