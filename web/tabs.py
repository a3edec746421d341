"""The tabs of the page: one builder, and what tells one mode's tab from another's as data."""

import html
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from director.director import ChatModel
from settings import Settings, field_facts
from web import controls as ui
from web.generate import JobRunner
from web.jobs import Generate
from web.storyboard import Storyboarder, storyboard_panel

AUTO = "auto"
EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class ExampleClip:
    """A clip of EXAMPLES and a prompt for it."""

    label: str
    file: str
    prompt: str

    @property
    def is_control(self) -> bool:
        """Whether it already is a control video, and no plain one."""
        return not self.file.startswith("plain")


class PageTab(Protocol):
    """One tab of the page, whatever it is for."""

    @property
    def label(self) -> str:
        """Title of the tab."""

    def build(self, context: "Server") -> None:
        """Build the tab inside the current Gradio block."""


@dataclass(frozen=True)
class Tab:
    """One tab: its settings class and the name of its endpoint; ``fixed`` settings that are not asked for; which others
    are in sight, row by row, beside prompt, model and seed; whether it takes a video, which are offered, or a first
    frame, and whether its frames have a table of prompts."""

    label: str
    kind: type[Settings]
    endpoint: str
    rows: tuple[tuple[str, ...], ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    source: str | None = None
    clips: tuple[ExampleClip, ...] = ()
    first_frame: bool = False
    edits: bool = False
    storyboard: bool = False
    prompt_lines: int = 2

    def suits(self, row: Any) -> bool:
        """Whether a model can do what this tab is for."""
        steerable = "control" not in self.fixed or self.fixed["control"] in row.controlnets
        return row.edits == self.edits and steerable and not (self.storyboard and row.trained_on_videos)

    def build(self, context: "Server") -> None:
        """Build the tab inside the current Gradio block."""
        create_demo(self, context)

    def examples(self, row: Any) -> tuple[str, ...]:
        """Prompts to try with a model."""
        return row.storyboards if self.storyboard else row.examples


@dataclass(frozen=True)
class Server:
    """What a tab needs of the program: ``rows`` are the models a client may choose, ``default(edits=...)`` what "auto"
    is and why; ``loras``, ``vaes`` and ``embeddings`` are names of what else the operator offers; ``chat_model`` is a
    language model, or None."""

    generate: Generate
    rows: Mapping[str, Any]
    default: Callable[..., tuple[Any, str]]
    read_metadata: Callable[[Path], Mapping[str, str]]
    output_dir: Path | None = None
    loras: Collection[str] = ()
    vaes: Collection[str] = ()
    embeddings: Collection[str] = ()
    chat_model: ChatModel | None = None
    compare: Callable[..., Any] | None = None  # comparison settings to what is ready to run
    engines: Collection[str] = ()  # pipelines of diffusers that may be compared, as engine_spec takes them

    def choices(self) -> dict[str, list[tuple[str, str]]]:
        """What the settings that nobody can choose without the operator may be, as (label, value)."""
        return {
            "lora": [("None", ""), *((name, name) for name in self.loras)],
            "vae": [("The checkpoint's own", ""), *((name, name) for name in self.vaes)],
        }

    def hidden(self) -> tuple[str, ...]:
        """The settings that are not asked for because nothing is offered."""
        return (() if self.loras else ("lora", "lora_scale")) + (() if self.vaes else ("vae",))


def create_demo(tab: Tab, server: Server) -> gr.Blocks:
    """The tab as a page of its own."""
    default = server.default(edits=tab.edits)
    rows = {name: row for name, row in server.rows.items() if tab.suits(row)}
    names = [name for name in tab.kind.model_fields if name not in (*tab.fixed, *tab.hidden, *server.hidden())]
    choices = {"model": [("Automatic", AUTO), *((row.label, name) for name, row in rows.items())], **server.choices()}
    asked = {name: choices.get(name, ()) for name in names}
    controls: dict[str, Any] = {}
    files: dict[str, Any] = {}
    with gr.Blocks(title=tab.label, analytics_enabled=False) as demo, gr.Row(elem_classes="t2v-layout"):
        with gr.Column(elem_classes="t2v-ask"):
            if tab.source is not None:
                files["source"] = gr.Video(label=tab.source, sources=["upload"], include_audio=False, height=220)
                clips = choice_of([clip.label for clip in tab.clips], "Example clips")
            controls["prompt"] = ui.control(tab.kind, "prompt", lines=tab.prompt_lines, autofocus=tab.source is None)
            with gr.Row():
                run = gr.Button("Generate", variant="primary", scale=3, min_width=120)
                cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80)
            if tab.storyboard:
                default_frames = field_facts(tab.kind)["num_frames"]["default"]
                board = storyboard_panel(default_frames, with_language_model=server.chat_model is not None)
                controls["storyboard"] = board.table
        with gr.Column(elem_classes="t2v-answer"):
            panel = ui.result_panel(cancel, with_control=tab.source is not None)
            upload = gr.UploadButton("Restore settings from a video", file_types=[".mp4", ".gif"], size="sm")
        with gr.Column(elem_classes="t2v-settings"):
            examples = choice_of(tab.examples(default[0]), "Examples")
            controls["model"] = ui.control(tab.kind, "model", asked["model"])
            note = gr.HTML(note_html(*default))
            output_format = add_settings(tab, asked, panel, controls, files)
            if server.embeddings:
                gr.HTML(words_html(server.embeddings))

        controls = {name: controls[name] for name in names}
        runner = JobRunner(tab.kind, server.generate, server.output_dir, tab.endpoint, tab.fixed)
        runner.connect([run.click, controls["prompt"].submit], {**controls, "format": output_format, **files}, panel)
        runner.connect_restore(upload, controls, panel, server.read_metadata)
        example_chosen = connect_model(controls, note, examples, default, rows, tab)
        if tab.storyboard:
            prompt, frames = controls["prompt"], controls["num_frames"]
            Storyboarder(board, prompt, frames, panel.status, server.chat_model).connect(example_chosen)
        if tab.source is not None:
            connect_clips(clips, tab.clips, files["source"], controls)
    return demo


def add_settings(tab: Tab, asked: Mapping[str, Any], panel: ui.ResultPanel, controls: Any, files: Any) -> gr.Radio:
    """Build the controls of everything asked for but prompt and model, with what there is to choose from, into
    ``controls`` and ``files``; returns the format's."""
    for row in tab.rows:
        with gr.Row():
            controls |= {name: ui.control(tab.kind, name, min_width=200) for name in row}
    with gr.Row():
        controls["seed"] = ui.control(tab.kind, "seed", min_width=140)
        output_format = gr.Radio(
            ui.FORMATS, value=ui.FORMATS[0], label="Format", info="A GIF plays anywhere.", min_width=140
        )
    with gr.Row():
        reuse = gr.Button("Reuse the last seed", size="sm", min_width=140)
        randomize = gr.Button("Random seed", size="sm", min_width=140)
    with gr.Accordion("Advanced", open=False):
        if tab.first_frame:
            files["first_frame"] = gr.Image(
                label="First frame", type="filepath", sources=["upload"], height=200, show_label=True
            )
        left = {name: choices for name, choices in asked.items() if name not in controls}
        controls |= {name: ui.control(tab.kind, name, choices) for name, choices in left.items()}
    seed = controls["seed"]
    randomize.click(None, None, seed, js="() => -1")
    reuse.click(None, [panel.facts, seed], seed, js="(facts, seed) => facts?.seed ?? seed")
    return output_format


def choice_of(texts: Sequence[str], label: str) -> gr.Dataset:
    """Texts to click on; what is clicked arrives as its number."""
    samples = [[text] for text in texts]
    return gr.Dataset(components=[gr.Textbox(visible=False)], samples=samples, type="index", label=label)


def chosen(index: Any, things: Sequence[Any]) -> Any:
    """The thing of a number that a client sent, or None."""
    return things[index] if isinstance(index, int) and 0 <= index < len(things) else None


def connect_model(  # noqa: PLR0913 - all that one tab shows of a model
    controls: Mapping[str, Any], note: Any, examples: gr.Dataset, default: Any, rows: Any, tab: Tab
) -> Any:
    """Say what the chosen model is, and offer its examples; returns the event that one is in the prompt."""

    def row_of(model: Any) -> Any:
        return rows.get(model, default[0]) if isinstance(model, str) else default[0]

    def describe(model: Any) -> tuple[str, gr.Dataset]:
        row = row_of(model)
        reason = default[1] if model == AUTO else ""
        return note_html(row, reason), gr.Dataset(samples=[[text] for text in tab.examples(row)])

    def example(model: Any, index: Any) -> Any:
        return chosen(index, tab.examples(row_of(model))) or gr.skip()

    controls["model"].change(describe, controls["model"], [note, examples], **ui.PAGE_ONLY)
    return examples.click(example, [controls["model"], examples], controls["prompt"], **ui.PAGE_ONLY)


def connect_clips(dataset: gr.Dataset, clips: Sequence[ExampleClip], source: Any, controls: Mapping[str, Any]) -> None:
    """Fill in the clip that is clicked, its prompt, and whether it already is a control."""
    is_control = controls.get("source_is_control")

    def fill(index: Any) -> dict[Any, Any]:
        clip = chosen(index, clips)
        if clip is None:
            return {}
        values = {source: str(EXAMPLES / clip.file), controls["prompt"]: clip.prompt}
        return values if is_control is None else {**values, is_control: clip.is_control}

    filled = [source, controls["prompt"], *([] if is_control is None else [is_control])]
    dataset.click(fill, dataset, filled, **ui.PAGE_ONLY)


def note_html(row: Any, reason: str = "") -> str:
    """What the model is, as text; why, where the program has chosen it."""
    reason = f" <span>{html.escape(reason)}</span>" if reason else ""
    return f'<div class="t2v-hint"><p><b>{html.escape(row.label)}.</b> {html.escape(row.note)}{reason}</p></div>'


def words_html(names: Collection[str]) -> str:
    """Which learned words there are, as text."""
    listed = ", ".join(html.escape(name) for name in names)
    return f'<div class="t2v-hint"><p>Learned words for both prompts: {listed}.</p></div>'
