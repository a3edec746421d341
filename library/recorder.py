"""From a job of the list to a kept clip: generates, writes the file with its pictures, indexes it."""

import logging
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from errors import UserError
from library.clips import ClipIndex, ClipRecord
from library.job import Job, Result
from media.exports import read_frames
from settings import Settings
from settings.parsing import parse

logger = logging.getLogger(__name__)
THUMBNAIL_PX = 192
STRIP_FRAMES = 6


class FinishedClip(Protocol):
    """The parts of ``model.Clip`` that are kept."""

    @property
    def frames(self) -> np.ndarray:
        """Pixels, uint8 (frames, height, width, 3)."""

    @property
    def settings(self) -> Settings:
        """Settings that make the clip again."""

    @property
    def seconds(self) -> float:
        """Time that the clip took."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user."""

    def save(self, path: Path) -> Path:
        """Write the clip."""

    def save_control(self, path: Path) -> Path | None:
        """Write the video that steered it, if there is one."""


class Recorder:
    """Runs one job after the other; ``generate`` is ``Model.generate``."""

    def __init__(self, generate: Callable[..., FinishedClip], clips: ClipIndex, temporary: Path) -> None:
        """Keep clips in the index; where a disk is full or gone they go to the ``temporary`` folder."""
        self.generate, self.clips, self.temporary = generate, clips, temporary

    def __call__(self, job: Job, on_step: Callable[[Any], None], cancel: threading.Event) -> Result:
        """Make the clip of a job; raises UserError, Cancelled."""
        clip = self.generate(parse(job.settings), on_step=on_step, cancel=cancel, **job.files)
        facts = {"seconds": round(clip.seconds, 2), "notes": list(clip.notes), "settings": clip.settings.to_dict()}
        facts["shape"] = list(clip.frames.shape[:3])
        try:
            return self._kept(clip, job, facts)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            logger.error("a finished clip is not kept, since %s cannot be written: %s", self.clips.folder, reason)
            note = f"This clip is not kept: the folder of clips cannot be written ({reason}). Download it now."
            return self._unkept(clip, job, {**facts, "notes": [*clip.notes, note]})

    def _kept(self, clip: FinishedClip, job: Job, facts: dict[str, Any]) -> Result:
        settings = clip.settings.to_dict()
        path = self.clips.place_for(job.owner, settings["prompt"], settings["seed"], job.suffix)
        clip.save(path)
        record = self.clips.add(path)
        write_pictures(clip.frames, record)
        control = clip.save_control(record.picture("control"))
        return Result(path, record.id, {**facts, "control": None if control is None else str(control)})

    def _unkept(self, clip: FinishedClip, job: Job, facts: dict[str, Any]) -> Result:
        folder = Path(tempfile.mkdtemp(prefix="clip-", dir=self.temporary))
        return Result(clip.save(folder / f"clip.{job.suffix}"), "", facts)


def write_pictures(frames: np.ndarray, record: ClipRecord) -> None:
    """Write a clip's thumbnail and its strip of frames, side by side, beside it."""
    height, width = frames.shape[1:3]
    size = (max(1, THUMBNAIL_PX * width // max(width, height)), max(1, THUMBNAIL_PX * height // max(width, height)))
    chosen = np.unique(np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int))
    small = [Image.fromarray(frames[index]).resize(size, Image.Resampling.LANCZOS) for index in chosen]
    strip = Image.new("RGB", (size[0] * len(small), size[1]))
    for place, picture in enumerate(small):
        strip.paste(picture, (place * size[0], 0))
    for kind, picture in (("thumbnail", small[0]), ("strip", strip)):
        picture.save(record.picture(kind), quality=80)


def with_pictures(record: ClipRecord) -> ClipRecord:
    """Make the pictures of a clip whose file came from elsewhere, and return the record."""
    if not record.picture("thumbnail").exists():
        try:
            record.picture("thumbnail").parent.mkdir(exist_ok=True)
            write_pictures(read_frames(record.file)[0], record)
        except (UserError, OSError) as error:
            logger.info("no pictures of %s: %s", record.file.name, error)
    return record
