"""The tab that shows what was made and what is still to be made: the list of jobs, and finished clips with a search."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from comparison.report.formatting import duration
from errors import UserError
from library.clips import ClipRecord
from library.job_list import RESUMABLE, Job, State
from library.recorder import with_pictures
from library.service import Library
from media.exports import EXPORTS, export
from settings import SETTINGS_BY_MODE
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
class ChosenClip:
    """The components that show one clip: its video or picture, what is known of it, and the buttons for it."""

    id: gr.State
    video: gr.Video
    picture: gr.Image
    about: gr.HTML
    kind: gr.Dropdown
    download: gr.DownloadButton
    restore: gr.Button
    sure: gr.Checkbox
    delete: gr.Button

    @property
    def buttons(self) -> list[Component]:
        """All components that there are only for a chosen clip."""
        return [self.download, self.restore, self.sure, self.delete]

    @property
    def shown(self) -> list[Component]:
        """All components that choosing a clip changes."""
        return [self.id, self.video, self.picture, self.about, *self.buttons]

    def show(self, record: ClipRecord) -> Updates:
        """Show a clip; a GIF is a picture to a browser."""
        moving, file = record.file.suffix != ".gif", str(record.file)
        return {
            self.id: record.id,
            self.video: gr.Video(file if moving else None, visible=moving),
            self.picture: gr.Image(None if moving else file, visible=not moving),
            self.about: clip_html(record),
            **{button: gr.update(visible=True) for button in self.buttons},
            self.sure: gr.Checkbox(False, visible=True),
        }

    def show_nothing(self, status: str) -> Updates:
        """Show a status in place of a clip."""
        gone: Updates = {one: gr.update(value=None, visible=False) for one in (self.video, self.picture)}
        hidden: Updates = {button: gr.update(visible=False) for button in self.buttons}
        return {**gone, **hidden, self.id: "", self.about: status}


def chosen_clip(about: str) -> ChosenClip:
    """Build the place of the chosen clip inside the current Gradio block."""
    with gr.Row():
        with gr.Column():
            video = gr.Video(visible=False, autoplay=True, loop=True, show_label=False, elem_classes="t2v-result")
            picture = gr.Image(visible=False, type="filepath", show_label=False, elem_classes="t2v-result")
        with gr.Column():
            hint = gr.HTML(hint_html(about))
            kinds, info = list(EXPORTS), "png: every frame, in a ZIP."
            kind = gr.Dropdown(kinds, value=EXPORTS[0], label="Download as", info=info)
            download = gr.DownloadButton("Download", visible=False)
            restore = gr.Button("Restore its settings", visible=False, size="sm")
            sure = gr.Checkbox(label="Really delete this clip", visible=False)
            delete = gr.Button("Delete", visible=False, size="sm")
    return ChosenClip(gr.State(""), video, picture, hint, kind, download, restore, sure, delete)


@dataclass(frozen=True)
class ClipsPanel:
    """Finished clips, newest first, with a search; one of them is chosen, shown, given out or deleted."""

    library: Library
    context: PageContext

    def build(self) -> None:
        """Build search, gallery and the place of the chosen clip."""
        with gr.Row():
            words = gr.Textbox(label="Search", info="Words of the prompt.", scale=3)
            modes = [("Any", ANY), *((name.replace("_", " "), name) for name in SETTINGS_BY_MODE)]
            mode = gr.Dropdown(modes, value=ANY, label="Made by", scale=1)
            number = gr.Number(1, label="Page", minimum=1, precision=0, scale=1)
        gallery = gr.Gallery(label="Clips", columns=6, height=360, allow_preview=False, elem_classes="t2v-gallery")
        found = gr.State([])
        chosen = chosen_clip(self.kept())
        asked, answers = [words, mode, number], [gallery, found]
        changes = [words.change, mode.change, number.change]
        gr.on(changes, self.look, asked, answers, **PAGE_ONLY)
        gr.on(None, self.look, asked, answers, **PAGE_ONLY)
        gallery.select(self._choosing(chosen), found, chosen.shown, **PAGE_ONLY)
        chosen.download.click(self.give, [chosen.id, chosen.kind], chosen.download, **PAGE_ONLY)
        outputs = [chosen.about, *self.restorable()]
        chosen.restore.click(self._restoring(chosen), chosen.id, outputs, **PAGE_ONLY)
        deleted = chosen.delete.click(self._deleting(chosen), [chosen.id, chosen.sure], chosen.shown, **PAGE_ONLY)
        deleted.then(self.look, asked, answers, **PAGE_ONLY)

    def look(
        self, words: object, mode: object, number: object, request: gr.Request
    ) -> tuple[list[tuple[str, str]], list[str]]:
        """Return thumbnails with their prompts, and the ids, of one page of what a search finds."""
        skip = PAGE_SIZE * (number - 1) if isinstance(number, int) and number > 0 else 0
        owner, texts = (
            owner_of(self.library, request),
            [text if isinstance(text, str) else "" for text in (words, mode)],
        )
        records = self.library.clips.find(owner, texts[0], mode=texts[1], skip=skip, most=PAGE_SIZE)
        pictures = [(str(with_pictures(one).picture("thumbnail")), one.prompt[:PROMPT_CHARS]) for one in records]
        return pictures, [record.id for record in records]

    def give(self, clip: object, kind: object, request: gr.Request) -> str:
        """Return the path of a clip in another format."""
        record = self.library.clips.get(owner_of(self.library, request), str(clip))
        folder = Path(tempfile.mkdtemp(prefix="text2video-export-"))
        return str(export(record.file, str(kind), folder, Path(record.download_name).stem))

    def _choosing(self, chosen: ChosenClip) -> Callable[..., Updates]:
        def choose(ids: list[str], event: gr.SelectData, request: gr.Request) -> Updates:
            try:
                return chosen.show(self.library.clips.get(owner_of(self.library, request), ids[event.index]))
            except Exception as error:
                return chosen.show_nothing(status_html(error_line(error), "error"))

        return choose

    def _restoring(self, chosen: ChosenClip) -> Callable[..., Updates]:
        def restore(clip: object, request: gr.Request) -> Updates:
            try:
                return self.restored(self.library.clips.get(owner_of(self.library, request), str(clip)))
            except Exception as error:
                return {chosen.about: status_html(error_line(error), "error")}

        return restore

    def _deleting(self, chosen: ChosenClip) -> Callable[..., Updates]:
        def delete(clip: object, sure: object, request: gr.Request) -> Updates:
            if sure is not True:
                return {chosen.about: status_html("Tick the box first: a deleted clip is gone.", "error")}
            try:
                self.library.clips.delete(owner_of(self.library, request), str(clip))
            except Exception as error:
                return {chosen.about: status_html(error_line(error), "error")}
            return chosen.show_nothing(status_html("Deleted."))

        return delete

    def restorable(self) -> list[Block]:
        """Return all components that restoring settings may change."""
        tabs: list[Block] = [] if self.context.tabs is None else [self.context.tabs]
        return [*tabs, *(one for tab in self.context.built for one in (*tab.controls.values(), *tab.panel.shown))]

    def restored(self, record: ClipRecord) -> Updates:
        """Return the updates that open a clip's tab with its settings and show the clip; raises UserError."""
        settings = parse(record.settings)
        for tab in self.context.built:
            if settings.mode == tab.handlers.kind.mode and tab.handlers.of_this_tab(settings):
                values = restored_values(settings, tab.controls, tab.panel.status)
                shown = tab.panel.show_file(record.file)
                opened: Updates = {} if self.context.tabs is None else {self.context.tabs: gr.Tabs(selected=tab.label)}
                return {**shown, **values, **opened}
        raise UserError("this page has no tab for this clip")

    def kept(self) -> str:
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
