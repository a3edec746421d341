"""From a settings class to controls, and from what the controls hold to a video on the page.

It knows settings and errors, and no models: a tab hands in ``generate`` and gets its settings checked, its progress
shown, its job stopped when nobody waits for it any more, and its errors turned into one line.
"""

import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from errors import InvalidSettings, UserError
from jobs import Finished, Generate, run_job
from parsing import from_json, parse
from settings import Settings, field_facts
from storyboard_table import as_text, shown_rows
from views import PLACEHOLDER, finished_html, preview_html, progress_html, status_html

logger = logging.getLogger(__name__)

FORMATS = ("mp4", "gif")
FILES = ("source", "first_frame")
CHOSEN = ("model", "lora", "vae")  # settings that are names of what the operator offers
WIDEST_SLIDER = 256  # values; a thumb cannot hit one of more
FINE_SLIDER = 2  # up to this width a slider moves by hundredths, five at a time
MAX_NUMBER_CHARS = 100
BROKEN = "Something broke on the server and this job was stopped; the server's log says what. The next job can start."
PAGE_ONLY: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
PROGRESS_FACTS = ("step", "total", "frame", "frames", "fraction", "seconds", "seconds_left")


def control(kind: type[Settings], name: str, choices: Sequence[tuple[str, str]] = (), **options: Any) -> Any:
    """The control for one field; its help line is the field's unit and description.

    The bounds only guide the hand: a client can send anything, so what arrives is read by ``read_values``.
    An optional number is a text field, because Gradio's number field shows 0 where there is none.
    """
    facts = field_facts(kind)[name]
    unit = "" if facts["unit"] in (None, facts["label"].lower()) else f"{facts['unit'][0].upper()}{facts['unit'][1:]}. "
    shared = {"label": facts["label"], "info": unit + facts["description"], "value": facts.get("default"), **options}
    if choices or "enum" in facts:
        value = "" if facts["optional"] else shared["value"]
        return gr.Dropdown(choices=list(choices or facts["enum"]), **{**shared, "value": value})
    if facts["type"] == "boolean":
        return gr.Checkbox(**shared)
    if facts["optional"]:
        return gr.Textbox(placeholder="automatic", max_length=MAX_NUMBER_CHARS, **{**shared, "value": ""})
    if facts["type"] == "string":
        return gr.Textbox(max_length=facts["maxLength"], **{"lines": facts["lines"], **shared})
    low, high, whole = facts["minimum"], facts["maximum"], facts["type"] == "integer"
    if high - low <= WIDEST_SLIDER:
        step = 1 if whole else 0.5 if high - low > FINE_SLIDER else 0.05
        return gr.Slider(low, high, step=step, precision=0 if whole else None, **shared)
    return gr.Number(minimum=low, maximum=high, precision=0 if whole else None, **shared)


def shown_values(settings: Settings) -> dict[str, Any]:
    """The settings as the controls show them; ``read_values`` is the way back."""
    values = settings.to_dict()
    pairs = {name: ", ".join(map(str, value)) for name, value in values.items() if isinstance(value, list)}
    pairs |= {name: "" for name in CHOSEN if values.get(name, "") is None}
    return {name: pairs.get(name, values[name]) for name in type(settings).model_fields}


def read_values(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Validated settings from what the controls, or a client in their place, sent; raises InvalidSettings.

    The text field of an optional setting holds "" where the setting is None, and "881, 941" for a pair.
    """
    plain = dict(values)
    for name, facts in field_facts(kind).items():
        if facts["optional"] and isinstance(plain.get(name), str):
            plain[name] = _meaning(plain[name], facts["type"])
    return parse(plain, kind.mode)


def _meaning(text: str, wanted: str) -> Any:
    """What the text of an optional setting means, or the text itself, which ``parse`` then refuses."""
    parts = [part.strip() for part in text.split(",", 2)]
    if not text.strip():
        return None
    number = r"[0-9]+(\.[0-9]+)?" if wanted == "number" else "[0-9]+"
    if wanted == "string" or len(text) > MAX_NUMBER_CHARS or not all(re.fullmatch(number, part) for part in parts):
        return text
    numbers = [float(part) if wanted == "number" else int(part) for part in parts]
    return numbers if wanted == "array" or len(numbers) > 1 else numbers[0]


def uploaded(name: str, value: Any) -> Path | None:
    """The file in a file control, or None where there is none; raises InvalidSettings for any that is no upload.

    Looked at here, because Gradio looks only at what says of itself that it is a file.
    """
    if value is None:
        return None
    path = value.get("path") if isinstance(value, dict) else None
    folder = Path(get_upload_folder()).resolve()
    if not isinstance(path, str) or "\0" in path or not Path(path).resolve().is_relative_to(folder):
        raise InvalidSettings(f"{name}: must be an uploaded file")
    return Path(path)


def error_line(error: Exception) -> str:
    """What the user is told: a mistake of theirs as it stands; of a bug one line, while the log gets the rest."""
    if isinstance(error, UserError):
        return str(error)
    logger.error("a job broke down", exc_info=error)
    return BROKEN


def clip_facts(clip: Any) -> dict[str, Any]:
    """What a finished video is, as JSON; its settings make it again."""
    settings = clip.settings.to_dict()
    return {
        "seed": settings["seed"],
        "seconds": round(clip.seconds, 2),
        "notes": list(clip.notes),
        "settings": settings,
    }


@dataclass(frozen=True)
class ResultPanel:
    """Where the page shows a job: a line of status, and the preview or the video under it."""

    status: gr.HTML
    stage: gr.HTML
    video: gr.Video
    picture: gr.Image
    facts: gr.JSON
    cancel: gr.Button
    control: gr.Video | None = None

    @property
    def shown(self) -> list[Component]:
        """Everything that a job changes."""
        always = [self.status, self.stage, self.video, self.picture, self.facts, self.cancel]
        return always if self.control is None else [*always, self.control]

    def show(self, status: str, *, busy: bool = False) -> dict[Component, Any]:
        """The status, and no video (yet)."""
        return {
            self.status: status,
            self.stage: gr.HTML(PLACEHOLDER, visible=True),
            self.video: gr.Video(None, visible=False),
            self.picture: gr.Image(None, visible=False),
            self.cancel: gr.Button(interactive=busy),
            **self._show_control(None),
        }

    def show_progress(self, progress: Any) -> dict[Component, Any]:
        """How far it is, and what there is to see."""
        shown: dict[Component, Any] = {self.status: progress_html(progress)}
        return shown if progress.preview is None else {**shown, self.stage: preview_html(progress.preview)}

    def show_clip(self, finished: Finished) -> dict[Component, Any]:
        """The finished video; a GIF is a picture to a browser."""
        clip, path = finished.clip, finished.path
        moving = path.suffix != ".gif"
        return {
            self.status: finished_html(clip),
            self.stage: gr.HTML(visible=False),
            self.video: gr.Video(str(path) if moving else None, visible=moving),
            self.picture: gr.Image(None if moving else str(path), visible=not moving),
            self.facts: clip_facts(clip),
            self.cancel: gr.Button(interactive=False),
            **self._show_control(finished.control),
        }

    def _show_control(self, path: Path | None) -> dict[Component, Any]:
        if self.control is None:
            return {}
        return {self.control: gr.Video(None if path is None else str(path), visible=path is not None)}


def result_panel(cancel: gr.Button, *, with_control: bool = False) -> ResultPanel:
    """Build the panel where it stands on the page."""
    stage = gr.HTML(PLACEHOLDER)
    video = gr.Video(
        visible=False, autoplay=True, loop=True, show_label=False, buttons=["download"], elem_classes="t2v-result"
    )
    picture = gr.Image(
        visible=False, type="filepath", show_label=False, buttons=["download"], elem_classes="t2v-result"
    )
    control = None
    if with_control:
        control = gr.Video(
            visible=False, autoplay=True, loop=True, label="What it was made from", height=220, buttons=["download"]
        )
    status = gr.HTML()
    with gr.Accordion("Settings of this video", open=False):
        facts = gr.JSON(show_label=False)
    return ResultPanel(status, stage, video, picture, facts, cancel, control)


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
class JobRunner:
    """The two ways into ``generate``, both with settings by name: for the page in HTML, for a program in JSON."""

    kind: type[Settings]
    generate: Generate
    output_dir: Path | None
    endpoint: str
    fixed: Mapping[str, Any]

    def connect(self, run: Sequence[Any], controls: Mapping[str, Any], panel: ResultPanel) -> None:
        """Wire what starts a job (``run``: triggers) and Cancel, and open the endpoint named like the mode.

        Both ways in share one place: one job at a time.
        """

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

        def stopping() -> str:
            # The page ignores Generate until the server has said that the job before has ended; so "stopped" waits.
            return status_html("Stopping…", "running")

        def stopped() -> dict[Component, Any]:
            return panel.show(status_html("Stopped. Nothing was kept."))

        def waiting() -> dict[Component, Any]:
            return panel.show(status_html("Waiting for the server…"), busy=True)

        shown = panel.shown
        job: dict[str, Any] = dict(
            inputs_kwargs=dict(controls), preprocess=False, concurrency_id="generate", concurrency_limit=1
        )
        queued = {**PAGE_ONLY, "queue": True, "show_progress": "full", "show_progress_on": panel.stage}
        running = gr.on(run, waiting, None, shown, **PAGE_ONLY).then(for_page, None, shown, **queued, **job)
        running.failure(stopped, None, shown, **PAGE_ONLY)  # cancelled, or the queue was full
        panel.cancel.click(stopping, None, panel.status, cancels=[running], **PAGE_ONLY)
        gr.Button(visible=False).click(
            for_program,
            outputs=[gr.File(visible=False, label="video"), gr.JSON(visible=False, label="info")],
            api_name=self.endpoint,
            api_description=self.kind.__doc__,
            **job,
        )

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
