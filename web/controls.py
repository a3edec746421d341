"""From a settings class to controls and back, and the panel in which a job is shown.

It knows settings and errors, and no models.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from errors import InvalidSettings, UserError
from settings import Settings, field_facts
from settings.parsing import Validated, validate
from web.html import NOTHING_KEPT, PLACEHOLDER, finished_html, preview_html, progress_html, status_html
from web.jobs import Finished

logger = logging.getLogger(__name__)

FORMATS = ("mp4", "gif")
CHOSEN = ("model", "lora", "vae")  # settings that are names of what the operator offers
WIDEST_SLIDER = 256  # values; a thumb cannot hit one of more
FINE_SLIDER = 2  # up to this width a slider moves by hundredths, five at a time
MAX_NUMBER_CHARS = 100
BROKEN = "Something broke on the server and this job was stopped; the server's log says what. The next job can start."
PAGE_ONLY: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}


def control(kind: type[Settings], name: str, choices: Sequence[tuple[str, str]] = (), **options: Any) -> Any:
    """The control for one field; its help line is the field's unit and description.

    The bounds only guide the hand: a client can send anything, so what arrives is read by ``read_values``.
    An optional number is a text field, because Gradio's number field shows 0 where there is none.
    """
    facts = field_facts(kind)[name]
    unit = "" if facts["unit"] in (None, facts["label"].lower()) else f"{facts['unit'][0].upper()}{facts['unit'][1:]}. "
    shared = {"label": facts["label"], "info": unit + facts["description"], "value": facts.get("default"), **options}
    if choices or "enum" in facts:
        listed = list(choices or facts["enum"])
        if not facts["optional"]:
            return gr.Dropdown(choices=listed, **shared)
        return gr.Dropdown(choices=listed if choices else [("Automatic", ""), *listed], **{**shared, "value": ""})
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


def read_values(kind: type[Validated], values: Mapping[str, Any]) -> Validated:
    """Validated settings from what the controls, or a client in their place, sent; raises InvalidSettings.

    The text field of an optional setting holds "" where the setting is None, and "881, 941" for a pair.
    """
    plain = dict(values)
    for name, facts in field_facts(kind).items():
        if facts["optional"] and isinstance(plain.get(name), str):
            plain[name] = _meaning(plain[name], facts["type"])
    return validate(kind, plain)


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
    kept: gr.State | None = None  # of a video that is not finished there is nothing to keep

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

    def show_stopped(self) -> dict[Component, Any]:
        """What is left of a job that was cancelled."""
        return self.show(status_html(NOTHING_KEPT))

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
        facts = gr.JSON(show_label=False, elem_classes="t2v-facts")
    return ResultPanel(status, stage, video, picture, facts, cancel, control)
