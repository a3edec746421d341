"""The tab of finished clips: a search, and what can be done with one of them."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from comparison.report.clips import side_by_side_html
from errors import InvalidSettings
from library.clips import ClipRecord
from library.job import NewJob
from library.recorder import with_pictures
from library.service import Library
from media.exports import EXPORTS, export, read_frames
from settings import SETTINGS_BY_MODE, SourceSettings
from settings.parsing import parse
from web.clip_uses import ClipUses
from web.context import PageContext
from web.controls import item_at
from web.events import PAGE_ONLY, Updates, error_line
from web.html import hint_html, record_html, status_html
from web.opening import ClipOpener
from web.recent import CAPTION_CHARS
from web.watching import owner_of

PAGE_SIZE = 24
MOST_PAGES = 10**9
ANY = ""
SOURCE_MODES = tuple(mode for mode, kind in SETTINGS_BY_MODE.items() if issubclass(kind, SourceSettings))
DOWNLOAD_JS = """(file) => {
  if (!file?.url) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name ?? "";
  link.click();
}"""


@dataclass(frozen=True)
class HistoryTab:
    """The tab of finished clips."""

    label: str = "History"

    def build(self, context: PageContext) -> None:
        """Build the tab inside the current Gradio block, after the tabs whose clips it opens."""
        ClipsPanel(context).build()


@dataclass(frozen=True)
class ChosenClip:
    """The components that show one clip, or two side by side, and the buttons for it; ``id`` is the clip's."""

    id: gr.State
    video: gr.Video
    picture: gr.Image
    pair: gr.HTML
    about: gr.HTML
    tools: gr.Column
    kind: gr.Dropdown
    download: gr.Button
    exported: gr.File
    restore: gr.Button
    again: gr.Button
    use: gr.Dropdown
    beside: gr.Checkbox
    sure: gr.Checkbox
    delete: gr.Button

    @property
    def shown(self) -> list[Component]:
        """All components that choosing a clip changes."""
        return [self.id, self.video, self.picture, self.pair, self.about, self.tools, self.sure]  # type: ignore[list-item]

    def show(self, record: ClipRecord, pair: str = "") -> Updates:
        """Show a clip, or the ``pair`` that it is part of; a GIF is a picture to a browser."""
        moving, file = record.file.suffix != ".gif", str(record.file)
        return {
            self.id: record.id,
            self.video: gr.Video(file if moving else None, visible=moving and not pair),
            self.picture: gr.Image(None if moving else file, visible=not moving and not pair),
            self.pair: gr.HTML(pair, visible=bool(pair)),
            self.about: record_html(record),
            self.tools: gr.Column(visible=True),
            self.sure: False,
        }

    def show_nothing(self, status: str) -> Updates:
        """Show a status in place of a clip."""
        gone: Updates = {one: gr.update(value=None, visible=False) for one in (self.video, self.picture, self.pair)}
        return {**gone, self.id: "", self.about: status, self.tools: gr.Column(visible=False), self.sure: False}


def chosen_clip(about: str, uses: ClipUses) -> ChosenClip:
    """Build the place of the chosen clip inside the current Gradio block."""
    with gr.Row():
        with gr.Column():
            video = gr.Video(visible=False, autoplay=True, loop=True, show_label=False, elem_classes="t2v-result")
            picture = gr.Image(visible=False, type="filepath", show_label=False, elem_classes="t2v-result")
            pair = gr.HTML(visible=False)
        with gr.Column():
            hint = gr.HTML(hint_html(about))
            beside = gr.Checkbox(label="Compare the next one with this", info="Both play in step.")
            with gr.Column(visible=False) as tools:
                with gr.Row():
                    restore = gr.Button("Restore its settings", size="sm")
                    again = gr.Button("Again with another seed", size="sm")
                use = gr.Dropdown(uses.choices(), value=None, label="Use it as")
                kind = gr.Dropdown(list(EXPORTS), value=EXPORTS[0], label="Download as", info="png: a ZIP of frames.")
                download = gr.Button("Download", size="sm")
                exported = gr.File(visible=False)
                sure = gr.Checkbox(label="Really delete this clip")
                delete = gr.Button("Delete", size="sm")
    shown = (gr.State(""), video, picture, pair, hint, tools)
    return ChosenClip(*shown, kind, download, exported, restore, again, use, beside, sure, delete)


@dataclass(frozen=True)
class ClipsPanel:
    """Finished clips, newest first, with a search; one of them is chosen."""

    context: PageContext

    @property
    def library(self) -> Library:
        """Clips and jobs."""
        return self.context.library

    def build(self) -> None:
        """Build search, gallery and the place of the chosen clip."""
        with gr.Row():
            words = gr.Textbox(label="Search", info="Words of the prompt.", scale=3)
            modes = [("Any", ANY), *((name.replace("_", " "), name) for name in SETTINGS_BY_MODE)]
            mode = gr.Dropdown(modes, value=ANY, label="Mode", scale=1)
            model = gr.Dropdown([("Any", ANY)], value=ANY, label="Model", scale=1)
            number = gr.Number(1, label="Page", minimum=1, precision=0, scale=1)
        nothing = gr.HTML(hint_html("Nothing here yet: what you generate is kept here."))
        gallery = gr.Gallery(
            show_label=False, label="Clips", columns=6, allow_preview=False, buttons=[], elem_classes="t2v-gallery"
        )
        found, uses = gr.State([]), ClipUses(self.context)
        chosen = chosen_clip(self.kept(), uses)
        asked, answers = [words, mode, model, number], [gallery, found, model, nothing]
        look = {"fn": self.look, "inputs": asked, "outputs": answers, **PAGE_ONLY}
        gr.on([words.change, mode.change, model.input, number.change], **look)
        gr.on(None, **look)
        if isinstance(Context.block, gr.Tab):
            Context.block.select(**look)
        self._connect(chosen, gallery, found, uses)
        deleting = [chosen.id, chosen.sure]
        chosen.delete.click(self._deleting(chosen), deleting, chosen.shown, **PAGE_ONLY).then(**look)

    def _connect(self, chosen: ChosenClip, gallery: gr.Gallery, found: gr.State, uses: ClipUses) -> None:
        opener = ClipOpener(self.context)

        def restored(record: ClipRecord, _: str) -> Updates:
            return opener.open(record.settings, record.file)

        gallery.select(self._choosing(chosen), [found, chosen.id, chosen.beside], chosen.shown, **PAGE_ONLY)
        exported = [chosen.about, chosen.exported]
        given = chosen.download.click(self._giving(chosen), [chosen.id, chosen.kind], exported, **PAGE_ONLY)
        given.then(None, chosen.exported, None, js=DOWNLOAD_JS, **PAGE_ONLY)
        opened = [chosen.about, *opener.changed]
        chosen.restore.click(self._with_clip(chosen, restored), chosen.id, opened, **PAGE_ONLY)
        chosen.again.click(self._again(chosen), chosen.id, chosen.about, **PAGE_ONLY)
        used = [chosen.about, *uses.changed]
        chosen.use.input(self._with_clip(chosen, uses.updates), [chosen.id, chosen.use], used, **PAGE_ONLY)

    def look(
        self, words: object, mode: object, model: object, number: object, request: gr.Request
    ) -> tuple[gr.Gallery, list[str], gr.Dropdown, gr.HTML]:
        """Return thumbnails with their prompts, and the ids, of one page of what a search finds, and the models."""
        skip = PAGE_SIZE * (number - 1) if isinstance(number, int) and 0 < number <= MOST_PAGES else 0
        owner, clips = owner_of(self.library, request), self.library.clips
        asked = [as_text(text) for text in (words, mode, model)]
        records = clips.find(owner, asked[0], mode=asked[1], model=asked[2], skip=skip, most=PAGE_SIZE)
        pictures = [(str(with_pictures(one).picture("thumbnail")), one.prompt[:CAPTION_CHARS]) for one in records]
        models = gr.Dropdown([("Any", ANY), *((name, name) for name in clips.models(owner))])
        gallery = gr.Gallery(pictures, visible=bool(pictures))
        return gallery, [record.id for record in records], models, gr.HTML(visible=not pictures)

    def _choosing(self, chosen: ChosenClip) -> Callable[..., Updates]:
        def choose(
            ids: list[str], before: object, beside: object, event: gr.SelectData, request: gr.Request
        ) -> Updates:
            owner, clips = owner_of(self.library, request), self.library.clips
            try:
                record = clips.get(owner, item_at(event.index, ids) or "")
                pair = pair_html(clips.get(owner, str(before)), record) if beside is True and before else ""
                return chosen.show(record, pair)
            except Exception as error:
                return chosen.show_nothing(status_html(error_line(error), "error"))

        return choose

    def _with_clip(self, chosen: ChosenClip, action: Callable[[ClipRecord, str], Updates]) -> Callable[..., Updates]:
        """Return a handler that does something with the chosen clip; a mistake is said in its place."""

        def handle(clip: object, request: gr.Request, option: object = "") -> Updates:
            try:
                record = self.library.clips.get(owner_of(self.library, request), str(clip))
                return {chosen.about: gr.skip(), **action(record, str(option))}
            except Exception as error:
                return {chosen.about: status_html(error_line(error), "error")}

        return handle

    def give(self, owner: str, clip: str, kind: str) -> Path:
        """Return the path of a clip in another format, named by its prompt and seed; raises UserError."""
        if kind not in EXPORTS:
            raise InvalidSettings(f"format: must be one of {', '.join(EXPORTS)}")
        record = self.library.clips.get(owner, clip)
        folder = Path(tempfile.mkdtemp(prefix="text2video-export-"))
        return export(record.file, kind, folder, Path(record.download_name).stem)

    def _giving(self, chosen: ChosenClip) -> Callable[..., Updates]:
        def give(clip: object, kind: object, request: gr.Request) -> Updates:
            try:
                file = self.give(owner_of(self.library, request), str(clip), str(kind))
                return {chosen.exported: str(file), chosen.about: gr.skip()}
            except Exception as error:
                return {chosen.exported: None, chosen.about: status_html(error_line(error), "error")}

        return give

    def _again(self, chosen: ChosenClip) -> Callable[..., str]:
        def again(clip: object, request: gr.Request) -> str:
            owner = owner_of(self.library, request)
            try:
                record = self.library.clips.get(owner, str(clip))
                settings = parse({**record.settings, "seed": -1}).resolved()
                if settings.mode in SOURCE_MODES:
                    raise InvalidSettings("this clip was made from a video, which is not kept: restore its settings")
                self.library.jobs.add(owner, [NewJob(settings.to_dict(), suffix=record.file.suffix.removeprefix("."))])
                self.library.worker.wake()
            except Exception as error:
                return status_html(error_line(error), "error")
            return status_html(f"Added to the list with seed {settings.to_dict()['seed']}.")

        return again

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

    def kept(self) -> str:
        """Return the line that says where clips are kept and for how long."""
        limits, place = self.library.limits, self.library.folder.clips
        parts = ["Choose a clip."] if self.library.shared else [f"Choose a clip. Clips are kept in {place}."]
        if limits.days is not None:
            parts.append(f"Those older than {limits.days:g} days are deleted.")
        if limits.size_bytes is not None:
            parts.append(f"Beyond {limits.size_bytes / 1e9:g} GB the oldest are deleted.")
        return " ".join(parts)


def as_text(sent: object) -> str:
    """Return what a client sent, if it is text that can be searched for, or an empty text."""
    return sent.encode(errors="ignore").decode() if isinstance(sent, str) else ""


def pair_html(first: ClipRecord, second: ClipRecord) -> str:
    """Return two clips side by side that play in step, as HTML; raises InvalidVideo."""
    labels = (f"{record.prompt[:CAPTION_CHARS]} · seed {record.seed}" for record in (first, second))
    clips = (read_frames(record.file) for record in (first, second))
    return side_by_side_html([(label, frames, fps) for label, (frames, fps) in zip(labels, clips, strict=True)])
