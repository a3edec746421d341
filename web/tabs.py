"""Tabs of the page: one builder, and as data the differences between one mode's tab and another's."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from annotators.controls import CONTROLS, ExampleClip, settings_of_others
from generation.prompts import EncoderPrompts, vocabulary_remark
from model_manager.builtin_models import ModelRow
from model_manager.offered_names import AUTO
from settings import MAX_PROMPT_CHARS, ControlSettings, Settings, field_facts
from utils import ROOT
from web.context import BuiltTab, PageContext
from web.controls import Choices, choice_control, clickable_texts, control, item_at, text_control
from web.events import PAGE_ONLY, Updates, run_buttons
from web.generate import FORMATS, GenerationJobs
from web.html import hint_html, learned_words_html, model_html
from web.job_events import JobEvents
from web.memory import remember
from web.opening import RESTORED, connect_opening
from web.presets import add_presets
from web.recent import recent_clips
from web.result_panel import result_panel
from web.storyboard import StoryboardHandlers, StoryboardPanel, storyboard_panel
from web.variation_controls import variation_controls

EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Tab:
    """The tab of one mode.

    ``kind`` is its settings class and ``endpoint`` its name in the API; ``fixed`` settings are not asked for and
    ``hidden`` ones keep their defaults; ``rows`` of settings stand outside "Advanced". It may take a video, labelled
    ``source``, with example ``clips``, and a first frame; ``storyboard`` gives it a table of frame prompts.
    """

    label: str
    kind: type[Settings]
    endpoint: str
    rows: tuple[tuple[str, ...], ...]
    fixed: Mapping[str, object] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    source: str | None = None
    clips: tuple[ExampleClip, ...] = ()
    first_frame: bool = False
    edits: bool = False
    storyboard: bool = False
    prompt_lines: int = 2

    def suits(self, row: ModelRow) -> bool:
        """Return whether a model can do this tab's job."""
        steerable = "control" not in self.fixed or self.fixed["control"] in row.controlnets
        return row.edits == self.edits and steerable and not (self.storyboard and row.trained_on_videos)

    def build(self, context: PageContext) -> None:
        """Build the tab inside the current Gradio block."""
        build_tab(self, context)

    def examples(self, row: ModelRow) -> tuple[str, ...]:
        """Return prompts to try with a model."""
        return row.storyboards if self.storyboard else row.examples


def control_tab(control: str, label: str, source: str, *, rows: tuple[tuple[str, ...], ...] = ()) -> Tab:
    """Return the tab of one control kind; ``rows`` of its own settings stand outside "Advanced" as well."""
    return Tab(
        label=label,
        kind=ControlSettings,
        endpoint=control,
        fixed={"control": control},
        source=source,
        rows=(("source_is_control", "conditioning_scale"), ("num_frames", "fps"), *rows),
        hidden=settings_of_others(control),
        clips=CONTROLS[control].examples,
        first_frame=True,
    )


def create_demo(tab: Tab, context: PageContext) -> gr.Blocks:
    """Build the tab as a page of its own."""
    with gr.Blocks(title=tab.label, analytics_enabled=False) as demo:
        build_tab(tab, context)
        connect_opening(context)
    return demo


def build_tab(tab: Tab, context: PageContext) -> None:
    """Build the tab inside the current Gradio block; ``connect_opening`` follows when all tabs are built."""
    models, jobs = ModelChoice(tab, context), GenerationJobs(tab.kind, tab.endpoint, tab.fixed)
    names = [name for name in tab.kind.model_fields if name not in (*tab.fixed, *tab.hidden, *context.hidden())]
    with gr.Row(elem_classes="t2v-layout"):
        with gr.Column(elem_classes="t2v-ask"):
            request = add_request(tab, with_language_model=context.chat_model is not None)
        with gr.Column(elem_classes="t2v-answer"):
            panel = result_panel(request.cancel, request.refusal, with_control=tab.source is not None)
            recent = recent_clips(context.library)
            upload = gr.UploadButton("Restore settings from a video", file_types=list(RESTORED), size="sm")
        with gr.Column(elem_classes="t2v-settings"):
            examples = clickable_texts(tab.examples(models.default), "Examples")
            model = choice_control(tab.kind, "model", models.choices())
            note = gr.HTML(model_html(models.default, models.reason))
            controls = {**request.controls(), "model": model}
            asked = {name: context.choices().get(name, ()) for name in names if name not in controls}
            settings = add_settings(tab, asked, panel.facts)
            if context.embeddings:
                gr.HTML(learned_words_html(context.embeddings))
            varying = variation_controls()
            controls |= settings.controls
            controls = {name: controls[name] for name in names}
            add_remark(models, model, request)
            presets = add_presets(context.library, jobs, controls, panel.status)

    files = {"source": request.source, "first_frame": settings.first_frame}
    given = {name: one for name, one in files.items() if one is not None}
    inputs, editing = {**controls, "format": settings.output_format, **given}, gr.State("")
    triggers = [request.run.click, request.prompt.submit]
    JobEvents(context.library, jobs, panel).connect(
        triggers, inputs, page_inputs=varying, followers=[recent, presets], editing=editing
    )
    remembered = {**controls, "format": settings.output_format, **varying}
    remember(tab.endpoint, remembered, triggers)
    built = BuiltTab(tab.label, jobs, controls, given, panel, recent, varying, upload=upload, editing=editing)
    context.built.append(built)
    example_chosen = models.connect(model, note, examples=examples, prompt=request.prompt)
    connect_request(tab, request, built=built, context=context, example_chosen=example_chosen)


def add_remark(models: "ModelChoice", model: gr.Dropdown, request: "RequestControls") -> None:
    """Say under the prompt, as somebody types, what a small checkpoint does not know of it."""

    def remark(name: object, prompt: object) -> str:
        written = EncoderPrompts(prompt[:MAX_PROMPT_CHARS] if isinstance(prompt, str) else "", "")
        said = vocabulary_remark(models.row(name), written)
        return hint_html(html.escape(said)) if said else ""

    gr.on(
        [request.prompt.change, model.change],
        *(remark, [model, request.prompt], request.remark),
        trigger_mode="always_last",
        **PAGE_ONLY,
    )


def connect_request(
    tab: Tab, request: "RequestControls", *, built: BuiltTab, context: PageContext, example_chosen: Dependency
) -> None:
    """Wire what only some tabs have: a storyboard, and example clips."""
    if request.board is not None:
        frames = built.controls["num_frames"]
        assert isinstance(frames, gr.Number)
        storyboard = StoryboardHandlers(request.board, request.prompt, frames, built.panel.status, context.chat_model)
        storyboard.connect(example_chosen)
    if request.source is not None and request.clips is not None:
        connect_clips(request.clips, tab.clips, source=request.source, controls=built.controls)


@dataclass(frozen=True)
class RequestControls:
    """The components of a tab that say what is made: prompt and buttons, and those that only some tabs have, a video
    with example clips and a table of frame prompts."""

    prompt: gr.Textbox
    run: gr.Button
    cancel: gr.Button
    source: gr.Video | None
    clips: gr.Dataset | None
    board: StoryboardPanel | None
    remark: gr.HTML
    refusal: gr.HTML

    def controls(self) -> dict[str, Component]:
        """Return those that are settings, by name."""
        return {"prompt": self.prompt} | ({} if self.board is None else {"storyboard": self.board.table})


def add_request(tab: Tab, *, with_language_model: bool) -> RequestControls:
    """Build the components that say what is made."""
    source = clips = board = None
    if tab.source is not None:
        source = gr.Video(label=tab.source, sources=["upload"], include_audio=False, height=220)
        clips = clickable_texts([clip.label for clip in tab.clips], "Example clips")
    prompt = text_control(tab.kind, "prompt", lines=tab.prompt_lines, autofocus=tab.source is None)
    remark = gr.HTML()
    run, cancel, refusal = run_buttons("Generate")
    if tab.storyboard:
        default_frames = field_facts(tab.kind)["num_frames"]["default"]
        board = storyboard_panel(default_frames, with_language_model=with_language_model)
    return RequestControls(prompt, run, cancel, source, clips, board, remark, refusal)


@dataclass(frozen=True)
class SettingsControls:
    """The components of a tab's settings by name, the format of its file, and its first frame, if it takes one."""

    controls: dict[str, Component]
    output_format: gr.Radio
    first_frame: gr.Image | None


def add_settings(tab: Tab, asked: Mapping[str, Choices], last_video: gr.JSON) -> SettingsControls:
    """Build the components of the settings in ``asked``, with their choices, and of the format.

    ``last_video`` holds the facts of the last video, of which the seed can be taken.
    """
    controls: dict[str, Component] = {}
    for row in tab.rows:
        with gr.Row():
            controls |= {name: control(tab.kind, name, min_width=200) for name in row}
    with gr.Row():
        seed = control(tab.kind, "seed", min_width=140)
        output_format = gr.Radio(FORMATS, value=FORMATS[0], label="Format", info="A GIF plays anywhere.", min_width=140)
    with gr.Row():
        reuse = gr.Button("Reuse the last seed", size="sm", min_width=140)
        randomize = gr.Button("Random seed", size="sm", min_width=140)
    controls["seed"] = seed
    first_frame = None
    with gr.Accordion("Advanced", open=False):
        if tab.first_frame:
            first_frame = gr.Image(
                label="First frame", type="filepath", sources=["upload"], height=200, show_label=True
            )
        left = {name: choices for name, choices in asked.items() if name not in controls}
        controls |= {name: control(tab.kind, name, choices) for name, choices in left.items()}
    randomize.click(None, None, seed, js="() => -1")
    reuse.click(None, [last_video, seed], seed, js="(facts, seed) => facts?.seed ?? seed")
    return SettingsControls(controls, output_format, first_frame)


class ModelChoice:
    """The models that suit a tab: their list, the note on the chosen one, and its examples."""

    def __init__(self, tab: Tab, context: PageContext) -> None:
        self.tab = tab
        self.rows = {name: row for name, row in context.rows.items() if tab.suits(row)}
        self.default, self.reason = context.default(edits=tab.edits)

    def choices(self) -> Choices:
        """Return the models as (label, name), first "auto"."""
        return [("Automatic", AUTO), *((row.label, name) for name, row in self.rows.items())]

    def row(self, model: object) -> ModelRow:
        """Return the row of the model that a client sent, the default's for any other value."""
        return self.rows.get(model, self.default) if isinstance(model, str) else self.default

    def describe(self, model: object) -> tuple[str, gr.Dataset]:
        """Return the note and the examples of a model."""
        row = self.row(model)
        reason = self.reason if model == AUTO else ""
        return model_html(row, reason), gr.Dataset(samples=[[text] for text in self.tab.examples(row)])

    def example(self, model: object, index: object) -> object:
        """Return the example at an index of a model's."""
        return item_at(index, self.tab.examples(self.row(model))) or gr.skip()

    def connect(self, model: gr.Dropdown, note: gr.HTML, *, examples: gr.Dataset, prompt: gr.Textbox) -> Dependency:
        """Show note and examples of the chosen model; returns the event that an example is in the prompt."""
        model.change(self.describe, model, [note, examples], **PAGE_ONLY)
        return examples.click(self.example, [model, examples], prompt, **PAGE_ONLY)


def connect_clips(
    dataset: gr.Dataset, clips: Sequence[ExampleClip], *, source: Component, controls: Mapping[str, Component]
) -> None:
    """Fill in the clip that is clicked, its prompt, and whether it is a control video already."""
    is_control = controls.get("source_is_control")

    def fill(index: object) -> Updates:
        clip = item_at(index, clips)
        if clip is None:
            return {}
        values: Updates = {source: str(EXAMPLES / clip.file), controls["prompt"]: clip.prompt}
        return values if is_control is None else {**values, is_control: clip.is_control}

    filled = [source, controls["prompt"], *([] if is_control is None else [is_control])]
    dataset.click(fill, dataset, filled, **PAGE_ONLY)
