"""Jobs that generate a clip: from what a tab's components hold, or a program sends, to the list of jobs and to a file.

Settings are checked before anything is added. The page watches its job and may go away and come back; a program that
goes away ends its job.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from errors import GenerationFailed, InvalidSettings
from library.job_list import Job, NewJob, Result, State
from library.service import Library
from model import Progress
from model_manager.offered_names import NAMING_SETTINGS
from settings import Settings
from settings.parsing import from_json, validate
from web.controls import read_values, shown_values, uploaded
from web.events import PAGE_ONLY, ProgramUpdates, Updates, error_line
from web.html import NOTHING_KEPT, status_html, waiting_html
from web.result_panel import ResultPanel, program_facts
from web.storyboard import rows_of_text, text_of_table
from web.watching import Waiting, last_finished, next_open_job, owner_of, watch_job

SHOWN_AGAIN_S = 12 * 3600  # a clip that was finished while nobody looked
FORMATS = ("mp4", "gif")
FILES = ("source", "first_frame")
PROGRESS_FACTS = ("step", "total", "frame", "frames", "fraction", "seconds", "seconds_left")
INTERRUPTED = "The server was stopped while this job ran; it can be started again in the list of jobs."
ReadMetadata = Callable[[Path], Mapping[str, str]]


@dataclass(frozen=True)
class GenerationHandlers:
    """Handlers of one tab's jobs: settings arrive by name, the page gets HTML and a program JSON.

    ``fixed`` are the settings that the tab does not ask for.
    """

    kind: type[Settings]
    library: Library
    endpoint: str
    fixed: Mapping[str, object]

    def connect(
        self, triggers: Sequence[Callable[..., Any]], controls: Mapping[str, Component], panel: ResultPanel
    ) -> None:
        """Wire the triggers of a job, its Cancel button and the loading of the page, and open the endpoint."""

        def add(request: gr.Request, **values: object) -> Updates:
            owner = owner_of(self.library, request)
            try:
                job = self.add(owner, values)
            except Exception as error:
                return {panel.status: status_html(error_line(error), "error")}
            status = waiting_html(len(self.library.jobs.ahead_of(job)), paused=self.library.jobs.paused)
            return {panel.status: status, panel.cancel: gr.Button(interactive=True)}

        async def watch(request: gr.Request) -> AsyncGenerator[Updates, None]:
            async with aclosing(self._watched(owner_of(self.library, request), panel)) as updates:
                async for update in updates:
                    yield update

        def cancel(request: gr.Request) -> str:
            owner = owner_of(self.library, request)
            job = next_open_job(self.library, owner, self.is_ours)
            if job is not None:
                self.library.worker.cancel(owner, job.id)
            return status_html("Stopping…", "running")

        endless: dict[str, Any] = {**PAGE_ONLY, "queue": True, "concurrency_limit": None}
        shown, inputs = [panel.status, panel.cancel], {"inputs_kwargs": dict(controls), "preprocess": False}
        added = gr.on(triggers, add, None, shown, **inputs, **PAGE_ONLY, trigger_mode="multiple")
        added.then(watch, None, panel.shown, **endless)
        page = Context.root_block
        assert page is not None, "a tab is built inside a page"
        page.load(self._returning(controls, panel), None, [*panel.shown, *controls.values()], **PAGE_ONLY).then(
            watch, None, panel.shown, **endless
        )
        panel.cancel.click(cancel, None, panel.status, **PAGE_ONLY)
        self._open_endpoint(inputs)

    def _returning(self, controls: Mapping[str, Component], panel: ResultPanel) -> Callable[[gr.Request], Updates]:
        """Return the handler of a page that is opened or reloaded: it shows the last clip and the last settings."""

        def returning(request: gr.Request) -> Updates:
            owner = owner_of(self.library, request)
            last = next((job for job in self.library.jobs.listed(owner) if self.is_ours(job)), None)
            if last is None:
                return {panel.status: gr.skip()}
            settings = validate(self.kind, {name: value for name, value in last.settings.items() if name != "mode"})
            values = restored_values(settings.model_copy(update={"seed": -1}), controls, panel.status)
            finished = last_finished(self.library, owner, self.is_ours, time.time() - SHOWN_AGAIN_S)
            shown: Updates = {panel.status: gr.skip()} if finished is None else panel.show_result(_result_of(finished))
            return values | shown

        return returning

    def _open_endpoint(self, inputs: Mapping[str, Any]) -> None:
        """Let programs add a job and wait for its file; a program that goes away ends its job."""

        async def for_program(
            request: gr.Request, source: object = None, first_frame: object = None, **values: object
        ) -> ProgramUpdates:
            # The files are named here because Gradio offers a parameter without a value only so as optional.
            try:
                owner = owner_of(self.library, request)
                job = self.add(owner, {**values, "source": source, "first_frame": first_frame})
                try:
                    async with aclosing(watch_job(self.library, owner, job)) as updates:
                        async for update in updates:
                            yield _for_program(update)
                finally:
                    self.library.worker.cancel(owner, job)
            except Exception as error:
                raise gr.Error(error_line(error), print_exception=False) from None

        gr.Button(visible=False).click(
            for_program,
            outputs=[gr.File(visible=False, label="file"), gr.JSON(visible=False, label="info")],
            api_name=self.endpoint,
            api_description=self.kind.__doc__,
            concurrency_limit=None,
            **inputs,
        )

    def add(self, owner: str, values: Mapping[str, object]) -> str:
        """Check everything, add a job to the owner's and return its id; raises UserError, and nothing is added then."""
        values = dict(values)
        suffix = values.pop("format", FORMATS[0])
        if not isinstance(suffix, str) or suffix not in FORMATS:
            raise InvalidSettings(f"format: must be one of {', '.join(FORMATS)}")
        files = {name: path for name in FILES if (path := uploaded(name, values.pop(name, None))) is not None}
        if "storyboard" in values:
            values["storyboard"] = text_of_table(values["storyboard"])
        settings = read_values(self.kind, {**values, **self.fixed}).resolved()
        (job,) = self.library.jobs.add(owner, [NewJob(settings.to_dict(), suffix=suffix, files=files)])
        self.library.worker.wake()
        return job

    def is_ours(self, job: Job) -> bool:
        """Return whether a job of the list is one that this tab makes."""
        values = job.settings
        if job.kind != "generate" or values.get("mode") != self.kind.mode:
            return False
        return all(values.get(name) == value for name, value in self.fixed.items())

    async def _watched(self, owner: str, panel: ResultPanel) -> AsyncGenerator[Updates, None]:
        """Show the owner's jobs of this tab, one after the other, until none is open."""
        yield {panel.status: gr.skip()}  # a generator that yields nothing empties what it should leave alone
        while (job := next_open_job(self.library, owner, self.is_ours)) is not None:
            yield {panel.cancel: gr.Button(interactive=True)}
            async with aclosing(watch_job(self.library, owner, job.id)) as updates:
                async for update in updates:
                    yield self._for_page(owner, update, panel)

    def _for_page(self, owner: str, update: Waiting | Progress | Job, panel: ResultPanel) -> Updates:
        """Return what the panel shows of a job; where it came to nothing, the clip before it again."""
        if isinstance(update, Waiting):
            return {panel.status: waiting_html(update.ahead, paused=update.paused)}
        if isinstance(update, Progress):
            return panel.show_progress(update)
        if update.state is State.DONE:
            return panel.show_result(_result_of(update))
        before = last_finished(self.library, owner, self.is_ours)
        shown = panel.show_nothing() if before is None else panel.show_result(_result_of(before))
        cancelled = update.state is State.CANCELLED
        status = status_html(NOTHING_KEPT) if cancelled else status_html(update.message or INTERRUPTED, "error")
        return {**shown, panel.status: status}

    def connect_restore(
        self,
        upload: gr.UploadButton,
        controls: Mapping[str, Component],
        *,
        panel: ResultPanel,
        read_metadata: ReadMetadata,
    ) -> None:
        """Fill the components from the settings inside an uploaded video."""

        def restore(file: object) -> Updates:
            try:
                settings = read_settings(self.kind, file, read_metadata)
                if not self.of_this_tab(settings):
                    raise InvalidSettings("this video was made in another tab")
                return restored_values(settings, controls, panel.status)
            except Exception as error:
                return {panel.status: status_html(error_line(error), "error")}

        upload.upload(restore, upload, [panel.status, *controls.values()], preprocess=False, **PAGE_ONLY)

    def of_this_tab(self, settings: Settings) -> bool:
        """Return whether settings of this kind have the values that the tab does not ask for."""
        return all(getattr(settings, name) == value for name, value in self.fixed.items())


def read_settings(kind: type[Settings], upload: object, read_metadata: ReadMetadata) -> Settings:
    """Return the settings inside an uploaded video, which is then deleted; raises UserError."""
    path = uploaded("video", upload)
    if path is None:
        raise InvalidSettings("choose a video that this program made")
    try:
        settings = from_json(read_metadata(path).get("settings", ""))
    finally:
        path.unlink(missing_ok=True)
    if settings.mode != kind.mode:
        raise InvalidSettings(f"this video was made in another tab ({settings.mode})")
    return settings


def restored_values(settings: Settings, controls: Mapping[str, Component], status: gr.HTML) -> Updates:
    """Return the values of all components for these settings, and the status, which names what is not offered here."""
    values = shown_values(settings)
    absent = {name: values.pop(name) for name in NAMING_SETTINGS if not _is_offered(values[name], controls.get(name))}
    message = "Settings restored; Generate makes this video again, from the same files where it had any."
    if absent:
        missing = (f"the {NAMING_SETTINGS[name]}, which is not offered here: {value}" for name, value in absent.items())
        message = f"Settings restored, all but {'; '.join(missing)}"
    if isinstance(controls.get("storyboard"), gr.Dataframe):
        values["storyboard"] = rows_of_text(values["storyboard"], values["num_frames"])
    return {status: status_html(message), **{controls[name]: values[name] for name in values if name in controls}}


def _is_offered(value: str, control: Component | None) -> bool:
    """Return whether the page has this choice; without a component for it, only none can be chosen."""
    return value in [choice for _, choice in control.choices] if isinstance(control, gr.Dropdown) else value == ""


def _result_of(job: Job) -> Result:
    assert job.result is not None, "a job that is done has a result"
    return job.result


def _for_program(update: Waiting | Progress | Job) -> tuple[str | None, dict[str, Any]]:
    """Return a file, and facts or progress; raises GenerationFailed, Cancelled where a job made none."""
    if isinstance(update, Waiting):
        return None, {"progress": {"ahead": update.ahead}}
    if isinstance(update, Progress):
        return None, {"progress": {name: getattr(update, name) for name in PROGRESS_FACTS}}
    if update.state is State.DONE:
        return str(_result_of(update).file), program_facts(_result_of(update))
    raise GenerationFailed(update.message or NOTHING_KEPT)
