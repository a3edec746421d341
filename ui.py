"""From a settings class to controls, and from what the controls hold to a video on the page.

It knows settings and errors, and no models: a tab hands in ``generate`` and gets its settings checked, its progress
shown, its job stopped when nobody waits for it any more, and its errors turned into one line.
"""

import base64
import html
import io
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component
from PIL import Image

from errors import InvalidSettings, UserError
from jobs import Generate, run_job
from settings import Settings, parse, parse_text

logger = logging.getLogger(__name__)

FORMATS = ("mp4", "gif")
WIDEST_SLIDER = 256  # values; a thumb cannot hit one of more
MAX_NUMBER_CHARS = 100
BROKEN = "Something broke on the server and this job was stopped; the server's log says what. The next job can start."
PLACEHOLDER = '<div class="t2v-stage"><p>The video appears here.</p></div>'  # keeps the page from jumping later
PAGE_ONLY: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
PROGRESS_FACTS = ("step", "total", "frame", "frames", "fraction", "seconds", "seconds_left")


@cache
def field_facts(kind: type[Settings]) -> dict[str, dict[str, Any]]:
    """What the settings class declares about each field, as flat JSON schema, with ``optional`` added."""
    facts = {}
    for name, declared in kind.model_json_schema()["properties"].items():
        variants = declared.get("anyOf", [declared])
        concrete = next(variant for variant in variants if variant["type"] != "null")
        facts[name] = {**declared, **concrete, "optional": len(variants) > 1}
    return facts


def control(kind: type[Settings], name: str, choices: Sequence[tuple[str, str]] = (), **options: Any) -> Component:
    """The control for one field; its help line is the field's unit and description.

    The bounds only guide the hand: a client can send anything, so what arrives is read by ``read_values``.
    An optional number is a text field, because Gradio's number field shows 0 where there is none.
    """
    facts = field_facts(kind)[name]
    unit = "" if facts["unit"] in (None, facts["label"].lower()) else f"{facts['unit'][0].upper()}{facts['unit'][1:]}. "
    shared = {"label": facts["label"], "info": unit + facts["description"], "value": facts.get("default"), **options}
    if choices or "enum" in facts:
        return gr.Dropdown(choices=list(choices or facts["enum"]), **shared)
    if facts["type"] == "boolean":
        return gr.Checkbox(**shared)
    if facts["optional"]:
        return gr.Textbox(placeholder="automatic", max_length=MAX_NUMBER_CHARS, **{**shared, "value": ""})
    if facts["type"] == "string":
        return gr.Textbox(max_length=facts["maxLength"], **shared)
    low, high, whole = facts["minimum"], facts["maximum"], facts["type"] == "integer"
    if high - low <= WIDEST_SLIDER:
        return gr.Slider(low, high, step=1 if whole else 0.5, precision=0 if whole else None, **shared)
    return gr.Number(minimum=low, maximum=high, precision=0 if whole else None, **shared)


def shown_values(settings: Settings) -> dict[str, Any]:
    """The settings as the controls show them; ``read_values`` is the way back."""
    values = settings.to_dict()
    pairs = {name: ", ".join(map(str, value)) for name, value in values.items() if isinstance(value, list)}
    return {name: pairs.get(name, values[name]) for name in type(settings).model_fields}


def read_values(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Validated settings from what the controls, or a client in their place, sent; raises InvalidSettings.

    The text field of an optional setting holds "" where the setting is None, and "881, 941" for a pair.
    """
    plain = dict(values)
    for name, facts in field_facts(kind).items():
        if facts["optional"] and isinstance(plain.get(name), str):
            plain[name] = _number_or_pair(plain[name], facts["type"])
    return parse(plain, kind.mode)


def _number_or_pair(text: str, wanted: str) -> Any:
    """What the text means, or the text itself, which ``parse`` then refuses."""
    parts = [part.strip() for part in text.split(",", 2)]
    if not text.strip():
        return None
    if len(text) > MAX_NUMBER_CHARS or not all(part.isascii() and part.isdecimal() for part in parts):
        return text
    numbers = [int(part) for part in parts]
    return numbers if wanted == "array" or len(numbers) > 1 else numbers[0]


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

    def show(self, status: str, *, busy: bool = False) -> dict[Component, Any]:
        """The status, and no video (yet)."""
        return {
            self.status: status,
            self.stage: gr.HTML(PLACEHOLDER, visible=True),
            self.video: gr.Video(None, visible=False),
            self.picture: gr.Image(None, visible=False),
            self.cancel: gr.Button(interactive=busy),
        }

    def show_progress(self, progress: Any) -> dict[Component, Any]:
        """How far it is, and what there is to see."""
        shown = {self.status: progress_html(progress)}
        return shown if progress.preview is None else {**shown, self.stage: preview_html(progress.preview)}

    def show_clip(self, clip: Any, path: Path) -> dict[Component, Any]:
        """The finished video; a GIF is a picture to a browser."""
        moving = path.suffix != ".gif"
        return {
            self.status: finished_html(clip),
            self.stage: gr.HTML(visible=False),
            self.video: gr.Video(str(path) if moving else None, visible=moving),
            self.picture: gr.Image(None if moving else str(path), visible=not moving),
            self.facts: clip_facts(clip),
            self.cancel: gr.Button(interactive=False),
        }


def result_panel(cancel: gr.Button) -> ResultPanel:
    """Build the panel where it stands on the page."""
    stage = gr.HTML(PLACEHOLDER)
    video = gr.Video(
        visible=False, autoplay=True, loop=True, show_label=False, buttons=["download"], elem_classes="t2v-result"
    )
    picture = gr.Image(
        visible=False, type="filepath", show_label=False, buttons=["download"], elem_classes="t2v-result"
    )
    status = gr.HTML()
    with gr.Accordion("Settings of this video", open=False):
        facts = gr.JSON(show_label=False)
    return ResultPanel(status, stage, video, picture, facts, cancel)


def restored(kind: type[Settings], upload: Any, read_metadata: Callable[[Path], Mapping[str, str]]) -> Settings:
    """The settings inside an uploaded video, which is then deleted; raises UserError."""
    if not isinstance(upload, dict):
        raise InvalidSettings("choose a video that this program made")
    path = Path(upload["path"])
    try:
        settings = parse_text(read_metadata(path).get("settings", ""))
    finally:
        path.unlink(missing_ok=True)
    if not isinstance(settings, kind):
        raise InvalidSettings(f"this video was made in another tab ({settings.mode})")
    return settings


@dataclass(frozen=True)
class JobRunner:
    """The two ways into ``generate``, both with settings by name: for the page in HTML, for a program in JSON."""

    kind: type[Settings]
    generate: Generate
    output_dir: Path | None = None

    def connect(self, run: Sequence[Any], controls: Mapping[str, Component], panel: ResultPanel) -> None:
        """Wire what starts a job (``run``: triggers) and Cancel, and open the endpoint named like the mode.

        Both ways in share one place: one job at a time.
        """

        async def for_page(**values: Any) -> AsyncIterator[dict[Component, Any]]:
            yield {panel.status: status_html("Loading the model…", "running")}
            try:
                async with aclosing(self._updates(values)) as updates:
                    async for update in updates:
                        yield panel.show_clip(*update) if isinstance(update, tuple) else panel.show_progress(update)
            except Exception as error:
                yield panel.show(status_html(error_line(error), "error"))

        async def for_program(**values: Any) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
            try:
                async with aclosing(self._updates(values)) as updates:
                    async for update in updates:
                        if isinstance(update, tuple):
                            yield str(update[1]), clip_facts(update[0])
                        else:
                            yield None, {"progress": {name: getattr(update, name) for name in PROGRESS_FACTS}}
            except Exception as error:
                raise gr.Error(error_line(error), print_exception=False) from None

        def stopped() -> dict[Component, Any]:
            return panel.show(status_html("Stopped. Nothing was kept."))

        def waiting() -> dict[Component, Any]:
            return panel.show(status_html("Waiting for the server…"), busy=True)

        shown = [panel.status, panel.stage, panel.video, panel.picture, panel.facts, panel.cancel]
        job = {
            "inputs_kwargs": dict(controls),
            "preprocess": False,
            "concurrency_id": "generate",
            "concurrency_limit": 1,
        }
        queued = {**PAGE_ONLY, "queue": True, "show_progress": "full", "show_progress_on": panel.stage}
        running = gr.on(run, waiting, None, shown, **PAGE_ONLY).then(for_page, None, shown, **queued, **job)
        running.failure(stopped, None, shown, **PAGE_ONLY)  # cancelled, or the queue was full
        panel.cancel.click(stopped, None, shown, cancels=[running], **PAGE_ONLY)
        gr.Button(visible=False).click(
            for_program,
            outputs=[gr.File(visible=False, label="video"), gr.JSON(visible=False, label="info")],
            api_name=self.kind.mode,
            api_description=self.kind.__doc__,
            **job,
        )

    async def _updates(self, values: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Check everything, then run; raises UserError before anything has started."""
        values = dict(values)
        suffix = values.pop("format", FORMATS[0])
        if suffix not in FORMATS:
            raise InvalidSettings(f"format: must be one of {', '.join(FORMATS)}")
        settings = read_values(self.kind, values)
        async with aclosing(run_job(self.generate, settings, suffix, self.output_dir)) as job:
            async for update in job:
                yield update


def status_html(text: str, tone: str = "", fraction: float | None = None, notes: Sequence[str] = ()) -> str:
    """A line that is text whatever it holds, a bar while something runs, and remarks."""
    bar = "" if fraction is None else f'<div class="t2v-bar"><div style="width:{fraction:.1%}"></div></div>'
    remarks = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f'<div class="t2v-status {tone}" role="status"><p>{html.escape(text)}</p>{bar}{remarks}</div>'


def progress_html(progress: Any) -> str:
    """The step it is at, the frames done in it where it takes several goes, and the time left."""
    if progress.step == progress.total:
        return status_html("Writing the video…", "running", progress.fraction)
    parts = [f"Step {progress.step + 1} of {progress.total}"]
    if progress.frame:
        parts.append(f"frame {progress.frame} of {progress.frames}")
    if progress.seconds_left is not None:
        parts.append(f"about {duration(progress.seconds_left)} left")
    return status_html(" · ".join(parts), "running", progress.fraction)


def finished_html(clip: Any) -> str:
    """Time, seed and shape of the video, and the model's remarks."""
    frames, height, width = clip.frames.shape[:3]
    shape = f"{frames} frame{'s' * (frames > 1)}, {clip.fps} fps, {width}x{height}"
    return status_html(
        f"Done in {duration(clip.seconds)} · seed {clip.settings.seed} · {shape}", "done", notes=clip.notes
    )


def preview_html(frames: np.ndarray) -> str:
    """Some uint8 frames (n, h, w, 3), four to a row, inside the page itself: a preview leaves no file behind."""
    columns = min(len(frames), 4)
    blank = np.full_like(frames[:1], 255).repeat(-len(frames) % columns, axis=0)
    rows = np.concatenate([frames, blank]).reshape(-1, columns, *frames.shape[1:])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=90, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<div class="t2v-stage"><img alt="The frames so far" src="data:image/jpeg;base64,{data}"></div>'


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
