"""From what the controls hold, or a program sends, to a video: one tab's jobs.

A tab hands in ``generate`` and gets its settings checked, its progress shown, its job stopped when nobody waits for it
any more, and its errors turned into one line.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from errors import InvalidSettings
from settings import Settings
from settings.parsing import from_json
from web.controls import (
    CHOSEN,
    FORMATS,
    PAGE_ONLY,
    ResultPanel,
    clip_facts,
    error_line,
    read_values,
    shown_values,
    uploaded,
)
from web.html import status_html
from web.jobs import Finished, Generate, run_job
from web.storyboard_table import as_text, shown_rows

FILES = ("source", "first_frame")
PROGRESS_FACTS = ("step", "total", "frame", "frames", "fraction", "seconds", "seconds_left")


def restored(kind: type[Settings], upload: Any, read_metadata: Callable[[Path], Mapping[str, str]]) -> Settings:
    """The settings inside an uploaded video, which is then deleted; raises UserError."""
    path = uploaded("video", upload)
    if path is None:
        raise InvalidSettings("choose a video that this program made")
    try:
        settings = from_json(read_metadata(path).get("settings", ""))
    finally:
        path.unlink(missing_ok=True)
    if not isinstance(settings, kind):
        raise InvalidSettings(f"this video was made in another tab ({settings.mode})")
    return settings


def offered(name: str, value: str, controls: Mapping[str, Any]) -> bool:
    """Whether the page has this choice; where it has no control, only nothing can be chosen."""
    return value in [choice for _, choice in controls[name].choices] if name in controls else value == ""


def missing(absent: Mapping[str, str]) -> str:
    """What a restored video had and this page has not."""
    labels = {"model": "model", "lora": "LoRA", "vae": "VAE"}
    return "; ".join(f"the {labels[name]}, which is not offered here: {value}" for name, value in absent.items())


@dataclass(frozen=True)
class Job:
    """The two ways into one kind of job, as generators: ``for_page`` yields what the panel shows, ``for_program`` a
    file and facts; ``endpoint`` is the latter's name, ``about`` what is said of it."""

    for_page: Callable[..., Any]
    for_program: Callable[..., Any]
    endpoint: str
    about: str | None


def connect_job(run: Sequence[Any], inputs: Mapping[str, Any], panel: Any, job: Job) -> None:
    """Wire what starts a job (``run``: triggers) and Cancel, and open the endpoint.

    Both ways in share one place with all other jobs: one at a time. ``panel`` has ``status``, ``stage``, ``cancel``,
    all that is ``shown``, ``show(status, busy=...)``, and ``show_stopped``, which gets what is in ``kept``, if that is
    anything.
    """

    def stopping() -> str:
        # The page ignores Generate until the server has said that the job before has ended; so "stopped" waits.
        return status_html("Stopping…", "running")

    def waiting() -> dict[Component, Any]:
        return panel.show(status_html("Waiting for the server…"), busy=True)

    shown = panel.shown
    place: dict[str, Any] = dict(
        inputs_kwargs=dict(inputs), preprocess=False, concurrency_id="generate", concurrency_limit=1
    )
    queued = {**PAGE_ONLY, "queue": True, "show_progress": "full", "show_progress_on": panel.stage}
    running = gr.on(run, waiting, None, shown, **PAGE_ONLY).then(job.for_page, None, shown, **queued, **place)
    running.failure(panel.show_stopped, panel.kept, shown, **PAGE_ONLY)  # cancelled, or the queue was full
    panel.cancel.click(stopping, None, panel.status, cancels=[running], **PAGE_ONLY)
    gr.Button(visible=False).click(
        job.for_program,
        outputs=[gr.File(visible=False, label="file"), gr.JSON(visible=False, label="info")],
        api_name=job.endpoint,
        api_description=job.about,
        **place,
    )


@dataclass(frozen=True)
class JobRunner:
    """The two ways into ``generate``, both with settings by name: for the page in HTML, for a program in JSON."""

    kind: type[Settings]
    generate: Generate
    output_dir: Path | None
    endpoint: str
    fixed: Mapping[str, Any]

    def connect(self, run: Sequence[Any], controls: Mapping[str, Any], panel: ResultPanel) -> None:
        """Wire what starts a job (``run``: triggers) and Cancel, and open the endpoint named like the mode."""

        async def for_page(**values: Any) -> AsyncGenerator[dict[Component, Any], None]:
            yield {panel.status: status_html("Loading the model…", "running")}
            try:
                async with aclosing(self._updates(values)) as updates:
                    async for update in updates:
                        done = isinstance(update, Finished)
                        yield panel.show_clip(update) if done else panel.show_progress(update)
            except Exception as error:
                yield panel.show(status_html(error_line(error), "error"))

        async def for_program(
            source: Any = None, first_frame: Any = None, **values: Any
        ) -> AsyncGenerator[tuple[str | None, dict[str, Any]], None]:
            # The files are named here because Gradio offers a parameter without a value only so as optional.
            try:
                files = {"source": source, "first_frame": first_frame}
                async with aclosing(self._updates(values | files)) as updates:
                    async for update in updates:
                        if isinstance(update, Finished):
                            yield str(update.path), clip_facts(update.clip)
                        else:
                            yield None, {"progress": {name: getattr(update, name) for name in PROGRESS_FACTS}}
            except Exception as error:
                raise gr.Error(error_line(error), print_exception=False) from None

        connect_job(run, controls, panel, Job(for_page, for_program, self.endpoint, self.kind.__doc__))

    def connect_restore(
        self, upload: gr.UploadButton, controls: Mapping[str, Any], panel: ResultPanel, read_metadata: Any
    ) -> None:
        """Fill the controls from the settings inside an uploaded video."""

        def restore(file: Any) -> dict[Component, Any]:
            try:
                settings = restored(self.kind, file, read_metadata)
                if not self.of_this_tab(settings):
                    raise InvalidSettings("this video was made in another tab")
                values = shown_values(settings)
            except Exception as error:
                return {panel.status: status_html(error_line(error), "error")}
            absent = {name: values.pop(name) for name in CHOSEN if not offered(name, values[name], controls)}
            message = "Settings restored; Generate makes this video again, from the same files where it had any."
            if absent:
                message = f"Settings restored, all but {missing(absent)}"
            values = {name: value for name, value in values.items() if name in controls}
            if isinstance(controls.get("storyboard"), gr.Dataframe):
                values["storyboard"] = shown_rows(values["storyboard"], values["num_frames"])
            return {panel.status: status_html(message), **{controls[name]: value for name, value in values.items()}}

        upload.upload(restore, upload, [panel.status, *controls.values()], preprocess=False, **PAGE_ONLY)

    def of_this_tab(self, settings: Settings) -> bool:
        """Whether settings of this kind have the values that this tab does not ask for."""
        return all(getattr(settings, name) == value for name, value in self.fixed.items())

    async def _updates(self, values: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Check everything, then run; raises UserError before anything has started."""
        values = dict(values)
        suffix = values.pop("format", FORMATS[0])
        if suffix not in FORMATS:
            raise InvalidSettings(f"format: must be one of {', '.join(FORMATS)}")
        given = {name: path for name in FILES if (path := uploaded(name, values.pop(name, None))) is not None}
        if "storyboard" in values:
            values["storyboard"] = as_text(values["storyboard"])
        settings = read_values(self.kind, {**values, **self.fixed})
        async with aclosing(run_job(self.generate, settings, suffix, self.output_dir, given)) as job:
            async for update in job:
                yield update
