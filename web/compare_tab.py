"""The tab of comparisons: the engines on offer, and the components that ask for a comparison."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.components import Component

from comparison.engine_specs import ENGINES, engine_spec
from comparison.settings import ComparisonSettings
from evaluation.clip_scores import VIT_B_32
from model_manager.builtin_models import ModelRow
from settings import MAX_PROMPT_CHARS, TextToVideoSettings
from web.compare import (
    FEWEST_ENGINES,
    KIND,
    MOST_ENGINES,
    MOST_PROMPTS,
    ComparisonJobs,
    ComparisonPanel,
    ComparisonRecorder,
    OfferedEngines,
)
from web.context import PageContext
from web.controls import clickable_texts, control, item_at
from web.events import PAGE_ONLY, run_buttons
from web.html import PLACEHOLDER, hint_html
from web.job_events import JobEvents

WITH_ANY_IMAGE_MODEL = ("text2video-zero", "direct")
NUMBERS = ("num_frames", "fps", "width", "height")
EXAMPLES = (
    "a large red circle in the centre on grass",
    "a yellow star moves to the right at night",
    "a blue square in the centre on sand -> a green square in the centre on sand",
    "a person in a red shirt and blue trousers waves on sand",
)
HINT = (
    "Each engine draws each prompt with the same seed, one engine after the other, and is let "
    f"go before the next is loaded. CLIP scores want {VIT_B_32}, 600 MB to download once."
)


def engines_offered(rows: Mapping[str, ModelRow], pipelines: Iterable[str] = ()) -> OfferedEngines:
    """Return the engines that a client may compare: the program's own with every model that suits them, and the given
    ``pipelines`` of diffusers, as ``engine_spec`` takes them."""
    image_models = [row for row in rows.values() if not row.edits and not row.trained_on_videos]
    offered = {
        f"{engine}: {row.name}": (f"{ENGINES[engine].label} · {row.label}", {"engine": engine, "model": row.name})
        for engine in WITH_ANY_IMAGE_MODEL
        for row in image_models
    }
    own = {name: row for name, row in ENGINES.items() if name not in WITH_ANY_IMAGE_MODEL and row.settings is not None}
    others = {source: engine_spec(source) for source in pipelines}
    offered |= {row.name: (row.label, {"engine": name}) for name, row in (own | others).items()}
    known = {(row.settings or {}).get("model") for row in own.values()}
    named = [row for row in rows.values() if row.trained_on_videos and row.name not in known]
    return offered | {
        f"model: {row.name}": (row.label, {"engine": WITH_ANY_IMAGE_MODEL[0], "model": row.name, "label": row.label})
        for row in named
    }


@dataclass(frozen=True)
class CompareTab:
    """The tab that compares engines."""

    label: str = "Compare"
    endpoint: str = "compare"

    def build(self, context: PageContext) -> None:
        """Build the tab inside the current Gradio block."""
        build_tab(self, context)


def build_tab(tab: CompareTab, context: PageContext) -> None:
    """Build the tab inside the current Gradio block."""
    assert context.compare is not None
    offered = engines_offered(context.rows, context.engines)
    default = context.default(edits=False)[0].name
    chosen_first = [key for key in (*(f"{name}: {default}" for name in WITH_ANY_IMAGE_MODEL), "toyworld-video")]
    controls = add_prompts_and_engines(offered, [key for key in chosen_first if key in offered])
    run, cancel, refusal = run_buttons("Compare")
    examples = clickable_texts(EXAMPLES, "Examples")
    controls |= add_settings()
    status, stage, table, plots = gr.HTML(), gr.HTML(PLACEHOLDER), gr.HTML(), gr.HTML()
    files = gr.File(visible=False, interactive=False, label="Report and clips")
    panel = ComparisonPanel(status, stage, table, plots, files, cancel, refusal)
    library, jobs = context.library, ComparisonJobs(offered, tab.endpoint)
    library.runs[KIND] = ComparisonRecorder(context.compare, library.clips, Path(tempfile.gettempdir()))
    JobEvents(library, jobs, panel).connect([run.click], controls)

    def example(index: object) -> object:
        return item_at(index, EXAMPLES) or gr.skip()

    examples.click(example, examples, controls["prompts"], **PAGE_ONLY)


def add_prompts_and_engines(offered: OfferedEngines, begin_with: Sequence[str]) -> dict[str, Component]:
    """Build the components for prompts and engines, by name."""
    prompts = gr.Textbox(
        label="Prompts",
        info=f"What the videos show: one sentence in each line, at most {MOST_PROMPTS}.",
        lines=2,
        max_length=MOST_PROMPTS * (MAX_PROMPT_CHARS + 1),
    )
    engines = gr.Dropdown(
        [(label, key) for key, (label, _) in offered.items()],
        value=list(begin_with),
        multiselect=True,
        max_choices=MOST_ENGINES,
        label="Engines",
        info=f"What draws them, {FEWEST_ENGINES} to {MOST_ENGINES}.",
    )
    return {"prompts": prompts, "engines": engines}


def add_settings() -> dict[str, Component]:
    """Build the components of the other settings, by name."""
    controls: dict[str, Component] = {}
    with gr.Accordion("Settings", open=False):
        with gr.Row():
            controls |= {name: control(ComparisonSettings, name, min_width=200) for name in NUMBERS}
        with gr.Row():
            controls["seed"] = control(TextToVideoSettings, "seed", min_width=140)
            controls["clip"] = gr.Checkbox(label="CLIP scores", info="How well videos fit their text.")
        gr.HTML(hint_html(HINT))
    return controls
