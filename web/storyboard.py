"""The storyboard on the page: a table of frame prompts, and the buttons that fill, save and load it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from director.director import ChatModel, direct
from director.storyboard import load_storyboard, storyboard
from errors import InvalidStoryboard, UserError
from settings import MAX_FRAMES, MAX_PROMPT_CHARS
from web.controls import PAGE_ONLY, error_line, uploaded
from web.html import status_html
from web.storyboard_table import HEADERS, read_rows, resized, rows_of

MAX_FILE_BYTES = 1024 * 1024
HINT = """<div class="t2v-hint"><p>One prompt for each frame, from 0 on; an empty one is a blend of its neighbours.
While all are empty, the moments above are spread over the frames. What is kept stays when the others are written
anew.</p></div>"""
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
    """Build it where it stands on the page, with so many empty rows."""
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
        gr.HTML(HINT)
    return StoryboardPanel(table, spread, ask, clear, save, load)


@dataclass(frozen=True)
class Storyboarder:
    """What fills the table: the controls that say what happens and in how many frames, where the status is shown, and a
    language model, or None."""

    panel: StoryboardPanel
    prompt: Component
    frames: gr.Number
    status: gr.HTML
    chat_model: ChatModel | None

    def connect(self, example_chosen: Any) -> None:
        """Wire the buttons. A loaded storyboard sets the number of frames; an example is spread at once when it is
        in the prompt."""
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

    def spread(self, prompt: Any, frames: Any, table: Any) -> dict[Any, Any]:
        """The moments of the prompt, spread over the frames."""
        return self.fill(lambda _: storyboard(as_prompt(prompt), as_count(frames)), "Moments spread.", table)

    def waiting(self) -> str:
        """While the language model writes."""
        return status_html("Asking the language model…", "running")

    def ask(self, prompt: Any, frames: Any, table: Any) -> dict[Any, Any]:
        """What a language model writes; kept rows are given to it."""

        def write(kept: Mapping[int, str]) -> Sequence[str]:
            if self.chat_model is None:
                raise UserError("there is no language model here")
            return direct(as_prompt(prompt), as_count(frames), self.chat_model, kept)

        return self.fill(write, "The language model has written the frames.", table)

    def clear(self, frames: Any) -> dict[Any, Any]:
        """No prompts at all."""
        return self.fill(lambda _: ("",) * as_count(frames), "Storyboard cleared.")

    def resize(self, frames: Any, table: Any) -> dict[Any, Any]:
        """The same course over another number of frames."""
        try:
            rows = resized(table, as_count(frames))
        except Exception as error:
            return {self.status: status_html(error_line(error), "error")}
        return {self.panel.table: rows, self.status: ""}

    def load(self, file: Any, frames: Any) -> dict[Any, Any]:
        """What an uploaded file says."""
        loaded = self.fill(lambda _: read_file(uploaded("storyboard", file), frames), "Storyboard loaded.")
        rows = loaded.get(self.panel.table)
        return loaded if rows is None else {**loaded, self.frames: len(rows)}

    def fill(self, write: Callable[[Mapping[int, str]], Sequence[str]], done: str, table: Any = None) -> dict[Any, Any]:
        """The table as ``write`` makes it of the rows that are kept, or the reason why not."""
        try:
            kept = {} if table is None else read_rows(table)[1]
            prompts = write(kept)
            rows = rows_of(prompts, {frame: text for frame, text in kept.items() if frame < len(prompts)})
        except Exception as error:
            return {self.status: status_html(error_line(error), "error")}
        return {self.panel.table: rows, self.status: status_html(done)}


def as_prompt(value: Any) -> str:
    """The prompt that a client sent; raises UserError."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_PROMPT_CHARS:
        raise UserError(f"prompt: write what happens, in at most {MAX_PROMPT_CHARS} characters")
    return value


def as_count(value: Any) -> int:
    """The number of frames that a client sent; raises UserError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_FRAMES or value % 1:
        raise UserError(f"num_frames: must be a whole number from 1 to {MAX_FRAMES}")
    return int(value)


def read_file(path: Path | None, frames: Any) -> tuple[str, ...]:
    """The frame prompts in a file, which is then deleted; one that does not say how many frames it has gets ``frames``.
    Raises UserError."""
    if path is None:
        raise InvalidStoryboard("choose a storyboard file")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidStoryboard("this file is too large for a storyboard")
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise InvalidStoryboard("this file is no text") from None
    finally:
        path.unlink(missing_ok=True)
    return load_storyboard(text, as_count(frames))
