"""Jobs of the list as a page watches them: who asks, how far the job is, and what it came to.

A watcher that goes away (a reload, a closed tab, a locked phone) leaves the job as it is.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import gradio as gr

from library.job import OPEN, Job, State
from library.service import Library
from library.visitors import COOKIE
from model import Progress

LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Waiting:
    """A job that has not begun: the number of jobs before it, and whether the list rests."""

    ahead: int
    paused: bool = False


def owner_of(library: Library, request: gr.Request) -> str:
    """Return whose jobs and clips a request of the page is about; where jobs run in requests, it is the newest one."""
    cookie = request.cookies.get(COOKIE) if library.shared else None
    owner = library.owner(cookie, request.session_hash)
    if library.visits is not None:
        library.visits.note(owner)
    return owner


async def watch_job(library: Library, owner: str, job: str) -> AsyncGenerator[Waiting | Progress | Job, None]:
    """Yield the state of a job whenever it changes, and at last the ended job; raises UserError where it is gone."""
    before: object = None
    while True:
        found = library.jobs.get(owner, job)
        running = library.worker.running
        now: Waiting | Progress | Job | None = found
        if found.state is State.WAITING:
            now = Waiting(len(library.jobs.ahead_of(job)), library.jobs.paused)
        elif found.state is State.RUNNING:
            now = running.progress if running is not None and running.job.id == job else None
        if now is not None and now is not before and now != before:
            yield now
        if found.state not in OPEN:
            return
        before = now
        await asyncio.sleep(LOOK_EVERY_S)


def next_open_job(library: Library, owner: str, suits: Callable[[Job], bool]) -> Job | None:
    """Return the owner's running job, or else the first waiting one, among those that suit."""
    jobs = (job for job in library.jobs.listed(owner) if job.state in OPEN and suits(job))
    return next(jobs, None)


def last_finished(library: Library, owner: str, suits: Callable[[Job], bool], since: float = 0.0) -> Job | None:
    """Return the owner's newest finished job among those that suit, if its file is there and it ended after a time."""
    jobs = (job for job in library.jobs.listed(owner) if job.state is State.DONE and suits(job))
    newest = next(jobs, None)
    if newest is None or newest.result is None or (newest.finished or 0) < since or not newest.result.file.is_file():
        return None
    return newest
