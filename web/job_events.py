"""Jobs of a tab: added to the list, watched, cancelled, and the same for programs; clips and comparisons alike.

What a tab's components hold is checked before anything is added. The page watches its jobs and may go away and come
back; a program that goes away ends its job.
"""

import time
from collections.abc import AsyncGenerator, Callable, Container, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from errors import GenerationFailed
from library.job import Job, NewJob, Result, State
from library.service import Library
from web.events import PAGE_ONLY, ProgramUpdates, Updates, error_line
from web.html import NOTHING_KEPT, status_html, waiting_html
from web.recent import Follower
from web.watching import Waiting, last_finished, next_open_job, owner_of, watch_job

SHOWN_AGAIN_S = 12 * 3600  # a result that was finished while nobody looked
INTERRUPTED = "The server was stopped while this job ran; it can be started again in the list of jobs."


class JobKind(Protocol):
    """One kind of job: ``endpoint`` is its name in the API, ``about`` its description there."""

    @property
    def endpoint(self) -> str:
        """Name in the API."""

    @property
    def about(self) -> str | None:
        """Description in the API."""

    def read(self, values: Mapping[str, object]) -> list[NewJob]:
        """Check what was sent and return the jobs that it asks for; raises UserError."""

    def is_ours(self, job: Job) -> bool:
        """Return whether a job of the list is of this kind."""

    def program_progress(self, progress: Any) -> dict[str, Any]:
        """Return progress as JSON."""

    def program_facts(self, result: Result) -> dict[str, Any]:
        """Return what a program gets beside the file."""


class JobPanel(Protocol):
    """Components that show a job: a line of status, Cancel, and what was made."""

    @property
    def status(self) -> gr.HTML:
        """Line of status."""

    @property
    def cancel(self) -> gr.Button:
        """Button that ends the job."""

    @property
    def refusal(self) -> gr.HTML:
        """Place under the buttons that says why nothing was added."""

    @property
    def shown(self) -> list[Component]:
        """All components that a job changes."""

    def show_progress(self, progress: Any, *, before: object, waiting: int) -> Updates:
        """Show a running job, after what was shown ``before``, and how many of the same visitor's wait."""

    def show_result(self, result: Result) -> Updates:
        """Show what a job made."""

    def show_nothing(self) -> Updates:
        """Show an empty place."""


@dataclass(frozen=True)
class JobEvents:
    """The events of one tab's jobs: ``kind`` reads and recognises them, ``panel`` shows them."""

    library: Library
    kind: JobKind
    panel: JobPanel

    def connect(
        self,
        triggers: Sequence[Callable[..., Any]],
        inputs: Mapping[str, Component],
        *,
        page_inputs: Mapping[str, Component] | None = None,
        followers: Sequence[Follower] = (),
        editing: gr.State | None = None,
    ) -> None:
        """Wire the triggers, Cancel and the loading of the page, and open the endpoint.

        Args:
            triggers: events that add jobs.
            inputs: components of what a job asks for, by name, those of the endpoint as well.
            page_inputs: components that only the page has.
            followers: components that change when a job has ended and when the page is opened.
            editing: holds the id of the waiting job that the triggers change, or "".
        """
        panel = self.panel
        endless: dict[str, Any] = {**PAGE_ONLY, "queue": True, "concurrency_limit": None}
        asked = {**inputs, **(page_inputs or {}), **({} if editing is None else {"editing": editing})}
        on_page: dict[str, Any] = {"inputs_kwargs": asked, "preprocess": False}
        changed = [panel.status, panel.cancel, panel.refusal, *([] if editing is None else [editing])]
        watch, shown = self._watching(followers), [*panel.shown, *(one for each in followers for one in each.shown)]
        added = gr.on(
            triggers,
            self._adding(editing, set(page_inputs or {})),
            None,
            changed,
            **on_page,
            **PAGE_ONLY,
            trigger_mode="multiple",
        )
        added.then(watch, None, shown, **endless)
        page = Context.root_block
        assert page is not None, "a tab is built inside a page"
        page.load(self._returning(followers), None, shown, **PAGE_ONLY).then(watch, None, shown, **endless)
        panel.cancel.click(self._cancelling, None, panel.status, **PAGE_ONLY)
        gr.Button(visible=False).click(
            self._for_program(),
            outputs=[gr.File(visible=False, label="file"), gr.JSON(visible=False, label="info")],
            api_name=self.kind.endpoint,
            api_description=self.kind.about,
            concurrency_limit=None,
            inputs_kwargs=dict(inputs),
            preprocess=False,
        )

    def add(self, owner: str, values: Mapping[str, object]) -> list[str]:
        """Check everything, add the jobs to the owner's and return their ids; raises UserError, and adds nothing."""
        added = self.library.jobs.add(owner, self.kind.read(values))
        self.library.worker.wake()
        return added

    def change(self, owner: str, job: str, values: Mapping[str, object]) -> None:
        """Check everything and change a waiting job; raises UserError, and changes nothing."""
        (changed,) = self.kind.read(values)
        self.library.jobs.edit(owner, job, changed)

    def _adding(self, editing: gr.State | None, several: Container[str]) -> Callable[..., Updates]:
        """Return the handler that adds jobs or changes one, which stays one: what ``several`` names is not for it."""

        def add(request: gr.Request, **values: object) -> Updates:
            owner, job = owner_of(self.library, request), values.pop("editing", "")
            try:
                if isinstance(job, str) and job:
                    one = {name: value for name, value in values.items() if name not in several}
                    self.change(owner, job, one)
                    assert editing is not None
                    said = status_html("The job is changed.", "running")
                    return {self.panel.status: said, self.panel.refusal: "", editing: ""}
                jobs = self.add(owner, values)
            except Exception as error:
                return {self.panel.refusal: status_html(error_line(error), "error")}
            ahead, paused = len(self.library.jobs.ahead_of(jobs[0])), self.library.jobs.paused
            status = waiting_html(ahead, paused=paused, added=len(jobs))
            return {
                self.panel.status: status,
                self.panel.cancel: gr.Button(interactive=True),
                self.panel.refusal: "",
            }

        return add

    def _cancelling(self, request: gr.Request) -> str:
        owner = owner_of(self.library, request)
        job = next_open_job(self.library, owner, self.kind.is_ours)
        if job is not None:
            self.library.worker.cancel(owner, job.id)
        return status_html("Stopping…", "running")

    def _returning(self, followers: Sequence[Follower]) -> Callable[[gr.Request], Updates]:
        """Return the handler of a page that is opened or reloaded: it shows the last result."""

        def returning(request: gr.Request) -> Updates:
            owner, since = owner_of(self.library, request), time.time() - SHOWN_AGAIN_S
            more = followed(followers, owner)
            finished = last_finished(self.library, owner, self.kind.is_ours, since)
            shown: Updates = {} if finished is None else self.panel.show_result(result_of(finished))
            return {self.panel.status: gr.skip(), **shown, **more}

        return returning

    def _watching(self, followers: Sequence[Follower]) -> Callable[[gr.Request], AsyncGenerator[Updates, None]]:
        """Return the handler that shows the owner's jobs of this tab, one after the other, until none is open."""

        async def watch(request: gr.Request) -> AsyncGenerator[Updates, None]:
            owner = owner_of(self.library, request)
            yield {self.panel.status: gr.skip()}  # a generator that yields nothing empties what it should leave alone
            while (job := next_open_job(self.library, owner, self.kind.is_ours)) is not None:
                yield {self.panel.cancel: gr.Button(interactive=True)}
                before: object = None
                async with aclosing(watch_job(self.library, owner, job.id)) as updates:
                    async for update in updates:
                        more = followed(followers, owner) if isinstance(update, Job) else {}
                        yield {**self._for_page(owner, update, before), **more}
                        before = update

        return watch

    def _for_page(self, owner: str, update: Any, before: object) -> Updates:
        """Return what the panel shows of a job; where it came to nothing, the result before it again."""
        if isinstance(update, Waiting):
            return {self.panel.status: waiting_html(update.ahead, paused=update.paused)}
        if not isinstance(update, Job):
            return self.panel.show_progress(update, before=before, waiting=self.library.jobs.count_waiting(owner))
        if update.result is not None:
            return self.panel.show_result(update.result)
        before = last_finished(self.library, owner, self.kind.is_ours)
        shown = self.panel.show_nothing() if before is None else self.panel.show_result(result_of(before))
        cancelled = update.state is State.CANCELLED
        status = status_html(NOTHING_KEPT) if cancelled else status_html(update.message or INTERRUPTED, "error")
        return {**shown, self.panel.status: status}

    def _for_program(self) -> Callable[..., ProgramUpdates]:
        """Return the handler of the endpoint: it adds a job, waits for its file, and ends it when it is closed."""

        async def for_program(
            request: gr.Request, source: object = None, first_frame: object = None, **values: object
        ) -> ProgramUpdates:
            # The files are named here because Gradio offers a parameter without a value only so as optional.
            given = {name: value for name, value in (("source", source), ("first_frame", first_frame)) if value}
            try:
                owner = owner_of(self.library, request)
                (job,) = self.add(owner, {**values, **given})
                try:
                    async with aclosing(watch_job(self.library, owner, job)) as updates:
                        async for update in updates:
                            yield self._program_update(update)
                finally:
                    self.library.worker.cancel(owner, job)
            except Exception as error:
                raise gr.Error(error_line(error), print_exception=False) from None

        for_program.__name__ = self.kind.endpoint  # the name of the tool where language models are offered some
        return for_program

    def _program_update(self, update: Any) -> tuple[str | None, dict[str, Any]]:
        """Return a file, and facts or progress; raises GenerationFailed where a job made none."""
        if isinstance(update, Waiting):
            return None, {"progress": {"ahead": update.ahead}}
        if not isinstance(update, Job):
            return None, {"progress": self.kind.program_progress(update)}
        if update.state is State.DONE:
            return str(result_of(update).file), self.kind.program_facts(result_of(update))
        raise GenerationFailed(update.message or NOTHING_KEPT)


def followed(followers: Sequence[Follower], owner: str) -> Updates:
    """Return what all followers show now."""
    return {component: value for each in followers for component, value in each.update(owner).items()}


def result_of(job: Job) -> Result:
    """Return what a finished job made."""
    assert job.result is not None, "a job that is done has a result"
    return job.result
