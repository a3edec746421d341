"""Finished clips on disk and their index, which can be rebuilt from the files at any time.

A clip is ``<prompt>-<seed>-<token>.mp4`` or ``.gif`` with its settings inside. Those of the machine's own user lie in
the folder of clips itself, those of a visitor in ``visitors/<owner>/``; small pictures of them lie in ``.pictures``.
"""

import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import UserError
from library.database import Database
from media.metadata import read_metadata
from media.video_io import SUFFIXES
from settings.user_files import words_for_name

logger = logging.getLogger(__name__)
LOCAL = "local"  # the owner on a page that only this machine reaches
PICTURES = ".pictures"
VISITORS = "visitors"
PAGE_SIZE = 20
MAX_SEARCH_CHARS = 200
ReadMetadata = Callable[[Path], Mapping[str, str]]
_WILDCARDS = re.compile(r"[%_\\]")  # of SQL's LIKE
_TOKEN = re.compile(r"-([0-9a-f]{16})$")


@dataclass(frozen=True)
class ClipRecord:
    """One finished clip: ``id`` an unguessable token, ``file`` where it lies, ``created`` seconds since 1970."""

    id: str
    owner: str
    file: Path
    created: float
    mode: str
    model: str
    prompt: str
    seed: int
    size_bytes: int
    settings: dict[str, Any]

    @property
    def download_name(self) -> str:
        """The file's name without the token."""
        return _TOKEN.sub("", self.file.stem) + self.file.suffix

    def picture(self, kind: str) -> Path:
        """Path of a small picture, ``thumbnail`` or ``strip``; or of the ``control`` video; it may be absent."""
        folder = self.file.parent / PICTURES
        return folder / f"{self.id}-{kind}.{'mp4' if kind == 'control' else 'webp'}"


@dataclass(frozen=True)
class Limits:
    """Limits of the library: the oldest clips beyond an age or a size in bytes are deleted; None keeps all."""

    days: float | None = None
    size_bytes: int | None = None


class ClipIndex:
    """Clips of all owners; every question names the owner, and answers with nothing of others."""

    def __init__(self, folder: Path, database: Database, read: ReadMetadata = read_metadata) -> None:
        """Index the clips of a folder; ``read`` gives the metadata inside a file."""
        self.folder, self.database, self.read = folder, database, read
        if database.fresh:
            self.rebuild()
        else:
            self.catch_up()

    def place_for(self, owner: str, prompt: str, seed: int, suffix: str) -> Path:
        """Return the path at which a new clip is to be written, with a new token in its name; its folder exists."""
        token, folder = secrets.token_hex(8), self.folder_of(owner)
        words = words_for_name(prompt) or "clip"
        return folder / f"{words}-{seed}-{token}.{suffix}"

    def folder_of(self, owner: str) -> Path:
        """Return the folder of an owner's files; it exists, and a folder for pictures in it."""
        folder = self.folder if owner == LOCAL else self.folder / VISITORS / owner
        self.picture_folder(folder).mkdir(parents=True, exist_ok=True)
        return folder

    @staticmethod
    def picture_folder(folder: Path) -> Path:
        """Return the folder of what is shown of the files in a folder."""
        return folder / PICTURES

    def add(self, path: Path) -> ClipRecord:
        """Index a clip that is there; raises InvalidVideo where the file carries no settings of this program."""
        record = self._record(path)
        plain = (record.id, record.owner, str(path.relative_to(self.folder)), record.created, record.mode)
        more = (record.model, record.prompt, record.seed, record.size_bytes, json.dumps(record.settings))
        self.database.rows("INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*plain, *more))
        return record

    def get(self, owner: str, clip: str) -> ClipRecord:
        """Return one clip; raises UserError where the owner has none of this id, or its file is gone."""
        record = self._indexed(owner, clip)
        if not record.file.is_file():
            raise UserError("the file of this clip is gone from the folder of clips")
        return record

    def _indexed(self, owner: str, clip: str) -> ClipRecord:
        rows = self.database.rows("SELECT * FROM clips WHERE owner = ? AND id = ?", (owner, clip))
        if not rows:
            raise UserError("this clip is not there any more")
        return self._from_row(rows[0])

    def find(  # noqa: PLR0913 - what History filters by
        self, owner: str, words: str = "", *, mode: str = "", model: str = "", skip: int = 0, most: int = PAGE_SIZE
    ) -> list[ClipRecord]:
        """Return clips, newest first, whose prompts have all of the ``words``, in any case and order."""
        where, values = ["owner = ?"], [owner]
        for word in words[:MAX_SEARCH_CHARS].split():
            where.append("prompt LIKE ? ESCAPE '\\'")
            values.append("%" + _WILDCARDS.sub(r"\\\g<0>", word) + "%")
        for column, wanted in (("mode", mode), ("model", model)):
            if wanted:
                where.append(f"{column} = ?")
                values.append(wanted)
        query = f"SELECT * FROM clips WHERE {' AND '.join(where)} ORDER BY created DESC, id LIMIT ? OFFSET ?"
        return [self._from_row(row) for row in self.database.rows(query, (*values, most, skip))]

    def count(self, owner: str) -> tuple[int, int]:
        """Return how many clips an owner has, and their size in bytes."""
        query = "SELECT count(*), coalesce(sum(bytes), 0) FROM clips WHERE owner = ?"
        return tuple(self.database.rows(query, (owner,))[0])  # type: ignore[return-value]

    def models(self, owner: str) -> list[str]:
        """Return the models that an owner's clips were made with."""
        query = "SELECT DISTINCT model FROM clips WHERE owner = ? ORDER BY model"
        return [row["model"] for row in self.database.rows(query, (owner,))]

    def prompts(self, owner: str, mode: str, most: int = PAGE_SIZE) -> list[str]:
        """Return the prompts that an owner's clips of a mode were made with, newest first, each once."""
        query = """SELECT prompt FROM clips WHERE owner = ? AND mode = ? GROUP BY prompt
            ORDER BY max(created) DESC LIMIT ?"""
        return [row["prompt"] for row in self.database.rows(query, (owner, mode, most))]

    def delete(self, owner: str, clip: str) -> None:
        """Delete a clip, its pictures and its row; raises UserError where the owner has none of this id."""
        record = self._indexed(owner, clip)
        for path in (record.file, *map(record.picture, ("thumbnail", "strip", "control"))):
            path.unlink(missing_ok=True)
        self.database.rows("DELETE FROM clips WHERE id = ?", (clip,))

    def prune(self, limits: Limits, spared: str = "") -> int:
        """Delete what is beyond the limits but for one ``spared`` clip, the oldest first, and return how many clips
        that were."""
        if limits == Limits():
            return 0
        gone, kept_bytes = 0, 0
        oldest = None if limits.days is None else time.time() - limits.days * 86_400
        for row in self.database.rows("SELECT id, owner, created, bytes FROM clips ORDER BY created DESC"):
            kept_bytes += row["bytes"]
            too_large = limits.size_bytes is not None and kept_bytes > limits.size_bytes
            if row["id"] != spared and (too_large or (oldest is not None and row["created"] < oldest)):
                try:
                    self.delete(row["owner"], row["id"])
                except OSError as error:
                    logger.warning("an old clip cannot be deleted: %s", error)
                    continue
                gone += 1
        return gone

    def rebuild(self, on_clip: Callable[[ClipRecord], None] | None = None) -> int:
        """Forget the index and read it from the clips' own settings; return how many there are."""
        self.database.rows("DELETE FROM clips")
        count = 0
        for path in self._files():
            record = self._added(path)
            count += record is not None
            if record is not None and on_clip is not None:
                on_clip(record)
        return count

    def catch_up(self) -> None:
        """Index the files that are not in the index, such as one that was finished when its server was killed, and
        forget those that are gone."""
        files = {str(path.relative_to(self.folder)): path for path in self._files()}
        known = {row["file"]: row["id"] for row in self.database.rows("SELECT file, id FROM clips")}
        with self.database.transaction() as connection:
            gone = [(known[name],) for name in known if name not in files]
            connection.executemany("DELETE FROM clips WHERE id = ?", gone)
        for name in files.keys() - known.keys():
            self._added(files[name])

    def _added(self, path: Path) -> ClipRecord | None:
        """Return the record of a file that is now in the index, or None where it is no clip of this program."""
        try:
            return self.add(path)
        except (UserError, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            logger.info("%s is left out of the history: %s", path.name, error)
            return None

    def _files(self) -> Iterator[Path]:
        for folder in (self.folder, *(self.folder / VISITORS).glob("*/")):
            yield from (path for path in sorted(folder.glob("*")) if path.suffix in SUFFIXES and path.is_file())

    def _record(self, path: Path) -> ClipRecord:
        settings = json.loads(self.read(path)["settings"])
        stat = path.stat()
        token = _TOKEN.search(path.stem)
        return ClipRecord(
            id=token.group(1) if token else secrets.token_hex(8),
            owner=LOCAL if path.parent == self.folder else path.parent.name,
            file=path,
            created=stat.st_mtime,
            mode=str(settings["mode"]),
            model=str(settings.get("model", "")),
            prompt=str(settings.get("prompt", "")),
            seed=int(settings.get("seed", 0)),
            size_bytes=stat.st_size,
            settings=settings,
        )

    def _from_row(self, row: Any) -> ClipRecord:
        values = {name: row[name] for name in ("id", "owner", "created", "mode", "model", "prompt", "seed")}
        settings = json.loads(row["settings"])
        return ClipRecord(**values, file=self.folder / row["file"], size_bytes=row["bytes"], settings=settings)


def copy_into(path: Path, target: Path) -> Path:
    """Copy a file so that it appears under its name only when it is whole; raises OSError."""
    partial = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
