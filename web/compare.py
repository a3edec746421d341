"""Jobs that compare engines: from what the tab's components hold, or a program sends, to a report."""

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from comparison.report.clips import clips_html
from comparison.report.formatting import duration
from comparison.report.page import write_report
from comparison.report.plots import plots_html
from comparison.report.tables import table_html
from comparison.results import Results
from comparison.runner import Comparison, Stage
from comparison.settings import ComparisonSettings
from errors import Cancelled, GenerationFailed, InvalidSettings
from library.clips import copy_into
from settings import MAX_PROMPT_CHARS, MAX_SEED, TextToVideoSettings
from settings.parsing import validate
from web.controls import read_values
from web.events import ProgramUpdates, Updates, error_line
from web.html import NOTHING_KEPT, PLACEHOLDER, status_html
from web.jobs import run_in_thread

MOST_PROMPTS, FEWEST_ENGINES, MOST_ENGINES = 4, 2, 4  # of one comparison on the page
STOPPED = "Stopped; what was finished is below"
# A name of its own for each engine on offer, with its label and the choice as ComparisonSettings takes it.
OfferedEngines = Mapping[str, tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class FinishedComparison:
    """A comparison that is finished or was ``stopped``, and an archive of its report and clips, which lives until the
    next step of the job."""

    results: Results
    archive: Path
    seconds: float
    stopped: bool = False


@dataclass(frozen=True)
class ComparisonPanel:
    """Components that show a comparison."""

    status: gr.HTML
    stage: gr.HTML
    table: gr.HTML
    plots: gr.HTML
    files: gr.File
    cancel: gr.Button
    kept: gr.State  # a list, in which a job that is cancelled leaves what it had finished

    @property
    def shown(self) -> list[Component]:
        """All components that a job changes."""
        return [self.status, self.stage, self.table, self.plots, self.files, self.cancel, self.kept]

    def show(self, status: str, *, busy: bool = False) -> Updates:
        """Show a status and no clips (yet)."""
        empty: Updates = {self.table: "", self.plots: "", self.files: gr.File(None, visible=False), self.kept: []}
        return {self.status: status, self.stage: PLACEHOLDER, self.cancel: gr.Button(interactive=busy), **empty}

    def show_stopped(self, kept: Sequence[FinishedComparison]) -> Updates:
        """Show the clips that were finished before the job was cancelled, if there are any."""
        return self.show_results(kept[0]) if kept else self.show(status_html(NOTHING_KEPT))

    def keep(self, kept: list[FinishedComparison], done: FinishedComparison) -> None:
        """Leave a comparison for ``show_stopped``, with its archive among the files that Gradio keeps for a while."""
        archive = self.files.move_resource_to_block_cache(done.archive)
        kept.append(replace(done, archive=Path(archive or done.archive)))

    def show_stage(self, stage: Stage, *, with_clips: bool) -> Updates:
        """Show the progress of a comparison, and the clips if there are new ones."""
        step = "loading" if stage.progress is None else f"step {stage.progress.step} of {stage.progress.total}"
        where = f"{stage.label} · clip {stage.done + 1} of {stage.total} · {step}"
        text = "Writing the report…" if stage.done == stage.total else where
        shown: Updates = {self.status: status_html(text, "running", fraction=stage.fraction)}
        return shown | ({self.stage: clips_html(stage.results) or PLACEHOLDER} if with_clips else {})

    def show_results(self, done: FinishedComparison) -> Updates:
        """Show clips, table, plots and the report."""
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
class ComparisonHandlers:
    """Handlers of comparisons: the page gets HTML, a program JSON; ``compare`` prepares one from its settings."""

    offered: OfferedEngines
    compare: Callable[[ComparisonSettings], Comparison]
    output_dir: Path | None = None

    async def for_page(self, panel: ComparisonPanel, **values: Any) -> AsyncGenerator[Updates, None]:
        """Show the comparison while its results come in."""
        kept: list[FinishedComparison] = []
        yield {panel.status: status_html("Loading the first model…", "running"), panel.kept: kept}
        shown = 0  # clips; those of a step that was skipped come with the next
        try:
            async with aclosing(self._updates(values, partial(panel.keep, kept))) as updates:
                async for update in updates:
                    if isinstance(update, FinishedComparison):
                        yield panel.show_results(update)
                    else:
                        yield panel.show_stage(update, with_clips=update.done > shown)
                        shown = update.done
        except Exception as error:
            yield panel.show(status_html(error_line(error), "error"))

    async def for_program(self, **values: Any) -> ProgramUpdates:
        """Yield progress, and at last the archive and its numbers."""
        try:
            async with aclosing(self._updates(values)) as updates:
                async for update in updates:
                    if isinstance(update, FinishedComparison):
                        yield str(update.archive), update.results.to_dict()
                    else:
                        stage = {"engine": update.label, "done": update.done, "total": update.total}
                        yield None, {"progress": stage | {"fraction": update.fraction}}
        except Exception as error:
            raise gr.Error(error_line(error), print_exception=False) from None

    def read(self, values: Mapping[str, object]) -> ComparisonSettings:
        """Return validated settings from what was sent; raises InvalidSettings."""
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
        return read_values(ComparisonSettings, plain)

    async def _updates(
        self, values: Mapping[str, object], on_stopped: Callable[[FinishedComparison], None] | None = None
    ) -> AsyncGenerator[Stage | FinishedComparison, None]:
        """Check everything, then run; raises UserError before anything has started.

        ``on_stopped`` gets, in a thread, the clips that a job had finished when this was closed: nobody hears of them
        otherwise.
        """
        settings = self.read(values)
        with tempfile.TemporaryDirectory(prefix="text2video-") as folder:
            name = f"comparison-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"

            def work(report: Callable[[Stage], None], cancel: threading.Event) -> FinishedComparison:
                began, comparison = time.monotonic(), self.compare(settings)
                job = ComparisonJob(comparison, Path(folder) / name, self.output_dir, began)
                return job.run(report, cancel, on_stopped=on_stopped)

            async with aclosing(run_in_thread(work)) as updates:
                async for update in updates:
                    yield update


@dataclass(frozen=True)
class ComparisonJob:
    """A comparison at work in a thread: its folder, the operator's folder for the archive, and when it ``began``."""

    comparison: Comparison
    folder: Path
    output_dir: Path | None
    began: float

    def run(
        self,
        report: Callable[[Stage], None],
        cancel: threading.Event,
        *,
        on_stopped: Callable[[FinishedComparison], None] | None,
    ) -> FinishedComparison:
        """Run the comparison; raises Cancelled, after ``on_stopped`` has got the finished clips, if there are any."""
        try:
            results = self.comparison.run(self.folder, report, cancel)
        except Cancelled:
            if on_stopped is not None and _has_clips(self.comparison.results):
                on_stopped(self._finished(self.comparison.results, stopped=True))
            raise
        if not _has_clips(results):
            raise GenerationFailed("; ".join(f"{engine.label}: {engine.error}" for engine in results.engines))
        return self._finished(results)

    def _finished(self, results: Results, *, stopped: bool = False) -> FinishedComparison:
        """Write the report and pack it with the clips beside its folder; the operator keeps the archive too."""
        write_report(results, self.folder)
        archive = Path(shutil.make_archive(str(self.folder), "zip", self.folder.parent, self.folder.name))
        if self.output_dir is not None:
            copy_into(archive, self.output_dir / archive.name)
        return FinishedComparison(results, archive, time.monotonic() - self.began, stopped)


def _has_clips(results: Results) -> bool:
    return any(engine.clips for engine in results.engines)
