"""The tab that turns one sentence into a video (Text2Video-Zero, arXiv 2303.13439)."""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

import ui
from settings import TextToVideoSettings

AUTO = "auto"


def create_demo(
    generate: ui.Generate,
    rows: Mapping[str, Any],
    default: tuple[Any, str],
    read_metadata: Callable[[Path], Mapping[str, str]],
    output_dir: Path | None = None,
) -> gr.Blocks:
    """The tab as a page of its own: ``rows`` are the models a client may choose, ``default`` what "auto" is and why."""

    def row_of(model: Any) -> Any:
        return rows.get(model, default[0]) if isinstance(model, str) else default[0]

    def describe(model: Any) -> tuple[str, gr.Dataset]:
        row = row_of(model)
        return _note(row, default[1] if model == AUTO else ""), gr.Dataset(samples=_samples(row))

    def example(model: Any, index: Any) -> Any:
        examples = row_of(model).examples
        return examples[index] if isinstance(index, int) and 0 <= index < len(examples) else gr.skip()

    kind = TextToVideoSettings
    choices = [("Automatic", AUTO), *((row.label, name) for name, row in rows.items())]
    with gr.Blocks(title="Text to video", analytics_enabled=False) as demo, gr.Row(elem_classes="t2v-layout"):
        controls: dict[str, Any] = {}
        with gr.Column(elem_classes="t2v-ask"):
            controls["prompt"] = ui.control(kind, "prompt", lines=2, autofocus=True)
            with gr.Row():
                run = gr.Button("Generate", variant="primary", scale=3, min_width=120)
                cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80)
        with gr.Column(elem_classes="t2v-answer"):
            panel = ui.result_panel(cancel)
            upload = gr.UploadButton("Restore settings from a video", file_types=[".mp4", ".gif"], size="sm")
        with gr.Column(elem_classes="t2v-settings"):
            examples = gr.Dataset(
                components=[gr.Textbox(visible=False)], samples=_samples(default[0]), type="index", label="Examples"
            )
            controls["model"] = ui.control(kind, "model", choices)
            note = gr.HTML(_note(*default))
            with gr.Row():
                controls["num_frames"] = ui.control(kind, "num_frames", min_width=200)
                controls["fps"] = ui.control(kind, "fps", min_width=200)
            with gr.Row():
                controls["motion_field_strength_x"] = ui.control(kind, "motion_field_strength_x", min_width=200)
                controls["motion_field_strength_y"] = ui.control(kind, "motion_field_strength_y", min_width=200)
            with gr.Row():
                controls["seed"] = ui.control(kind, "seed", min_width=140)
                output_format = gr.Radio(
                    ui.FORMATS, value=ui.FORMATS[0], label="Format", info="A GIF plays anywhere.", min_width=140
                )
            with gr.Row():
                reuse = gr.Button("Reuse the last seed", size="sm", min_width=140)
                randomize = gr.Button("Random seed", size="sm", min_width=140)
            with gr.Accordion("Advanced", open=False):
                controls |= {name: ui.control(kind, name) for name in kind.model_fields if name not in controls}

        controls = {name: controls[name] for name in kind.model_fields}
        runner = ui.JobRunner(kind, generate, output_dir)
        runner.connect([run.click, controls["prompt"].submit], {**controls, "format": output_format}, panel)
        runner.connect_restore(upload, controls, panel, read_metadata)
        controls["model"].change(describe, controls["model"], [note, examples], **ui.PAGE_ONLY)
        examples.click(example, [controls["model"], examples], controls["prompt"], **ui.PAGE_ONLY)
        randomize.click(None, None, controls["seed"], js="() => -1")
        reuse.click(None, [panel.facts, controls["seed"]], controls["seed"], js="(facts, seed) => facts?.seed ?? seed")
    return demo


def _note(row: Any, reason: str = "") -> str:
    """What the model is, as text; why, where the program has chosen it."""
    reason = f" <span>{html.escape(reason)}</span>" if reason else ""
    return f'<div class="t2v-hint"><p><b>{html.escape(row.label)}.</b> {html.escape(row.note)}{reason}</p></div>'


def _samples(row: Any) -> list[list[str]]:
    return [[text] for text in row.examples]


if __name__ == "__main__":
    import serve
    from model import Model
    from video_io import read_metadata

    with serve.exit_on_user_error():
        model = Model()
        serve.serve(create_demo(model.generate, model.rows, model.default(), read_metadata), serve.Address())
