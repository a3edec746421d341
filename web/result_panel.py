"""The panel of a tab that shows a running job and its clip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from library.clips import ClipRecord
from library.job import Result
from model import Progress
from web.events import Updates
from web.html import PLACEHOLDER, finished_html, preview_html, progress_html, record_html


@dataclass(frozen=True)
class ResultPanel:
    """Components that show a job: a line of status, and above it the preview or the video."""

    status: gr.HTML
    stage: gr.HTML
    video: gr.Video
    picture: gr.Image
    facts: gr.JSON
    cancel: gr.Button
    refusal: gr.HTML
    reuse: gr.Button
    control: gr.Video | None = None

    @property
    def shown(self) -> list[Component]:
        """All components that a job changes."""
        always = [self.status, self.stage, self.video, self.picture, self.facts, self.cancel]
        return always if self.control is None else [*always, self.control]

    def show_progress(self, progress: Progress, *, before: object = None, waiting: int = 0) -> Updates:
        """Show the progress of a job, with its preview in the place of the last clip if there is one."""
        shown: Updates = {self.status: progress_html(progress, waiting)}
        if progress.preview is None or (isinstance(before, Progress) and before.preview is progress.preview):
            return shown
        hidden: Updates = {self.video: gr.Video(visible=False), self.picture: gr.Image(visible=False)}
        return {**shown, **hidden, self.stage: gr.HTML(preview_html(progress.preview), visible=True)}

    def show_nothing(self) -> Updates:
        """Show an empty stage where the preview of a job was that came to nothing."""
        return {self.stage: gr.HTML(PLACEHOLDER, visible=True), self.cancel: gr.Button(interactive=False)}

    def show_result(self, result: Result) -> Updates:
        """Show the finished clip of a job and its facts."""
        control = result.facts.get("control")
        return {
            **self.show_file(result.file),
            self.status: finished_html(result.facts),
            self.facts: program_facts(result),
            **self._show_control(None if control is None else Path(control)),
        }

    def show_file(self, file: Path) -> Updates:
        """Show a clip; a GIF is a picture to a browser."""
        moving = file.suffix != ".gif"
        return {
            self.stage: gr.HTML(visible=False),
            self.video: gr.Video(str(file) if moving else None, visible=moving),
            self.picture: gr.Image(None if moving else str(file), visible=not moving),
            self.cancel: gr.Button(interactive=False),
        }

    def show_record(self, record: ClipRecord) -> Updates:
        """Show a clip of the history and its settings."""
        facts = {"seed": record.seed, "settings": record.settings}
        return {**self.show_file(record.file), self.status: record_html(record), self.facts: facts}

    def _show_control(self, path: Path | None) -> Updates:
        if self.control is None:
            return {}
        return {self.control: gr.Video(None if path is None else str(path), visible=path is not None)}


def result_panel(cancel: gr.Button, refusal: gr.HTML, *, with_control: bool = False) -> ResultPanel:
    """Build the panel inside the current Gradio block; ``with_control`` adds the video that steered the result."""
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
        reuse = gr.Button("Use these settings", size="sm")
    return ResultPanel(status, stage, video, picture, facts, cancel, refusal, reuse, control)


def program_facts(result: Result) -> dict[str, Any]:
    """Return seed, seconds, notes and settings of a finished clip as JSON; its settings make it again."""
    settings = result.facts["settings"]
    return {
        "seed": settings["seed"],
        "seconds": result.facts["seconds"],
        "notes": result.facts["notes"],
        "settings": settings,
    }
