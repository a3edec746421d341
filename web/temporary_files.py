"""Temporary files of a server: in one folder of its own, swept at the start, by age and by size, and gone at the end.

Gradio's uploads and copies, the clips of running jobs and what libraries leave there all lie in it. A server that was
killed leaves its folder behind, and the next one to start removes it.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)
FOLDER_VARIABLE = "GRADIO_TEMP_DIR"  # where Gradio looks; here the folder that holds those of all servers
PREFIX, LOCK = "server-", ".lock"
KEEP_SECONDS = 6 * 3600  # uploads, and copies of finished clips
KEEP_PARTS_SECONDS = 15 * 60  # of uploads under way; a whole one takes less (see limits.py)
PARTS = "tmp*"
SWEEP_EVERY_SECONDS = 600
QUOTA_BYTES = 10 * 10**9
DISK_SHARE = 0.5  # of what was free at the start, at most


class TemporaryFiles:
    """The folder of one server, which holds a lock for as long as it lives."""

    opened: ClassVar[list[TemporaryFiles]] = []  # of this process, for an end that no ``with`` sees

    def __init__(self, base: Path, quota_bytes: int = QUOTA_BYTES) -> None:
        """Make the folder in ``base``, and remove those of servers that are gone; raises OSError."""
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_abandoned(base)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = FileLock(_lock_of(self.folder))
        self._lock.acquire(timeout=0)
        self.quota_bytes = min(quota_bytes, int(DISK_SHARE * shutil.disk_usage(self.folder).free))
        self._closed = threading.Event()
        self.opened.append(self)

    def close(self) -> None:
        """Remove the folder and all that is in it; once is enough."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.opened.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        _lock_of(self.folder).unlink(missing_ok=True)

    def sweep(self, now: float | None = None) -> None:
        """Remove parts of uploads that ended half-way, what is old, and beyond the quota the oldest files that are
        not parts of uploads under way."""
        now = time.time() if now is None else now
        files = sorted(_files(self.folder))
        excess = sum(size for _, size, _ in files) - self.quota_bytes
        removed = 0
        for changed, size, path in files:
            is_part = path.parent == self.folder and path.match(PARTS)
            age = now - changed
            if age > (KEEP_PARTS_SECONDS if is_part else KEEP_SECONDS) or (excess > 0 and age > KEEP_PARTS_SECONDS):
                path.unlink(missing_ok=True)
                excess, removed = excess - size, removed + 1
        _remove_empty_folders(self.folder, before=now - KEEP_PARTS_SECONDS)
        if removed:
            logger.info("removed %d temporary files", removed)

    def keep_swept(self) -> None:
        """Sweep from a thread of its own, until the folder is closed."""

        def sweep_again_and_again() -> None:
            while not self._closed.wait(SWEEP_EVERY_SECONDS):
                try:
                    self.sweep()
                except OSError as error:
                    logger.warning("temporary files could not be swept: %s", error.strerror)

        threading.Thread(target=sweep_again_and_again, name="sweeper", daemon=True).start()


@contextmanager
def own_folder() -> Iterator[TemporaryFiles]:
    """Inside, all temporary files of this process lie in a folder of their own, which is swept and at last removed.

    Enter it before anything asks for Gradio's folder; raises OSError.
    """
    before = os.environ.get(FOLDER_VARIABLE), tempfile.tempdir
    usual = Path(tempfile.gettempdir()) / f"text2video-zero-studio-{os.getuid() if hasattr(os, 'getuid') else 0}"
    files = TemporaryFiles(Path(before[0] or usual).expanduser())
    os.environ[FOLDER_VARIABLE] = tempfile.tempdir = str(files.folder)
    files.keep_swept()
    try:
        yield files
    finally:
        tempfile.tempdir = before[1]
        os.environ.pop(FOLDER_VARIABLE)
        os.environ |= {} if before[0] is None else {FOLDER_VARIABLE: before[0]}
        files.close()


def close_all() -> None:
    """Remove the folders of this process, for an end that leaves everything else where it is."""
    for files in list(TemporaryFiles.opened):
        files.close()


def room_bytes(folder: Path, quota_bytes: int = QUOTA_BYTES) -> int:
    """Return the bytes that may still come into a folder of temporary files, by the quota and by the disk."""
    taken = sum(size for _, size, _ in _files(folder))
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return min(quota_bytes - taken, shutil.disk_usage(there).free)


def remove_abandoned(base: Path) -> None:
    """Remove the folders of servers that are gone: nobody holds their locks."""
    for folder in base.glob(f"{PREFIX}*"):
        if not folder.is_dir() or folder.is_symlink():
            continue
        lock = FileLock(_lock_of(folder))
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + LOCK)


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file below was changed last, its size, and its path; files that vanish meanwhile are left out."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                facts = path.lstat()
            except OSError:
                continue
            yield facts.st_mtime, facts.st_size, path


def _remove_empty_folders(folder: Path, *, before: float) -> None:
    """Remove the folders below that hold nothing and were last changed before a time."""
    for place, below, names in os.walk(folder, topdown=False):
        path = Path(place)
        if path != folder and not names and not below and path.stat().st_mtime < before:
            path.rmdir()
