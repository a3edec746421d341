"""The tab of comparisons: what it asks for, and how what the engines made is shown while it comes in."""

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from comparison.engine_specs import ENGINES, engine_spec
from comparison.report.clips import clips_html
from comparison.report.formatting import duration
from comparison.report.page import write_report
from comparison.report.plots import plots_html
from comparison.report.tables import table_html
from comparison.settings import ComparisonSettings
from errors import Cancelled, GenerationFailed, InvalidSettings
from evaluation.clip_scores import VIT_B_32
from settings import MAX_PROMPT_CHARS, MAX_SEED, TextToVideoSettings
from settings.parsing import validate
from web import controls as ui
from web.generate import Job, connect_job
from web.html import NOTHING_KEPT, PLACEHOLDER, status_html
from web.jobs import keep, run_in_thread
from web.tabs import Server, choice_of, chosen

MOST_PROMPTS, FEWEST_ENGINES, MOST_ENGINES = 4, 2, 4  # of one comparison on the page
WITH_ANY_IMAGE_MODEL = ("text2video-zero", "direct")
STOPPED = "Stopped; what was finished is below"
NUMBERS = ("num_frames", "fps", "width", "height")
EXAMPLES = (
    "a large red circle in the centre on grass",
    "a yellow star moves to the right at night",
    "a blue square in the centre on sand -> a green square in the centre on sand",
    "a person in a red shirt and blue trousers waves on sand",
)
HINT = (
    '<div class="t2v-hint"><p>Each engine draws each prompt with the same seed, one engine after the other, and is let '
    f"go before the next is loaded. CLIP scores want {VIT_B_32}, 600 MB to download once.</p></div>"
)


def engines_offered(rows: Mapping[str, Any], pipelines: Iterable[str] = ()) -> dict[str, tuple[str, dict[str, Any]]]:
    """What a client may compare: by a name of its own the label, and the choice as ``ComparisonSettings`` takes it.
    Of pipelines of diffusers those that are given, as ``engine_spec`` takes them."""
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
class ComparePanel:
    """Where the page shows a comparison."""

    status: gr.HTML
    stage: gr.HTML
    table: gr.HTML
    plots: gr.HTML
    files: gr.File
    cancel: gr.Button
    kept: gr.State  # a list, in which a job that is cancelled leaves what it had finished

    @property
    def shown(self) -> list[Component]:
        """Everything that a job changes."""
        return [self.status, self.stage, self.table, self.plots, self.files, self.cancel, self.kept]

    def show(self, status: str, *, busy: bool = False) -> dict[Component, Any]:
        """The status, and no clips (yet)."""
        empty = {self.table: "", self.plots: "", self.files: gr.File(None, visible=False), self.kept: []}
        return {self.status: status, self.stage: PLACEHOLDER, self.cancel: gr.Button(interactive=busy), **empty}

    def show_stopped(self, kept: Sequence["Compared"]) -> dict[Component, Any]:
        """What was finished before the job was cancelled, where that is anything."""
        return self.show_results(kept[0]) if kept else self.show(status_html(NOTHING_KEPT))

    def keep(self, kept: list["Compared"], done: "Compared") -> None:
        """Leave it there for ``show_stopped``, with its archive among the files that Gradio keeps for a while."""
        archive = self.files.move_resource_to_block_cache(done.archive)
        kept.append(replace(done, archive=Path(archive or done.archive)))

    def show_stage(self, stage: Any, *, with_clips: bool) -> dict[Component, Any]:
        """How far it is, and the clips where there are more of them."""
        step = "loading" if stage.progress is None else f"step {stage.progress.step} of {stage.progress.total}"
        where = f"{stage.label} · clip {stage.done + 1} of {stage.total} · {step}"
        text = "Writing the report…" if stage.done == stage.total else where
        shown: dict[Component, Any] = {self.status: status_html(text, "running", stage.fraction)}
        return shown | ({self.stage: clips_html(stage.results) or PLACEHOLDER} if with_clips else {})

    def show_results(self, done: "Compared") -> dict[Component, Any]:
        """Clips, table, plots and the report."""
        results = done.results
        failed = [f"{engine.label}: {engine.error}" for engine in results.engines if engine.error]
        text = STOPPED if done.stopped else f"Done in {duration(done.seconds)}"
        return {
            self.status: status_html(f"{text} · seed {results.seeds[0]}", "done", notes=[*failed, *results.notes]),
            # Of an element that stays, Gradio keeps the clips as they run; in a new one all begin together.
            self.stage: f"<section>{clips_html(results)}</section>",
            self.table: table_html(results),
            self.plots: plots_html(results) if len(results.prompts) > 1 else "",  # one prompt has no means
            self.files: gr.File(str(done.archive), visible=True),
            self.cancel: gr.Button(interactive=False),
            self.kept: [],
        }


@dataclass(frozen=True)
class Compared:
    """A comparison that is finished or was ``stopped``, and an archive of its report and clips, which lives until the
    next step of the job."""

    results: Any
    archive: Path
    seconds: float
    stopped: bool = False


@dataclass(frozen=True)
class Comparer:
    """From what the controls hold, or a program sends, to a report."""

    offered: Mapping[str, tuple[str, dict[str, Any]]]
    compare: Callable[..., Any]
    output_dir: Path | None = None

    async def for_page(self, panel: ComparePanel, **values: Any) -> AsyncGenerator[dict[Component, Any], None]:
        kept: list[Compared] = []
        yield {panel.status: status_html("Loading the first model…", "running"), panel.kept: kept}
        shown = 0  # clips; those of a step that was skipped come with the next
        try:
            async with aclosing(self._updates(values, partial(panel.keep, kept))) as updates:
                async for update in updates:
                    if isinstance(update, Compared):
                        yield panel.show_results(update)
                    else:
                        yield panel.show_stage(update, with_clips=update.done > shown)
                        shown = update.done
        except Exception as error:
            yield panel.show(status_html(ui.error_line(error), "error"))

    async def for_program(self, **values: Any) -> AsyncGenerator[tuple[str | None, dict[str, Any]], None]:
        try:
            async with aclosing(self._updates(values)) as updates:
                async for update in updates:
                    if isinstance(update, Compared):
                        yield str(update.archive), update.results.to_dict()
                    else:
                        stage = {"engine": update.label, "done": update.done, "total": update.total}
                        yield None, {"progress": stage | {"fraction": update.fraction}}
        except Exception as error:
            raise gr.Error(ui.error_line(error), print_exception=False) from None

    def read(self, values: Mapping[str, Any]) -> ComparisonSettings:
        """Checked settings from what was sent; raises InvalidSettings."""
        plain, prompts, keys = dict(values), values.get("prompts"), values.get("engines")
        if not isinstance(prompts, str) or len(prompts) > MOST_PROMPTS * (MAX_PROMPT_CHARS + 1):
            raise InvalidSettings(f"prompts: must be text, at most {MOST_PROMPTS} lines")
        lines = [line.strip() for line in prompts.splitlines() if line.strip()]
        if not 1 <= len(lines) <= MOST_PROMPTS:
            raise InvalidSettings(f"prompts: write 1 to {MOST_PROMPTS} sentences, each in a line of its own")
        if not isinstance(keys, list) or not all(isinstance(key, str) and key in self.offered for key in keys):
            raise InvalidSettings("engines: must be a list of engines that are offered")
        if not FEWEST_ENGINES <= len(set(keys)) <= MOST_ENGINES:
            raise InvalidSettings(f"engines: choose {FEWEST_ENGINES} to {MOST_ENGINES}")
        seed = validate(TextToVideoSettings, {"prompt": "any", "seed": plain.pop("seed", -1)}).seed
        plain |= {"prompts": lines, "engines": [self.offered[key][1] for key in dict.fromkeys(keys)]}
        plain |= {"seeds": [secrets.randbelow(MAX_SEED + 1) if seed < 0 else seed]}
        if not isinstance(plain.get("clip", False), bool):
            raise InvalidSettings("clip: must be true or false")
        return ui.read_values(ComparisonSettings, plain)

    async def _updates(
        self, values: Mapping[str, Any], on_stopped: Callable[[Compared], None] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Check everything, then run; raises UserError before anything has started. ``on_stopped`` gets, in a thread,
        what a job had finished when this was closed: nobody hears of it otherwise."""
        settings = self.read(values)
        with tempfile.TemporaryDirectory(prefix="text2video-") as folder:
            name = f"comparison-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
            run = partial(self._run, settings, Path(folder) / name, on_stopped)
            async with aclosing(run_in_thread(run)) as updates:
                async for update in updates:
                    yield update

    def _run(
        self,
        settings: ComparisonSettings,
        folder: Path,
        on_stopped: Callable[[Compared], None] | None,
        tell: Callable[[Any], None],
        cancel: threading.Event,
    ) -> Compared:
        """The whole comparison, in a thread."""
        began, comparison = time.monotonic(), self.compare(settings)
        try:
            results = comparison.run(folder, tell, cancel)
        except Cancelled:
            if on_stopped is not None and any(engine.clips for engine in comparison.results.engines):
                archive = self._packed(comparison.results, folder)
                on_stopped(Compared(comparison.results, archive, time.monotonic() - began, stopped=True))
            raise
        if not any(engine.clips for engine in results.engines):
            raise GenerationFailed("; ".join(f"{engine.label}: {engine.error}" for engine in results.engines))
        return Compared(results, self._packed(results, folder), time.monotonic() - began)

    def _packed(self, results: Any, folder: Path) -> Path:
        """An archive of the report and the clips beside their folder, which the operator keeps too."""
        write_report(results, folder)
        archive = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
        if self.output_dir is not None:
            keep(archive, self.output_dir)
        return archive


@dataclass(frozen=True)
class CompareTab:
    """The tab; its place in the page is that of any other."""

    label: str = "Compare"
    endpoint: str = "compare"

    def build(self, context: Server) -> None:
        """Build the tab inside the current Gradio block."""
        create_demo(self, context)


def create_demo(tab: CompareTab, server: Server) -> gr.Blocks:
    """The tab as a page of its own."""
    assert server.compare is not None
    offered = engines_offered(server.rows, server.engines)
    default = server.default(edits=False)[0].name
    chosen_first = [key for key in (*(f"{name}: {default}" for name in WITH_ANY_IMAGE_MODEL), "toyworld-video")]
    with gr.Blocks(title=tab.label, analytics_enabled=False) as demo:
        controls = add_prompts_and_engines(offered, [key for key in chosen_first if key in offered])
        with gr.Row():
            run = gr.Button("Compare", variant="primary", scale=3, min_width=120)
            cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80)
        examples = choice_of(EXAMPLES, "Examples")
        controls |= add_settings()
        status, stage, table, plots = gr.HTML(), gr.HTML(PLACEHOLDER), gr.HTML(), gr.HTML()
        files = gr.File(visible=False, interactive=False, label="Report and clips")
        panel = ComparePanel(status, stage, table, plots, files, cancel, gr.State([]))
        comparer = Comparer(offered, server.compare, server.output_dir)
        job = Job(partial(comparer.for_page, panel), comparer.for_program, tab.endpoint, ComparisonSettings.__doc__)
        connect_job([run.click], controls, panel, job)
        examples.click(
            lambda index: chosen(index, EXAMPLES) or gr.skip(), examples, controls["prompts"], **ui.PAGE_ONLY
        )
    return demo


def add_prompts_and_engines(offered: Mapping[str, tuple[str, Any]], begin_with: Sequence[str]) -> dict[str, Any]:
    """What is drawn and by what, as controls by name."""
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


def add_settings() -> dict[str, Any]:
    """Everything else, as controls by name."""
    controls: dict[str, Any] = {}
    with gr.Accordion("Settings", open=False):
        with gr.Row():
            controls |= {name: ui.control(ComparisonSettings, name, min_width=200) for name in NUMBERS}
        with gr.Row():
            controls["seed"] = ui.control(TextToVideoSettings, "seed", min_width=140)
            controls["clip"] = gr.Checkbox(label="CLIP scores", info="How well videos fit their text.")
        gr.HTML(HINT)
    return controls
