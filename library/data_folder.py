"""The folder that holds everything this program keeps, for one server at a time."""

import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import filelock

from errors import UserError

logger = logging.getLogger(__name__)
APPLICATION = "text2video-zero-studio"
KEY_BYTES = 32


@dataclass(frozen=True)
class DataFolder:
    """Places inside one folder. ``trouble`` is one line for the page where nothing outlives this process, or empty."""

    path: Path
    clips: Path
    trouble: str = ""
    lock: filelock.BaseFileLock | None = None

    @property
    def database(self) -> Path:
        """Index of clips, jobs and presets."""
        return self.path / "library.sqlite3"

    @property
    def job_files(self) -> Path:
        """Uploads that waiting jobs need, one folder per job."""
        return self.path / "jobs"

    def close(self) -> None:
        """Let another server have the folder."""
        if self.lock is not None:
            self.lock.release()


def default_path() -> Path:
    """Return the platform's own place for the data of this program."""
    from platformdirs import user_data_path

    return user_data_path(APPLICATION, appauthor=False)


def open_data_folder(path: Path | None = None, clips: Path | None = None) -> DataFolder:
    """Make the folder where it is not there, and keep other servers out of it.

    Args:
        path: the folder; None for ``default_path``.
        clips: a folder of its own for finished clips; None for one inside.

    Returns:
        The folder; one that cannot be written is replaced by a temporary one, with the reason in ``trouble``.

    Raises:
        UserError: another server uses the folder.
    """
    path = default_path() if path is None else path
    try:
        folder = DataFolder(path, path / "clips" if clips is None else clips)
        for place in (folder.path, folder.clips, folder.job_files):
            place.mkdir(parents=True, exist_ok=True)
            probe_writing(place)
        lock = filelock.FileLock(path / "server.lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"{path} is used by another server: stop that one, or choose another --data-dir") from None
    except OSError as error:
        return _temporary_folder(f"{error.filename or path}: {error.strerror or error}")
    return DataFolder(folder.path, folder.clips, lock=lock)


def probe_writing(folder: Path) -> None:
    """Raise OSError where no file can be written in a folder."""
    probe = folder / f".writable-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"x")
    finally:
        probe.unlink(missing_ok=True)


def _temporary_folder(reason: str) -> DataFolder:
    trouble = f"Clips and jobs are kept only until this server stops ({reason})."
    logger.warning("%s", trouble)
    path = Path(mkdtemp(prefix="text2video-data-"))
    folder = DataFolder(path, path / "clips", trouble)
    for place in (folder.clips, folder.job_files):
        place.mkdir()
    return folder


def read_key(folder: DataFolder) -> bytes:
    """Return the secret that signs visitors' cookies, made on first use and readable by its owner alone."""
    path = folder.path / "cookie.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
    return key
