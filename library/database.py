"""One SQLite file with a write-ahead log: opened, checked, begun anew where it is damaged."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import UserError

logger = logging.getLogger(__name__)
VERSION = 2
BUSY_S = 5.0  # for another program to let go of the file
SCHEMA = """
CREATE TABLE clips (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, file TEXT NOT NULL, created REAL NOT NULL, mode TEXT NOT NULL,
    model TEXT NOT NULL, prompt TEXT NOT NULL, seed INTEGER NOT NULL, bytes INTEGER NOT NULL, settings TEXT NOT NULL
) STRICT;
CREATE INDEX clips_by_time ON clips (owner, created DESC);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, position REAL NOT NULL,
    settings TEXT NOT NULL, files TEXT NOT NULL, suffix TEXT NOT NULL, note TEXT NOT NULL, result TEXT NOT NULL,
    message TEXT NOT NULL, created REAL NOT NULL, started REAL, finished REAL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, position);
CREATE TABLE presets (
    owner TEXT NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL, PRIMARY KEY (owner, name)
) STRICT;
CREATE TABLE switches (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
# From each version to the next, by the version it begins with.
CHANGES = {
    1: """
    ALTER TABLE presets RENAME TO presets_1;
    CREATE TABLE presets (
        owner TEXT NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL, PRIMARY KEY (owner, name)
    ) STRICT;
    INSERT INTO presets SELECT 'local', name, settings FROM presets_1;
    DROP TABLE presets_1;
    """
}


# Trouble around a file and not of it: the disk is full or gone, another program holds it, it may not be written.
AROUND = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip
WAITING_HELPS = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class NewerVersion(Exception):
    """A file written by a newer version of this program, which is left alone."""


class IndexUnwritable(UserError):
    """The file cannot be written any more; what is done from now on is kept in memory."""


class Database:
    """A connection that any thread may use, one at a time.

    ``trouble`` is one line for the page where what is kept here was lost or does not outlive this process, or empty;
    ``fresh`` tells whether the file was begun anew, so that the index of clips is to be rebuilt; ``durable`` whether
    what is kept here outlives this process.
    """

    durable = True

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self.lock = threading.RLock()
        existed = path.exists()
        try:
            self.connection, self.fresh = _open(path), not existed
        except NewerVersion:
            self._use_memory(f"{path.name} was written by a newer version of this program and is left alone")
        except sqlite3.DatabaseError as error:
            if _code(error) in AROUND:
                self._use_memory(f"{path.name} cannot be used ({error})")
            else:
                self._replace_damaged(path, error)

    def _use_memory(self, reason: str) -> None:
        self.trouble = f"History and jobs are kept only until this server stops: {reason}."
        logger.warning("%s", self.trouble)
        self.connection, self.fresh, self.durable = _open(Path(":memory:")), True, False

    def _go_on_in_memory(self, error: sqlite3.Error) -> bool:
        """Go on with a copy in memory where the file cannot be written any more, and return whether that is so."""
        if not self.durable or _code(error) not in AROUND - WAITING_HELPS:
            return False
        file = self.connection
        self._use_memory(f"the index cannot be written ({error})")
        try:
            file.backup(self.connection)
        except sqlite3.Error as unreadable:
            logger.warning("the index cannot be read either: %s", unreadable)
        file.close()
        return True

    def _replace_damaged(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            path.replace(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self.connection, self.fresh = _open(path), True
        except (OSError, sqlite3.Error):
            self._use_memory(f"{path.name} cannot be used ({error})")
            return
        self.trouble = (
            f"The index was damaged and has been rebuilt from the clips; waiting jobs are lost ({aside.name})."
        )
        logger.warning("%s", self.trouble)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query; statements that write do so at once."""
        with self.lock:
            try:
                with self.connection:
                    return self.connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                if not self._go_on_in_memory(error):
                    raise
            with self.connection:
                return self.connection.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for several statements that hold together or not at all; raises IndexUnwritable where
        the file could not be written, and the same will do the next time."""
        with self.lock:
            try:
                with self.connection:
                    yield self.connection
            except sqlite3.DatabaseError as error:
                if not self._go_on_in_memory(error):
                    raise
                raise IndexUnwritable(f"{self.trouble} Try again.") from None

    def close(self) -> None:
        """Write the log back into the file."""
        with self.lock:
            self.connection.close()


def _code(error: sqlite3.Error) -> int:
    """Return the code of a trouble without what SQLite adds to it."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _open(path: Path) -> sqlite3.Connection:
    """Connect and bring the tables into being; raises NewerVersion, sqlite3.DatabaseError."""
    connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY_S)
    connection.row_factory = sqlite3.Row
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise NewerVersion
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        steps = SCHEMA if version == 0 else "".join(CHANGES[step] for step in range(version, VERSION))
        if version < VERSION:
            connection.executescript(f"BEGIN; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
        for table in ("clips", "jobs", "presets", "switches"):
            connection.execute(f"SELECT * FROM {table} LIMIT 1")
    except BaseException:
        connection.close()
        raise
    return connection
