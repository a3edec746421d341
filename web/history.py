"""The tab that shows what was made and what is still to be made: the list of jobs, and finished clips with a search."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from comparison.report.formatting import duration
from errors import UserError
from library.clips import ClipRecord
from library.job_list import RESUMABLE, Job, State
from library.recorder import with_pictures
from library.service import Library
from media.exports import EXPORTS, export
from settings import MODES
from settings.parsing import parse
from web.events import PAGE_ONLY, Updates, error_line
from web.generate import restored_values
from web.html import hint_html, status_html
from web.tabs import PageContext
from web.watching import owner_of

PAGE_SIZE = 24
REFRESH_S = 3.0
PROMPT_CHARS = 60
ANY = ""


@dataclass(frozen=True)
class HistoryTab:
    """The tab of jobs and clips."""

    label: str = "History"

    def build(self, context: PageContext) -> None:
        """Build the tab inside the current Gradio block."""
        JobsPanel(context.library).build()
        ClipsPanel(context.library, context).build()


@dataclass(frozen=True)
class JobsPanel:
    """The list of jobs, one of which is chosen, and the buttons that change it."""

    library: Library

    def build(self) -> None:
        """Build list and buttons, and keep the list up to date while the page is open."""
        jobs = gr.Radio([], label="Jobs", info="The running one first, then those that wait.", interactive=True)
        with gr.Row():
            buttons = {
                label: gr.Button(label, size="sm", min_width=90)
                for label in ("Sooner", "Later", "Cancel", "Start again", "Remove", "Cancel all", "Pause", "Go on")
            }
        status = gr.HTML()
        actions: dict[str, Callable[[str, str], object]] = {
            "Sooner": lambda owner, job: self.library.jobs.move(owner, job, -1),
            "Later": lambda owner, job: self.library.jobs.move(owner, job, 1),
            "Cancel": self.library.worker.cancel,
            "Start again": self.start_again,
            "Remove": self.library.jobs.remove,
            "Cancel all": lambda owner, _: self.library.worker.cancel_all(owner),
            "Pause": lambda owner, _: self.pause(owner, paused=True),
            "Go on": lambda owner, _: self.pause(owner, paused=False),
        }
        outputs = [jobs, status]
        for label, action in actions.items():
            buttons[label].click(self._button(action, jobs, status), jobs, outputs, **PAGE_ONLY)

        def refresh(request: gr.Request) -> Updates:
            return {jobs: gr.Radio(choices=self.choices(owner_of(self.library, request)))}

        gr.Timer(REFRESH_S).tick(refresh, None, jobs, **PAGE_ONLY)

    def _button(
        self, action: Callable[[str, str], object], jobs: gr.Radio, status: gr.HTML
    ) -> Callable[[object, gr.Request], Updates]:
        def press(chosen: object, request: gr.Request) -> Updates:
            owner, said = owner_of(self.library, request), ""
            try:
                action(owner, chosen if isinstance(chosen, str) else "")
                self.library.worker.wake()
            except Exception as error:
                said = status_html(error_line(error), "error")
            return {jobs: gr.Radio(choices=self.choices(owner)), status: said}

        return press

    def start_again(self, owner: str, job: str) -> None:
        """Put an ended job back in the list; raises UserError."""
        self.library.jobs.resume(owner, job)

    def pause(self, owner: str, *, paused: bool) -> None:
        """Let the whole list rest, or go on, on a page that belongs to one owner; elsewhere it is not a visitor's."""
        if not self.library.shared:
            self.library.jobs.set_paused(paused)

    def choices(self, owner: str) -> list[tuple[str, str]]:
        """Return the owner's jobs as (label, id)."""
        running = self.library.worker.running
        return [
            (job_label(job, running.progress if running else None), job.id) for job in self.library.jobs.listed(owner)
        ]


def job_label(job: Job, progress: Any) -> str:
    """Return a job's state, progress and prompt in one line."""
    state = job.state.value
    if job.state is State.RUNNING and progress is not None:
        left = "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left"
        state = f"{progress.fraction:.0%}{left}"
    elif job.state in RESUMABLE and job.message:
        state = f"{state} ({job.message[:PROMPT_CHARS]})"
    prompt = str(job.settings.get("prompt", ""))
    shown = prompt if len(prompt) <= PROMPT_CHARS else f"{prompt[:PROMPT_CHARS]}…"
    return f"{state} · {shown}" + (f" · {job.note}" if job.note else "")


@dataclass(frozen=True)
class ClipsPanel:
    """Finished clips, newest first, with a search; one of them is chosen, shown, given out or deleted."""

    library: Library
    context: PageContext

    def build(self) -> None:
        """Build search, gallery and the place of the chosen clip."""
        with gr.Row():
            words = gr.Textbox(label="Search", info="Words of the prompt.", scale=3)
            modes = [("Any", ANY), *((name.replace("_", " "), name) for name in MODES)]
            mode = gr.Dropdown(modes, value=ANY, label="Made by", scale=1)
            older = gr.Number(1, label="Page", minimum=1, precision=0, scale=1)
        gallery = gr.Gallery(label="Clips", columns=6, height="auto", allow_preview=False, object_fit="contain")
        found, chosen = gr.State([]), gr.State("")
        with gr.Row():
            with gr.Column():
                video = gr.Video(visible=False, autoplay=True, loop=True, show_label=False, elem_classes="t2v-result")
                picture = gr.Image(visible=False, type="filepath", show_label=False, elem_classes="t2v-result")
            with gr.Column():
                about = gr.HTML(hint_html(self.kept_html()))
                kind = gr.Dropdown(
                    list(EXPORTS), value=EXPORTS[0], label="Download as", info="png: every frame, in a ZIP."
                )
                download = gr.DownloadButton("Download", visible=False)
                restore = gr.Button("Restore its settings", visible=False, size="sm")
                with gr.Row():
                    sure = gr.Checkbox(label="Really delete this clip", visible=False)
                    delete = gr.Button("Delete", visible=False, size="sm")
        place = [video, picture, about, download, restore, sure, delete, chosen]

        def look(words: object, mode: object, page: object, request: gr.Request) -> tuple[Any, list[str]]:
            owner = owner_of(self.library, request)
            number = page if isinstance(page, int) and page > 0 else 1
            records = self.library.clips.find(
                owner, str(words or ""), mode=str(mode or ""), skip=(number - 1) * PAGE_SIZE, most=PAGE_SIZE
            )
            shown = [with_pictures(record) for record in records]
            pictures = [(str(record.picture("thumbnail")), record.prompt[:PROMPT_CHARS]) for record in shown]
            return pictures, [record.id for record in shown]

        def choose(ids: list[str], event: gr.SelectData, request: gr.Request) -> Updates:
            try:
                record = self.library.clips.get(owner_of(self.library, request), ids[event.index])
            except Exception as error:
                return {about: status_html(error_line(error), "error")}
            moving = record.file.suffix != ".gif"
            return {
                video: gr.Video(str(record.file) if moving else None, visible=moving),
                picture: gr.Image(None if moving else str(record.file), visible=not moving),
                about: clip_html(record),
                **{one: gr.update(visible=True) for one in (download, restore, delete)},
                sure: gr.Checkbox(False, visible=True),
                chosen: record.id,
            }

        def give(clip: object, kind: object, request: gr.Request) -> str | None:
            record = self.library.clips.get(owner_of(self.library, request), str(clip))
            folder = Path(tempfile.mkdtemp(prefix="text2video-export-"))
            return str(export(record.file, str(kind), folder, Path(record.download_name).stem))

        def drop(clip: object, sure_: object, request: gr.Request) -> Updates:
            if sure_ is not True:
                return {about: status_html("Tick the box first: a deleted clip is gone.", "error")}
            try:
                self.library.clips.delete(owner_of(self.library, request), str(clip))
            except Exception as error:
                return {about: status_html(error_line(error), "error")}
            gone: Updates = {one: gr.update(value=None, visible=False) for one in (video, picture)}
            hidden: Updates = {one: gr.update(visible=False) for one in (download, restore, sure, delete)}
            return {**gone, **hidden, about: status_html("Deleted."), chosen: ""}

        def restored(clip: object, request: gr.Request) -> Updates:
            try:
                return self.restored(self.library.clips.get(owner_of(self.library, request), str(clip)))
            except Exception as error:
                return {about: status_html(error_line(error), "error")}

        restore.click(restored, chosen, [about, *self.restorable()], **PAGE_ONLY)
        asked, answers = [words, mode, older], [gallery, found]
        for event in (words.change, mode.change, older.change):
            event(look, asked, answers, **PAGE_ONLY)
        gr.on(None, look, asked, answers, **PAGE_ONLY)
        gallery.select(choose, found, place, **PAGE_ONLY)
        download.click(give, [chosen, kind], download, **PAGE_ONLY)
        delete.click(drop, [chosen, sure], place, **PAGE_ONLY).then(look, asked, answers, **PAGE_ONLY)

    def restorable(self) -> list[Block]:
        """Return all components that restoring settings may change."""
        tabs: list[Block] = [] if self.context.tabs is None else [self.context.tabs]
        return [*tabs, *(one for tab in self.context.built for one in (*tab.controls.values(), *tab.panel.shown))]

    def restored(self, record: ClipRecord) -> Updates:
        """Return the updates that open a clip's tab with its settings and show the clip; raises UserError."""
        settings = parse(record.settings)
        for tab in self.context.built:
            if type(settings) is tab.handlers.kind and tab.handlers.of_this_tab(settings):
                values = restored_values(settings, tab.controls, tab.panel.status)
                shown = tab.panel.show_file(record.file)
                opened: Updates = {} if self.context.tabs is None else {self.context.tabs: gr.Tabs(selected=tab.label)}
                return {**shown, **values, **opened}
        raise UserError("this page has no tab for this clip")

    def kept_html(self) -> str:
        """Return the line that says where clips are kept and for how long."""
        limits = self.library.limits
        parts = [
            f"Choose a clip. Clips are kept in {self.library.folder.clips}"
            if not self.library.shared
            else "Choose a clip."
        ]
        if limits.days is not None:
            parts.append(f"Those older than {limits.days:g} days are deleted.")
        if limits.size_bytes is not None:
            parts.append(f"Beyond {limits.size_bytes / 1e9:g} GB the oldest are deleted.")
        return " ".join(parts)


def clip_html(record: ClipRecord) -> str:
    """Return what a clip shows, by what it was made and when, as HTML."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    return status_html(record.prompt, notes=[f"{record.model} · seed {record.seed} · {when}", record.file.name])
