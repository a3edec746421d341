"""One SQLite file with a write-ahead log: opened, checked, begun anew where it is damaged."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
VERSION = 2
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


class NewerVersion(Exception):
    """A file written by a newer version of this program, which is left alone."""


class Database:
    """A connection that any thread may use, one at a time.

    ``trouble`` is one line for the page where what is kept here was lost or does not outlive this process, or empty;
    ``fresh`` tells whether the file was begun anew, so that the index of clips is to be rebuilt.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self.lock = threading.RLock()
        existed = path.exists()
        try:
            self.connection, self.fresh = _open(path), not existed
        except NewerVersion:
            self._use_memory(f"{path.name} was written by a newer version of this program and is left alone")
        except sqlite3.DatabaseError as error:
            self._replace_damaged(path, error)

    def _use_memory(self, reason: str) -> None:
        self.trouble = f"History and jobs are kept only until this server stops: {reason}."
        logger.warning("%s", self.trouble)
        self.connection, self.fresh = _open(Path(":memory:")), True

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
        with self.lock, self.connection:
            return self.connection.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for several statements that hold together or not at all."""
        with self.lock, self.connection:
            yield self.connection

    def close(self) -> None:
        """Write the log back into the file."""
        with self.lock:
            self.connection.close()


def _open(path: Path) -> sqlite3.Connection:
    """Connect and bring the tables into being; raises NewerVersion, sqlite3.DatabaseError."""
    connection = sqlite3.connect(path, check_same_thread=False, timeout=5)
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
