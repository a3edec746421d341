"""One thread that works the list of jobs off, one after the other, and tells whoever looks how far it is."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from errors import Cancelled, UserError
from library.job import Job, Result, State, StoppedWithResult
from library.job_list import JobList

logger = logging.getLogger(__name__)
STOP_WITHIN_S = 3.0
TRY_AGAIN_S = 1.0  # after the list itself could not be read or written
BROKEN = "Something broke on the server and this job was stopped; the server's log says what. The next job can start."

# A job, what is told of its progress, and what stops it.
Run = Callable[[Job, Callable[[Any], None], threading.Event], Result]


@dataclass(frozen=True)
class Running:
    """The job at work, its newest progress, and what stops it."""

    job: Job
    cancel: threading.Event
    progress: Any = None


class Worker:
    """Takes the next job whenever one ends or is added; ``run`` does it, in this thread."""

    def __init__(self, jobs: JobList, run: Run) -> None:
        self.jobs, self.run = jobs, run
        self.running: Running | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def wake(self) -> None:
        """Look again: a job was added or resumed, or the list goes on."""
        with self._changed:
            self._changed.notify_all()

    def cancel(self, owner: str, job: str) -> None:
        """Stop an owner's job within a step where it runs, and take it out of the order where it waits."""
        with self._changed:  # a job is never between waiting and running here
            running = self.running
            if running is not None and (running.job.id, running.job.owner) == (job, owner):
                running.cancel.set()
            else:
                self.jobs.cancel_waiting(owner, job)

    def cancel_all(self, owner: str) -> None:
        """Stop whatever of an owner's runs, and cancel all that waits."""
        with self._changed:
            self.jobs.cancel_waiting(owner)
            running = self.running
            if running is not None and running.job.owner == owner:
                running.cancel.set()

    def stop(self, within_s: float = STOP_WITHIN_S) -> bool:
        """End the running job, which is offered again later, and the thread; returns whether it ended in time."""
        self._stopping = True
        running = self.running
        if running is not None:
            running.cancel.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(within_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopping:
            try:
                running = self._next()
                if running is not None:
                    self._do(running.job, running.cancel)
            except Exception:  # of the list itself; the thread is the only one there is
                logger.exception("the list of jobs cannot be read or written")
                self.running = None
                time.sleep(TRY_AGAIN_S)

    def _next(self) -> Running | None:
        with self._changed:
            job = None if self._stopping else self.jobs.take_next()
            if job is None and not self._stopping:
                self._changed.wait(timeout=1.0)
            self.running = None if job is None else Running(job, threading.Event())
            return self.running

    def _do(self, job: Job, cancel: threading.Event) -> None:
        if self._stopping:
            cancel.set()

        def tell(progress: Any) -> None:
            self.running = Running(job, cancel, progress)

        result: Result | None = None
        message = ""
        try:
            result, state = self.run(job, tell, cancel), State.DONE
        except StoppedWithResult as stop:
            state, result = (State.INTERRUPTED, None) if self._stopping else (State.CANCELLED, stop.result)
        except Cancelled:
            state = State.INTERRUPTED if self._stopping else State.CANCELLED
        except UserError as error:
            state, message = State.FAILED, str(error)
        except Exception:
            logger.exception("a job broke down")
            state, message = State.FAILED, BROKEN
        self.jobs.finish(job.id, state, result=result, message=message)
        self.running = None
