"""The storyboard on the page: a table of frame prompts, and the buttons that fill, save and load it.

A row of the table is the frame's number, its prompt (empty: a blend of the nearest written ones) and whether it is kept
when the others are written anew. What a client sends in place of the table, a prompt or a number is checked here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.events import Dependency

from director.director import ChatModel, direct
from director.storyboard import as_frame_prompts, load_storyboard, save_storyboard, storyboard
from errors import InvalidStoryboard, UserError
from settings import MAX_FRAMES, MAX_PROMPT_CHARS
from settings.user_files import read_text
from web.controls import uploaded
from web.events import PAGE_ONLY, Updates, error_line
from web.html import hint_html, status_html

HEADERS = ("#", "Prompt", "Keep")
Row = list[int | str | bool]
MAX_FILE_BYTES = 1024 * 1024
HINT = """One prompt for each frame, from 0 on; an empty one is a blend of its neighbours.
While all are empty, the moments above are spread over the frames. What is kept stays when the others are written
anew."""
# Written here, where the table is: a server has no need to know of a file that a browser can write by itself.
SAVE_JS = """(table) => {
  const rows = (table?.data ?? []).map((row, frame) => [frame, String(row[1] ?? "")]).filter(([, text]) => text);
  const lines = rows.map(([frame, text]) => `  ${frame}: ${JSON.stringify(text)}`);
  const yaml = `frames: ${table.data.length}\\nprompts:\\n${lines.join("\\n")}\\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([yaml], {type: "text/yaml"}));
  link.download = "storyboard.yaml";
  link.click();
  URL.revokeObjectURL(link.href);
}"""


@dataclass(frozen=True)
class StoryboardPanel:
    """The table and its buttons; ``ask`` is there only with a language model."""

    table: gr.Dataframe
    spread: gr.Button
    ask: gr.Button | None
    clear: gr.Button
    save: gr.Button
    load: gr.UploadButton


def storyboard_panel(frames: int, *, with_language_model: bool) -> StoryboardPanel:
    """Build the table, with so many empty rows, and its buttons inside the current Gradio block."""
    with gr.Accordion("Storyboard", open=True):
        table = gr.Dataframe(
            rows_of([""] * frames),
            headers=list(HEADERS),
            datatype=["number", "str", "bool"],
            column_count=len(HEADERS),
            column_widths=["16%", "54%", "30%"],
            static_columns=[0],
            type="array",
            wrap=True,
            interactive=True,
            show_label=False,
            buttons=[],
            max_height=360,
        )
        with gr.Row():
            spread = gr.Button("Spread the moments", size="sm", min_width=140)
            ask = gr.Button("Ask the language model", size="sm", min_width=140) if with_language_model else None
            clear = gr.Button("Clear", size="sm", min_width=80)
        with gr.Row():
            save = gr.Button("Save storyboard", size="sm", min_width=120)
            load = gr.UploadButton("Load storyboard", file_types=[".yaml", ".yml", ".txt"], size="sm", min_width=120)
        gr.HTML(hint_html(HINT))
    return StoryboardPanel(table, spread, ask, clear, save, load)


@dataclass(frozen=True)
class StoryboardHandlers:
    """Handlers that fill the table from the prompt and the number of frames, by themselves, from a file, or with a
    language model, if there is one; their message goes to ``status``."""

    panel: StoryboardPanel
    prompt: gr.Textbox
    frames: gr.Number
    status: gr.HTML
    chat_model: ChatModel | None

    def connect(self, example_chosen: Dependency) -> None:
        """Wire the buttons. A loaded storyboard sets the number of frames; an example is spread as soon as it is in
        the prompt."""
        panel = self.panel
        asked, shown = [self.prompt, self.frames, panel.table], [panel.table, self.status]
        raw = {"preprocess": False, **PAGE_ONLY}
        panel.spread.click(self.spread, asked, shown, **raw)
        panel.clear.click(self.clear, self.frames, shown, **raw)
        panel.save.click(None, panel.table, None, js=SAVE_JS)
        panel.load.upload(self.load, [panel.load, self.frames], [*shown, self.frames], **raw)
        gr.on([self.frames.blur, self.frames.submit], self.resize, [self.frames, panel.table], shown, **raw)
        example_chosen.then(self.spread, asked, shown, **raw)
        if panel.ask is not None:
            queued = {**raw, "queue": True, "concurrency_id": "language-model", "concurrency_limit": 1}
            waiting = panel.ask.click(self.waiting, None, self.status, **PAGE_ONLY)
            waiting.then(self.ask, asked, shown, **queued)

    def spread(self, prompt: object, frames: object, table: object) -> Updates:
        """Spread the moments of the prompt over the frames."""
        return self.fill(lambda _: storyboard(checked_prompt(prompt), checked_count(frames)), "Moments spread.", table)

    def waiting(self) -> str:
        """Show that the language model is at work."""
        return status_html("Asking the language model…", "running")

    def ask(self, prompt: object, frames: object, table: object) -> Updates:
        """Fill the table with prompts from the language model, which is given the kept rows."""

        def write(kept: Mapping[int, str]) -> Sequence[str]:
            if self.chat_model is None:
                raise UserError("there is no language model here")
            return direct(checked_prompt(prompt), checked_count(frames), self.chat_model, kept)

        return self.fill(write, "The language model has written the frames.", table)

    def clear(self, frames: object) -> Updates:
        """Empty all rows."""
        return self.fill(lambda _: ("",) * checked_count(frames), "Storyboard cleared.")

    def resize(self, frames: object, table: object) -> Updates:
        """Spread the rows over another number of frames."""
        try:
            rows = resized(table, checked_count(frames))
        except Exception as error:
            return {self.status: status_html(error_line(error), "error")}
        return {self.panel.table: rows, self.status: ""}

    def load(self, file: object, frames: object) -> Updates:
        """Fill the table from an uploaded file."""
        loaded = self.fill(lambda _: read_file(uploaded("storyboard", file), frames), "Storyboard loaded.")
        rows = loaded.get(self.panel.table)
        return loaded if rows is None else {**loaded, self.frames: len(rows)}

    def fill(self, write: Callable[[Mapping[int, str]], Sequence[str]], done: str, table: object = None) -> Updates:
        """Return the rows as ``write`` makes them from the kept ones of the table and the message ``done``, or the
        reason why it cannot."""
        try:
            kept = {} if table is None else read_rows(table)[1]
            prompts = write(kept)
            rows = rows_of(prompts, {frame: text for frame, text in kept.items() if frame < len(prompts)})
        except Exception as error:
            return {self.status: status_html(error_line(error), "error")}
        return {self.panel.table: rows, self.status: status_html(done)}


def checked_prompt(value: object) -> str:
    """Return the prompt that a client sent; raises UserError."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_PROMPT_CHARS:
        raise UserError(f"prompt: write what happens, in at most {MAX_PROMPT_CHARS} characters")
    return value


def checked_count(value: object) -> int:
    """Return the number of frames that a client sent; raises UserError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_FRAMES or value % 1:
        raise UserError(f"num_frames: must be a whole number from 1 to {MAX_FRAMES}")
    return int(value)


def read_file(path: Path | None, frames: object) -> tuple[str, ...]:
    """Return the frame prompts in a file, which is then deleted; a file that does not say how many frames it has gets
    ``frames``. Raises UserError."""
    if path is None:
        raise InvalidStoryboard("choose a storyboard file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidStoryboard("this file is too large for a storyboard")
        text = read_text(path)
    except UnicodeDecodeError:
        raise InvalidStoryboard("this file is no text") from None
    finally:
        path.unlink(missing_ok=True)
    return load_storyboard(text, checked_count(frames))


def rows_of(frame_prompts: Sequence[str], kept: Mapping[int, str] | None = None) -> list[Row]:
    """Return the rows of these prompts; rows of ``kept`` have its prompts and are marked."""
    kept = kept or {}
    return [[frame, kept.get(frame, prompt), frame in kept] for frame, prompt in enumerate(frame_prompts)]


def read_rows(table: object) -> tuple[tuple[str, ...], dict[int, str]]:
    """Return the frame prompts, and by frame the kept ones, of a table that a client sent; raises InvalidStoryboard."""
    rows = table.get("data") if isinstance(table, dict) else None
    if not isinstance(rows, list) or len(rows) > MAX_FRAMES or not all(_is_row(row) for row in rows):
        raise InvalidStoryboard("storyboard: must be a table of frame, prompt and whether it is kept")
    prompts = as_frame_prompts({frame: (row[1] or "").strip() for frame, row in enumerate(rows)}, len(rows))
    return prompts, {frame: prompts[frame] for frame, row in enumerate(rows) if row[2] and prompts[frame]}


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == len(HEADERS) and isinstance(row[1], str | None)


def text_of_table(value: object) -> object:
    """Return the setting ``storyboard`` of a table, "" if no frame is written; a value that is no table as it is."""
    if not isinstance(value, dict):
        return value
    prompts, _ = read_rows(value)
    return save_storyboard(prompts) if any(prompts) else ""


def rows_of_text(text: str, frames: int) -> list[Row]:
    """Return the rows of the setting ``storyboard``; raises InvalidStoryboard."""
    return rows_of(load_storyboard(text, frames) if text.strip() else ("",) * frames)


def resized(table: object, frames: int) -> list[Row]:
    """Return the rows spread over another number of frames: written prompts keep their place in time, and kept ones
    their mark; raises InvalidStoryboard."""
    prompts, kept = read_rows(table)
    if len(prompts) == frames:
        return rows_of(prompts, kept)
    moved = {frame: round(frame * (frames - 1) / max(1, len(prompts) - 1)) for frame in range(len(prompts))}
    written = {moved[frame]: prompt for frame, prompt in enumerate(prompts) if prompt}
    return rows_of(as_frame_prompts(written, frames), {moved[frame]: prompt for frame, prompt in kept.items()})
