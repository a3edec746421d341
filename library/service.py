"""Everything that a page keeps, opened together and closed together."""

import secrets
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from errors import UserError
from library.clips import LOCAL, ClipIndex, Limits, ReadMetadata
from library.data_folder import DataFolder, open_data_folder, read_key
from library.database import Database
from library.estimates import Estimates
from library.job import Job, Result
from library.job_list import JobList
from library.presets import Presets
from library.recorder import FinishedClip, Recorder
from library.visitors import Visitors
from library.visits import Visits
from library.worker import Run, Worker
from media.metadata import read_metadata


@dataclass(frozen=True)
class Library:
    """Clips, jobs and presets in one data folder, and the worker; ``shared`` where each visitor has their own.

    ``runs`` are functions that do the jobs, by their kind. ``trouble`` is one line for the page where something was
    lost or does not outlive this process, or empty. Jobs run in the requests of ``visits``, where there are any.
    """

    folder: DataFolder
    database: Database
    clips: ClipIndex
    jobs: JobList
    estimates: Estimates
    presets: Presets
    runs: dict[str, Run]
    worker: Worker
    visitors: Visitors
    shared: bool
    limits: Limits
    visits: Visits | None = None

    @property
    def trouble(self) -> str:
        """One line for the page, or empty."""
        return " ".join(filter(None, (self.folder.trouble, self.database.trouble)))

    def owner(self, cookie: str | None, session: str | None) -> str:
        """Return whose jobs and clips a request is about.

        Args:
            cookie: the value of the visitor's cookie; where it is none of ours the ``session`` of the page counts,
                whose clips nobody finds again after a reload; without one the owner is nobody else's.
        """
        if not self.shared:
            return LOCAL
        return self.visitors.owner(cookie) or self.visitors.owner_of_session(session or secrets.token_hex(16))

    def close(self) -> bool:
        """End the running job, which is offered again at the next start; returns whether it ended in time."""
        ended = self.worker.stop()
        if ended:
            self.database.close()
        self.folder.close()
        return ended


def open_library(  # noqa: PLR0913 - an operator's choices
    generate: Callable[..., FinishedClip],
    *,
    data_dir: Path | None = None,
    clips_dir: Path | None = None,
    shared: bool = False,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    most_per_owner: int | None = None,
    most_in_all: int | None = None,
    read: ReadMetadata = read_metadata,
    visits: Visits | None = None,
) -> Library:
    """Open the data folder and begin with the jobs that wait in it.

    Args:
        generate: ``Model.generate``.
        data_dir: the folder; None for the platform's own place.
        clips_dir: a folder of its own for finished clips.
        shared: each visitor has jobs and clips of their own.
        limits: bounds of what is kept.
        most_per_owner: number of open jobs that one visitor may have in the list.
        most_in_all: number of open jobs that all together may have.
        read: gives the metadata inside a clip.
        visits: jobs run in the newest request of their owner, where it is given.

    Raises:
        UserError: another server uses the folder.
    """
    folder = open_data_folder(data_dir, clips_dir)
    database = Database(folder.database)
    clips = ClipIndex(folder.clips, database, read)
    clips.prune(limits)
    jobs = JobList(database, folder.job_files, most_per_owner=most_per_owner, most_in_all=most_in_all)
    runs: dict[str, Run] = {"generate": Recorder(generate, clips, Path(tempfile.gettempdir()))}

    def run(job: Job, tell: Callable[[Any], None], cancel: threading.Event) -> Result:
        if job.kind not in runs:
            raise UserError("this page has no tab for this job")
        work = partial(runs[job.kind], job, tell, cancel)
        result = work() if visits is None else visits.run(job.owner, work)
        clips.prune(limits, spared=result.clip)
        return result

    worker = Worker(jobs, run)
    presets, visitors, estimates = Presets(database), Visitors(read_key(folder)), Estimates(database)
    kept = folder, database, clips, jobs, estimates, presets
    return Library(*kept, runs, worker, visitors, shared, limits, visits)
