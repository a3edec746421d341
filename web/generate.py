"""Jobs that generate a clip: from what a tab's components hold, or a program sends, to a file.

A tab hands in ``generate``. Its settings are checked here, its progress is shown, its job is stopped when nobody waits
for it any more, and its errors become one line.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from errors import InvalidSettings
from model import Progress
from model_manager.discovery import current_id
from model_manager.offered_names import NAMING_SETTINGS
from settings import GenerationSettings, Settings
from settings.parsing import parse, read_mapping, restorable
from web.controls import read_values, shown_values, uploaded
from web.events import PAGE_ONLY, EndpointHandlers, ProgramUpdates, Updates, connect_job, error_line
from web.html import status_html
from web.jobs import FinishedClip, Generate, run_job
from web.result_panel import ResultPanel, clip_facts
from web.storyboard import rows_of_text, text_of_table

FORMATS = ("mp4", "gif")
FILES = ("source", "first_frame")
PROGRESS_FACTS = ("step", "total", "frame", "frames", "fraction", "seconds", "seconds_left")
ReadMetadata = Callable[[Path], Mapping[str, str]]


@dataclass(frozen=True)
class GenerationHandlers:
    """Handlers of one tab's jobs: settings arrive by name, the page gets HTML and a program JSON.

    ``fixed`` are the settings that the tab does not ask for.
    """

    kind: type[Settings]
    generate: Generate
    output_dir: Path | None
    endpoint: str
    fixed: Mapping[str, object]

    def connect(
        self, triggers: Sequence[Callable[..., Any]], controls: Mapping[str, Component], panel: ResultPanel
    ) -> None:
        """Wire the triggers of a job and its Cancel button, and open the endpoint named like the mode."""

        async def for_page(**values: object) -> AsyncGenerator[Updates, None]:
            yield {panel.status: status_html("Loading the model…", "running")}
            try:
                async with aclosing(self._updates(values)) as updates:
                    async for update in updates:
                        if isinstance(update, FinishedClip):
                            yield panel.show_clip(update)
                        else:
                            yield panel.show_progress(update)
            except Exception as error:
                yield panel.show(status_html(error_line(error), "error"))

        async def for_program(source: object = None, first_frame: object = None, **values: object) -> ProgramUpdates:
            # The files are named here because Gradio offers a parameter without a value only so as optional.
            try:
                files = {"source": source, "first_frame": first_frame}
                async with aclosing(self._updates(values | files)) as updates:
                    async for update in updates:
                        if isinstance(update, FinishedClip):
                            yield str(update.path), clip_facts(update.clip)
                        else:
                            yield None, {"progress": {name: getattr(update, name) for name in PROGRESS_FACTS}}
            except Exception as error:
                raise gr.Error(error_line(error), print_exception=False) from None

        handlers = EndpointHandlers(for_page, for_program, self.endpoint, self.kind.__doc__)
        connect_job(triggers, controls, panel=panel, handlers=handlers)

    async def _updates(self, values: Mapping[str, object]) -> AsyncGenerator[Progress | FinishedClip, None]:
        """Check everything, then run; raises UserError before anything has started."""
        values = dict(values)
        suffix = values.pop("format", FORMATS[0])
        if not isinstance(suffix, str) or suffix not in FORMATS:
            raise InvalidSettings(f"format: must be one of {', '.join(FORMATS)}")
        given = {name: path for name in FILES if (path := uploaded(name, values.pop(name, None))) is not None}
        if "storyboard" in values:
            values["storyboard"] = text_of_table(values["storyboard"])
        settings = read_values(self.kind, {**values, **self.fixed})
        job = run_job(self.generate, settings, suffix=suffix, output_dir=self.output_dir, given=given)
        async with aclosing(job) as updates:
            async for update in updates:
                yield update

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
                settings, lost = read_settings(self.kind, file, read_metadata)
                if not self.of_this_tab(settings):
                    raise InvalidSettings("this video was made in another tab")
                return restored_values(settings, controls, panel.status, lost)
            except Exception as error:
                return {panel.status: status_html(error_line(error), "error")}

        upload.upload(restore, upload, [panel.status, *controls.values()], preprocess=False, **PAGE_ONLY)

    def of_this_tab(self, settings: Settings) -> bool:
        """Return whether settings of this kind have the values that the tab does not ask for."""
        return all(getattr(settings, name) == value for name, value in self.fixed.items())


def read_settings(
    kind: type[Settings], upload: object, read_metadata: ReadMetadata
) -> tuple[GenerationSettings, list[str]]:
    """Return the settings inside an uploaded video, which is then deleted, and what of them this version cannot take;
    raises UserError."""
    path = uploaded("video", upload)
    if path is None:
        raise InvalidSettings("choose a video that this program made")
    try:
        values, lost = restorable(read_mapping(read_metadata(path).get("settings", ""), only_json=True))
        settings = parse(values)
    finally:
        path.unlink(missing_ok=True)
    if settings.mode != kind.mode:
        raise InvalidSettings(f"this video was made in another tab ({settings.mode})")
    return settings, lost


def restored_values(
    settings: Settings, controls: Mapping[str, Component], status: gr.HTML, lost: Sequence[str] = ()
) -> Updates:
    """Return the values of all components for these settings, and the status, which names what is not offered here, and
    what was ``lost`` before."""
    values = shown_values(settings)
    values["model"] = current_id(values["model"])
    absent = {name: values.pop(name) for name in NAMING_SETTINGS if not _is_offered(values[name], controls.get(name))}
    message = "Settings restored; Generate makes this video again, from the same files where it had any."
    if absent or lost:
        missing = [f"the {NAMING_SETTINGS[name]}, which is not offered here: {value}" for name, value in absent.items()]
        message = f"Settings restored, all but {'; '.join([*missing, *lost])}"
    if isinstance(controls.get("storyboard"), gr.Dataframe):
        values["storyboard"] = rows_of_text(values["storyboard"], values["num_frames"])
    return {status: status_html(message), **{controls[name]: values[name] for name in values if name in controls}}


def _is_offered(value: str, control: Component | None) -> bool:
    """Return whether the page has this choice; without a component for it, only none can be chosen."""
    return value in [choice for _, choice in control.choices] if isinstance(control, gr.Dropdown) else value == ""
