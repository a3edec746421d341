"""The panel of a tab that shows a running job and its clip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from model import Clip, Progress
from web.events import Updates
from web.html import NOTHING_KEPT, PLACEHOLDER, finished_html, preview_html, progress_html, status_html
from web.jobs import FinishedClip


@dataclass(frozen=True)
class ResultPanel:
    """Components that show a job: a line of status, and above it the preview or the video."""

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
        """All components that a job changes."""
        always = [self.status, self.stage, self.video, self.picture, self.facts, self.cancel]
        return always if self.control is None else [*always, self.control]

    def show(self, status: str, *, busy: bool = False) -> Updates:
        """Show a status and no video (yet)."""
        return {
            self.status: status,
            self.stage: gr.HTML(PLACEHOLDER, visible=True),
            self.video: gr.Video(None, visible=False),
            self.picture: gr.Image(None, visible=False),
            self.cancel: gr.Button(interactive=busy),
            **self._show_control(None),
        }

    def show_stopped(self) -> Updates:
        """Show that a job was cancelled."""
        return self.show(status_html(NOTHING_KEPT))

    def show_progress(self, progress: Progress) -> Updates:
        """Show the progress of a job, with a preview if there is one."""
        shown: Updates = {self.status: progress_html(progress)}
        return shown if progress.preview is None else {**shown, self.stage: preview_html(progress.preview)}

    def show_clip(self, finished: FinishedClip) -> Updates:
        """Show the finished clip; a GIF is a picture to a browser."""
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

    def _show_control(self, path: Path | None) -> Updates:
        if self.control is None:
            return {}
        return {self.control: gr.Video(None if path is None else str(path), visible=path is not None)}


def result_panel(cancel: gr.Button, *, with_control: bool = False) -> ResultPanel:
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
    return ResultPanel(status, stage, video, picture, facts, cancel, control)


def clip_facts(clip: Clip) -> dict[str, Any]:
    """Return seed, seconds, notes and settings of a finished clip as JSON; its settings make it again."""
    settings = clip.settings.to_dict()
    return {
        "seed": settings["seed"],
        "seconds": round(clip.seconds, 2),
        "notes": list(clip.notes),
        "settings": settings,
    }
