"""Jobs that generate a clip: from what a tab's components hold, or a program sends, to jobs of the list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from errors import InvalidSettings
from library.job import Job, NewJob, Result
from library.variations import Variation, variations
from media.video_io import SUFFIXES
from model import Progress
from model_manager.discovery import current_id
from model_manager.offered_names import NAMING_SETTINGS
from settings import Settings
from settings.parsing import parse, read_mapping
from web.controls import read_values, shown_values, uploaded
from web.events import Updates
from web.html import status_html
from web.result_panel import program_facts
from web.storyboard import rows_of_text, text_of_table
from web.variation_controls import VARYING, read_variations

FORMATS = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)
FILES = ("source", "first_frame")
PROGRESS_FACTS = ("step", "total", "frame", "frames", "fraction", "seconds", "seconds_left")
ReadMetadata = Callable[[Path], Mapping[str, str]]


@dataclass(frozen=True)
class GenerationJobs:
    """Jobs of one mode; ``fixed`` are the settings that its tab does not ask for."""

    settings: type[Settings]
    endpoint: str
    fixed: Mapping[str, object]

    @property
    def about(self) -> str | None:
        """Description in the API."""
        return self.settings.__doc__

    def read(self, values: Mapping[str, object]) -> list[NewJob]:
        """Check what was sent and return one job for each seed, prompt and value of a grid; raises UserError."""
        plain = dict(values)
        varying = {name: plain.pop(name, None) for name in VARYING}
        suffix = plain.pop("format", FORMATS[0])
        if not isinstance(suffix, str) or suffix not in FORMATS:
            raise InvalidSettings(f"format: must be one of {', '.join(FORMATS)}")
        files = {name: path for name in FILES if (path := uploaded(name, plain.pop(name, None))) is not None}
        if "storyboard" in plain:
            plain["storyboard"] = text_of_table(plain["storyboard"])
        asked = read_variations(self.settings, varying)
        if asked.prompts:
            plain["prompt"] = asked.prompts[0]
            if plain.get("storyboard"):
                raise InvalidSettings("prompts: the storyboard says what each frame shows; clear it, or these")
        settings = read_values(self.settings, {**plain, **self.fixed})
        every = variations(settings.to_dict(), prompts=asked.prompts, seeds=asked.seeds, grid=asked.grid)
        return [self._job(variation, suffix, files) for variation in every]

    def _job(self, variation: Variation, suffix: str, files: Mapping[str, Path]) -> NewJob:
        settings = parse(variation.values).resolved()
        return NewJob(settings.to_dict(), suffix=suffix, files=files, note=variation.note)

    def is_ours(self, job: Job) -> bool:
        """Return whether a job of the list is one that this tab makes."""
        return job.kind == "generate" and self.makes(job.settings)

    def makes(self, settings: Mapping[str, Any]) -> bool:
        """Return whether plain settings are of this mode, with the values that the tab does not ask for."""
        fixed = all(settings.get(name) == value for name, value in self.fixed.items())
        return settings.get("mode") == self.settings.mode and fixed

    def program_progress(self, progress: Progress) -> dict[str, Any]:
        """Return progress as JSON."""
        return {name: getattr(progress, name) for name in PROGRESS_FACTS}

    def program_facts(self, result: Result) -> dict[str, Any]:
        """Return seed, seconds, notes and settings."""
        return program_facts(result)


def read_settings(upload: object, read_metadata: ReadMetadata) -> tuple[dict[str, Any], Path]:
    """Return the plain settings inside an uploaded video, and its path; one without is deleted, with a UserError."""
    path = uploaded("video", upload)
    if path is None:
        raise InvalidSettings("choose a video that this program made")
    try:
        return read_mapping(read_metadata(path).get("settings", ""), only_json=True), path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


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
