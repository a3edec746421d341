"""The list of jobs on the page: what runs, what waits and when it begins, and the buttons that change it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from comparison.report.formatting import duration
from errors import InvalidSettings, UserError
from library.job import RESUMABLE, Job, State
from library.service import Library
from web.context import PageContext
from web.events import PAGE_ONLY, Updates, error_line
from web.html import status_html
from web.opening import ClipOpener
from web.watching import owner_of

REFRESH_S = 2.0
PROMPT_CHARS = 60
NAMED = (State.RUNNING, State.WAITING, State.INTERRUPTED)  # in the title, the others are past


@dataclass(frozen=True)
class JobPanel:
    """The list of jobs, one of which is chosen."""

    context: PageContext
    box: gr.Accordion
    jobs: gr.Radio
    status: gr.HTML
    last: gr.State  # what the browser shows now

    @property
    def library(self) -> Library:
        """Clips and jobs."""
        return self.context.library

    def connect(self, buttons: dict[str, gr.Button], page: gr.Blocks) -> None:
        """Wire the buttons, and keep the list up to date while the page is open."""
        library = self.library
        actions: dict[str, Callable[[str, str], object]] = {
            "Sooner": lambda owner, job: library.jobs.move(owner, _chosen(job), -1),
            "Later": lambda owner, job: library.jobs.move(owner, _chosen(job), 1),
            "Cancel": lambda owner, job: library.worker.cancel(owner, _chosen(job)),
            "Start again": lambda owner, job: library.jobs.resume(owner, _chosen(job)),
            "Remove": lambda owner, job: library.jobs.remove(owner, _chosen(job)),
            "Clear the finished": lambda owner, _: library.jobs.remove(owner),
            "Cancel all": lambda owner, _: library.worker.cancel_all(owner),
            "Pause": lambda owner, _: self.pause(paused=True),
            "Go on": lambda owner, _: self.pause(paused=False),
        }
        shown = [self.box, self.jobs, self.last]
        for label, action in actions.items():
            buttons[label].click(self._button(action), self.jobs, [*shown, self.status], preprocess=False, **PAGE_ONLY)
        opener = ClipOpener(self.context)
        editing = [tab.editing for tab in self.context.built]
        buttons["Change"].click(
            self._editing(opener), self.jobs, [self.status, *opener.changed, *editing], preprocess=False, **PAGE_ONLY
        )

        def refresh(last: object, request: gr.Request) -> Updates:
            return self.refreshed(owner_of(library, request), last)

        def begin(request: gr.Request) -> Updates:
            owner = owner_of(library, request)
            unfinished = any(job.state in (*NAMED[1:],) for job in library.jobs.listed(owner))
            updates = self.refreshed(owner, None)
            return {**updates, self.box: gr.Accordion(label=self.title(owner), open=unfinished)}

        gr.Timer(REFRESH_S).tick(refresh, self.last, shown, **PAGE_ONLY)
        page.load(begin, None, shown, **PAGE_ONLY)

    def refreshed(self, owner: str, last: object) -> Updates:
        """Return the updates of a list that is not as the browser shows it."""
        choices = self.choices(owner)
        if last == [list(choice) for choice in choices]:
            return {self.last: gr.skip()}
        return {
            self.box: gr.Accordion(label=self.title(owner)),
            self.jobs: gr.Radio(choices=choices),
            self.last: [list(choice) for choice in choices],
        }

    def _button(self, action: Callable[[str, str], object]) -> Callable[[object, gr.Request], Updates]:
        def press(chosen: object, request: gr.Request) -> Updates:
            owner, said = owner_of(self.library, request), ""
            try:
                action(owner, chosen if isinstance(chosen, str) else "")
                self.library.worker.wake()
            except Exception as error:
                said = status_html(error_line(error), "error")
            return {**self.refreshed(owner, None), self.status: said}

        return press

    def _editing(self, opener: ClipOpener) -> Callable[[object, gr.Request], Updates]:
        def edit(chosen: object, request: gr.Request) -> Updates:
            owner = owner_of(self.library, request)
            try:
                job = self.library.jobs.get(owner, _chosen(chosen))
                if job.state is not State.WAITING:
                    raise InvalidSettings("only a job that waits can be changed")
                tab = opener.tab_of(job.settings)
                said = status_html("Change it and press Generate: the job keeps its place in the list.")
                return {**opener.open(job.settings), tab.panel.status: said, tab.editing: job.id, self.status: said}
            except Exception as error:
                return {self.status: status_html(error_line(error), "error")}

        return edit

    def pause(self, *, paused: bool) -> None:
        """Let the whole list rest, or go on; raises UserError on a page of many visitors, whose list it is too."""
        if self.library.shared:
            raise UserError("the list is everybody's here: cancel your own jobs instead")
        self.library.jobs.set_paused(paused)

    def title(self, owner: str) -> str:
        """Return the title of the list, with the number of jobs that are not past."""
        states = [job.state for job in self.library.jobs.listed(owner)]
        parts = [f"{states.count(state)} {state.value}" for state in NAMED if state in states]
        parts += ["paused"] if self.library.jobs.paused else []
        return " · ".join(["Jobs", ", ".join(parts)]) if parts else "Jobs"

    def choices(self, owner: str) -> list[tuple[str, str]]:
        """Return the owner's jobs as (label, id): state, time left or until it begins, and prompt."""
        running = self.library.worker.running
        jobs = self.library.jobs.listed(owner)
        begins = self.waiting_times() if any(job.state is State.WAITING for job in jobs) else {}
        return [(self.label(job, running.progress if running else None, begins), job.id) for job in jobs]

    def waiting_times(self) -> dict[str, float | None]:
        """Return the seconds until each waiting job begins, None where nothing tells."""
        running, total = self.library.worker.running, 0.0
        known = True
        if running is not None:
            left = getattr(running.progress, "seconds_left", None)
            total, known = (left, True) if left is not None else (0.0, False)
        found: dict[str, float | None] = {}
        for job in self.library.jobs.order():
            found[job.id] = total if known else None
            seconds = self.library.estimates.seconds(job)
            total, known = total + (seconds or 0.0), known and seconds is not None
        return found

    def label(self, job: Job, progress: Any, begins: dict[str, float | None]) -> str:
        """Return a job in one line."""
        state = job.state.value
        if job.state is State.RUNNING and progress is not None:
            left = getattr(progress, "seconds_left", None)
            state = f"{progress.fraction:.0%}" + ("" if left is None else f", about {duration(left)} left")
        elif job.state is State.WAITING:
            place = list(begins).index(job.id) + 1 if job.id in begins else 1
            seconds = None if self.library.jobs.paused else begins.get(job.id)
            state = f"{place}. waiting" + ("" if seconds is None else f", begins in about {duration(seconds)}")
        elif job.state in RESUMABLE and job.message:
            state = f"{state} ({job.message[:PROMPT_CHARS]})"
        elif job.state is State.DONE:
            state = f"done, seed {job.settings.get('seed', (job.settings.get('seeds') or ['?'])[0])}"
        prompt = str(job.settings.get("prompt") or " | ".join(job.settings.get("prompts", [])))
        shown = prompt if len(prompt) <= PROMPT_CHARS else f"{prompt[:PROMPT_CHARS]}…"
        kind = str(job.settings.get("mode", job.kind)).replace("_", " ")
        return f"{state} · {kind} · {shown}" + (f" · {job.note}" if job.note else "")


def add_job_panel(context: PageContext, page: gr.Blocks) -> None:
    """Build the list of jobs inside the current Gradio block, closed where there is nothing to do."""
    with gr.Accordion("Jobs", open=False) as box:
        jobs = gr.Radio([], show_label=False, container=False, elem_classes="t2v-jobs")
        with gr.Row():
            labels = ("Sooner", "Later", "Change", "Cancel", "Start again", "Remove")
            buttons = {label: gr.Button(label, size="sm", min_width=90) for label in labels}
        with gr.Row():
            more = ["Cancel all", "Clear the finished", "Pause", "Go on"]
            hidden = ("Pause", "Go on") if context.library.shared else ()
            buttons |= {label: gr.Button(label, size="sm", min_width=90, visible=label not in hidden) for label in more}
        status = gr.HTML()
    JobPanel(context, box, jobs, status, gr.State(None)).connect(buttons, page)


def _chosen(job: object) -> str:
    if not isinstance(job, str) or not job:
        raise InvalidSettings("choose a job first")
    return job
