"""The list of jobs: durable, ordered, of many owners.

A table of our own and no queue library: what is asked for is reordering, editing, cancelling one, progress, fairness
between owners and a list of what is there. huey's and persist-queue's SQLite stores keep pickled tasks that can be put
and taken, and know none of these; with them this very table would stand beside theirs. One thread works the list off
(``library/worker.py``), so that nothing of their retries and workers is needed.
"""

import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from errors import UserError
from library.database import Database
from library.job import OPEN, RESUMABLE, Job, NewJob, Result, State

FORGET_AFTER_S = 7 * 86_400  # finished jobs; their clips stay
MOST_LISTED = 200


class TooManyJobs(UserError):
    """An owner has as many jobs in the list as one may have."""


class JobList:
    """Jobs of all owners; every question names the owner, and answers with nothing of others."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        most_per_owner: int | None = None,
        most_in_all: int | None = None,
    ) -> None:
        """Open the list; what ran when the server before stopped is marked as interrupted. ``folder`` holds uploads."""
        self.database, self.folder = database, folder
        self.most_per_owner, self.most_in_all = most_per_owner, most_in_all
        database.rows("UPDATE jobs SET state = ? WHERE state = ?", (State.INTERRUPTED, State.RUNNING))
        self.forget(time.time() - FORGET_AFTER_S)

    def add(self, owner: str, jobs: Sequence[NewJob]) -> list[str]:
        """Put jobs at the end, all or none of them, with copies of their uploads; returns their ids.

        Raises TooManyJobs, OSError where an upload cannot be copied.
        """
        ids = [secrets.token_hex(16) for _ in jobs]
        try:
            with self.database.transaction() as connection:
                self._check_room(connection, owner, len(jobs))  # before anything is copied
            copies = self._copies(ids, jobs)
            with self.database.transaction() as connection:
                self._check_room(connection, owner, len(jobs))
                last = connection.execute("SELECT coalesce(max(position), 0) FROM jobs").fetchone()[0]
                for number, (job_id, job, files) in enumerate(zip(ids, jobs, copies, strict=True), 1):
                    texts = (json.dumps(dict(job.settings)), json.dumps(files), job.suffix, job.note, "", "")
                    values = (job_id, owner, job.kind, State.WAITING, last + number, *texts, time.time(), None, None)
                    connection.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(values))})", values)
        except BaseException:
            self._drop_files(ids)
            raise
        return ids

    def get(self, owner: str, job: str) -> Job:
        """Return one job; raises UserError where the owner has none of this id."""
        rows = self.database.rows("SELECT * FROM jobs WHERE owner = ? AND id = ?", (owner, job))
        if not rows:
            raise UserError("this job is not in the list any more")
        return _from_row(rows[0])

    def listed(self, owner: str) -> list[Job]:
        """Return an owner's jobs: the running one, the waiting ones in their order, then the others, newest first."""
        query = """SELECT * FROM jobs WHERE owner = ? ORDER BY state != 'running', state != 'waiting',
            CASE WHEN state = 'waiting' THEN position ELSE -coalesce(finished, created) END LIMIT ?"""
        return [_from_row(row) for row in self.database.rows(query, (owner, MOST_LISTED))]

    def ahead_of(self, job: str) -> list[str]:
        """Return the ids of jobs of any owner that come before a waiting one, in the order in which they are taken."""
        names = self._ids_in_order()
        return names[: names.index(job)] if job in names else []

    def count_waiting(self, owner: str) -> int:
        """Return how many jobs of an owner wait."""
        query = "SELECT count(*) FROM jobs WHERE owner = ? AND state = ?"
        return int(self.database.rows(query, (owner, State.WAITING))[0][0])

    def take_next(self) -> Job | None:
        """Mark the next waiting job as running and return it; None where nothing waits or the list is paused."""
        if self.paused:
            return None
        with self.database.transaction() as connection:
            waiting = self._ids_in_order()
            if not waiting:
                return None
            change = "UPDATE jobs SET state = ?, started = ? WHERE id = ? RETURNING *"
            return _from_row(connection.execute(change, (State.RUNNING, time.time(), waiting[0])).fetchone())

    def finish(self, job: str, state: State, *, result: Result | None = None, message: str = "") -> None:
        """Say how a running job ended; its uploads are kept only where it may be resumed."""
        change = "UPDATE jobs SET state = ?, result = ?, message = ?, finished = ? WHERE id = ?"
        self.database.rows(change, (state, "" if result is None else result.to_json(), message, time.time(), job))
        if state not in RESUMABLE:
            self._drop_files([job])

    def edit(self, owner: str, job: str, new: NewJob) -> None:
        """Change a waiting job into a new one at its place, where uploads that the new one does not have stay; raises
        UserError where it does not wait any more."""
        files = {name: str(path) for name, path in self.get(owner, job).files.items()}
        if new.files:
            folder = self.folder / job / secrets.token_hex(4)  # the job may begin meanwhile, with the files before
            folder.mkdir(parents=True)
            files |= {name: str(shutil.copyfile(path, folder / path.name)) for name, path in new.files.items()}
        change = """UPDATE jobs SET settings = ?, files = ?, suffix = ?, note = ?
            WHERE id = ? AND owner = ? AND state = ? RETURNING id"""
        values = (json.dumps(dict(new.settings)), json.dumps(files), new.suffix, new.note)
        if not self.database.rows(change, (*values, job, owner, State.WAITING)):
            raise UserError("this job has begun or ended already; add a new one")

    def move(self, owner: str, job: str, places: int) -> None:
        """Move a waiting job by so many places among its owner's waiting ones, towards the front where negative."""
        with self.database.transaction() as connection:
            query = "SELECT id, position FROM jobs WHERE owner = ? AND state = ? ORDER BY position"
            waiting = connection.execute(query, (owner, State.WAITING)).fetchall()
            names = [row["id"] for row in waiting]
            if job not in names:
                raise UserError("only jobs that wait can be moved")
            at = names.index(job)
            names.insert(max(0, min(len(names) - 1, at + places)), names.pop(at))
            for name, row in zip(names, waiting, strict=True):
                connection.execute("UPDATE jobs SET position = ? WHERE id = ?", (row["position"], name))

    def cancel_waiting(self, owner: str, job: str | None = None) -> list[str]:
        """Cancel one waiting job of an owner, or all of them, and return the ids; a running one is the worker's."""
        change = "UPDATE jobs SET state = ?, finished = ? WHERE owner = ? AND state = ? AND (? IS NULL OR id = ?)"
        values = (State.CANCELLED, time.time(), owner, State.WAITING, job, job)
        return [row["id"] for row in self.database.rows(f"{change} RETURNING id", values)]

    def resume(self, owner: str, job: str) -> None:
        """Put an interrupted, cancelled or failed job back at the end of the list; raises UserError."""
        states = ", ".join("?" * len(RESUMABLE))
        change = f"""UPDATE jobs SET state = ?, message = '', position = (SELECT max(position) + 1 FROM jobs)
            WHERE owner = ? AND id = ? AND state IN ({states}) RETURNING id"""
        with self.database.transaction() as connection:
            self._check_room(connection, owner, 1)
            if connection.execute(change, (State.WAITING, owner, job, *RESUMABLE)).fetchone() is None:
                raise UserError("this job cannot be started again")

    def remove(self, owner: str, job: str | None = None) -> None:
        """Take an ended job of an owner, or all of them, out of the list; their clips stay."""
        query = f"""DELETE FROM jobs WHERE owner = ? AND (? IS NULL OR id = ?)
            AND state NOT IN ({", ".join("?" * len(OPEN))}) RETURNING id"""
        self._drop_files(row["id"] for row in self.database.rows(query, (owner, job, job, *OPEN)))

    def forget(self, before: float) -> None:
        """Take out jobs that ended before a time, whoever's they are, and uploads of jobs that are not in the list."""
        query = (
            f"DELETE FROM jobs WHERE coalesce(finished, created) < ? AND state NOT IN ({', '.join('?' * len(OPEN))})"
        )
        self.database.rows(query, (before, *OPEN))
        if not self.database.durable:
            return  # the uploads belong to the jobs of a file that is left alone
        known = {row["id"] for row in self.database.rows("SELECT id FROM jobs")}
        self._drop_files(path.name for path in self.folder.glob("*/") if path.name not in known)

    @property
    def paused(self) -> bool:
        """True if the next job waits until somebody goes on; kept over restarts."""
        return bool(self.database.rows("SELECT 1 FROM switches WHERE name = 'paused' AND value = 'yes'"))

    def set_paused(self, paused: bool) -> None:
        """Let the list rest after the running job, or go on."""
        self.database.rows("INSERT OR REPLACE INTO switches VALUES ('paused', ?)", ("yes" if paused else "no",))

    def order(self) -> list[Job]:
        """Return the waiting jobs as they are taken: owners in turn, whoever was served longest ago first."""
        rows = {row["id"]: row for row in self.database.rows("SELECT * FROM jobs WHERE state = 'waiting'")}
        return [_from_row(rows[job]) for job in self._ids_in_order() if job in rows]

    def _ids_in_order(self) -> list[str]:
        """Return the ids of what ``order`` returns; a page that watches a job asks for them many times."""
        query = """
            SELECT jobs.id, row_number() OVER (PARTITION BY jobs.owner ORDER BY position) AS turn, served.last
            FROM jobs LEFT JOIN (SELECT owner, max(started) AS last FROM jobs GROUP BY owner) AS served USING (owner)
            WHERE state = 'waiting' ORDER BY turn, coalesce(served.last, 0), position"""
        return [row["id"] for row in self.database.rows(query)]

    def _check_room(self, connection: sqlite3.Connection, owner: str, more: int) -> None:
        query = "SELECT count(*), coalesce(sum(owner = ?), 0) FROM jobs WHERE state IN (?, ?)"
        in_all, own = connection.execute(query, (owner, *OPEN)).fetchone()
        if self.most_per_owner is not None and own + more > self.most_per_owner:
            raise TooManyJobs(
                f"{more} more would make {own + more} jobs in your list, and {self.most_per_owner} may be there: "
                "wait, or cancel one"
            )
        if self.most_in_all is not None and in_all + more > self.most_in_all:
            raise TooManyJobs("too many jobs are waiting here: try again later")

    def _copies(self, ids: Sequence[str], jobs: Sequence[NewJob]) -> list[dict[str, str]]:
        """Copies of uploads in a folder of each job's own, since the page deletes its own after some hours; what
        several jobs share takes its room once where the disk knows links."""
        first: dict[Path, Path] = {}
        copies: list[dict[str, str]] = []
        for job_id, job in zip(ids, jobs, strict=True):
            copies.append({})
            for name, path in job.files.items():
                target = self.folder / job_id / f"{name}{path.suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(first.setdefault(path, path), target)
                first[path] = target
                copies[-1][name] = str(target)
        return copies

    def _drop_files(self, jobs: Iterable[str]) -> None:
        for job in jobs:
            shutil.rmtree(self.folder / job, ignore_errors=True)


def _link_or_copy(path: Path, target: Path) -> None:
    """Give a file of the same folder a second name, or copy it."""
    try:
        if path.parent.parent == target.parent.parent:
            return target.hardlink_to(path)
    except OSError:
        pass
    shutil.copyfile(path, target)


def _from_row(row: sqlite3.Row) -> Job:
    plain = ("id", "owner", "kind", "suffix", "note", "message", "created", "started", "finished")
    files = {name: Path(path) for name, path in json.loads(row["files"]).items()}
    values = {name: row[name] for name in plain}
    result = Result.from_json(row["result"]) if row["result"] else None
    return Job(**values, state=State(row["state"]), settings=json.loads(row["settings"]), files=files, result=result)
