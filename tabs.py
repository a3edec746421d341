"""The tabs of the page: one builder, and what tells one mode's tab from another's as data."""

import html
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

import ui
from settings import Settings

AUTO = "auto"


@dataclass(frozen=True)
class Tab:
    """One tab: its settings class and the name of its endpoint; ``fixed`` settings that are not asked for; which others
    are in sight, row by row, beside prompt, model and seed; whether it takes a video or a first frame."""

    label: str
    kind: type[Settings]
    endpoint: str
    rows: tuple[tuple[str, ...], ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    source: str | None = None
    first_frame: bool = False
    edits: bool = False
    prompt_lines: int = 2


@dataclass(frozen=True)
class Server:
    """What a tab needs of the program: ``rows`` are the models a client may choose, ``default(edits=...)`` what "auto"
    is and why; ``loras``, ``vaes`` and ``embeddings`` are names of what else the operator offers."""

    generate: ui.Generate
    rows: Mapping[str, Any]
    default: Callable[..., tuple[Any, str]]
    read_metadata: Callable[[Path], Mapping[str, str]]
    output_dir: Path | None = None
    loras: Collection[str] = ()
    vaes: Collection[str] = ()
    embeddings: Collection[str] = ()

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
    rows = {name: row for name, row in server.rows.items() if row.edits == tab.edits}

    def row_of(model: Any) -> Any:
        return rows.get(model, default[0]) if isinstance(model, str) else default[0]

    def describe(model: Any) -> tuple[str, gr.Dataset]:
        row = row_of(model)
        return note_html(row, default[1] if model == AUTO else ""), gr.Dataset(samples=samples(row))

    def example(model: Any, index: Any) -> Any:
        examples = row_of(model).examples
        return examples[index] if isinstance(index, int) and 0 <= index < len(examples) else gr.skip()

    kind = tab.kind
    names = [name for name in kind.model_fields if name not in (*tab.fixed, *tab.hidden, *server.hidden())]
    choices = {"model": [("Automatic", AUTO), *((row.label, name) for name, row in rows.items())], **server.choices()}
    controls: dict[str, Any] = {}
    files: dict[str, Any] = {}
    with gr.Blocks(title=tab.label, analytics_enabled=False) as demo, gr.Row(elem_classes="t2v-layout"):
        with gr.Column(elem_classes="t2v-ask"):
            if tab.source is not None:
                files["source"] = gr.Video(label=tab.source, sources=["upload"], include_audio=False, height=220)
            controls["prompt"] = ui.control(kind, "prompt", lines=tab.prompt_lines, autofocus=tab.source is None)
            with gr.Row():
                run = gr.Button("Generate", variant="primary", scale=3, min_width=120)
                cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80)
        with gr.Column(elem_classes="t2v-answer"):
            panel = ui.result_panel(cancel, with_control=tab.source is not None)
            upload = gr.UploadButton("Restore settings from a video", file_types=[".mp4", ".gif"], size="sm")
        with gr.Column(elem_classes="t2v-settings"):
            examples = gr.Dataset(
                components=[gr.Textbox(visible=False)], samples=samples(default[0]), type="index", label="Examples"
            )
            controls["model"] = ui.control(kind, "model", choices["model"])
            note = gr.HTML(note_html(*default))
            for row in tab.rows:
                with gr.Row():
                    controls |= {name: ui.control(kind, name, min_width=200) for name in row}
            with gr.Row():
                controls["seed"] = ui.control(kind, "seed", min_width=140)
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
                left = [name for name in names if name not in controls]
                controls |= {name: ui.control(kind, name, choices.get(name, ())) for name in left}
                if server.embeddings:
                    gr.HTML(words_html(server.embeddings))

        controls = {name: controls[name] for name in names}
        runner = ui.JobRunner(kind, server.generate, server.output_dir, tab.endpoint, tab.fixed)
        runner.connect([run.click, controls["prompt"].submit], {**controls, "format": output_format, **files}, panel)
        runner.connect_restore(upload, controls, panel, server.read_metadata)
        controls["model"].change(describe, controls["model"], [note, examples], **ui.PAGE_ONLY)
        examples.click(example, [controls["model"], examples], controls["prompt"], **ui.PAGE_ONLY)
        randomize.click(None, None, controls["seed"], js="() => -1")
        reuse.click(None, [panel.facts, controls["seed"]], controls["seed"], js="(facts, seed) => facts?.seed ?? seed")
    return demo


def note_html(row: Any, reason: str = "") -> str:
    """What the model is, as text; why, where the program has chosen it."""
    reason = f" <span>{html.escape(reason)}</span>" if reason else ""
    return f'<div class="t2v-hint"><p><b>{html.escape(row.label)}.</b> {html.escape(row.note)}{reason}</p></div>'


def words_html(names: Collection[str]) -> str:
    """Which learned words there are, as text."""
    listed = ", ".join(html.escape(name) for name in names)
    return f'<div class="t2v-hint"><p>Learned words for both prompts: {listed}.</p></div>'


def samples(row: Any) -> list[list[str]]:
    """The row's example prompts, as a Dataset takes them."""
    return [[text] for text in row.examples]
