"""Jobs that compare engines: from what the tab's components hold, or a program sends, to a kept report."""

import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
from library.clips import ClipIndex, copy_into
from library.job import Job, NewJob, Result, StoppedWithResult
from settings import MAX_PROMPT_CHARS, MAX_SEED, TextToVideoSettings
from settings.parsing import validate
from web.controls import read_values
from web.events import Updates
from web.html import PLACEHOLDER, status_html

KIND = "compare"  # of jobs in the list
MOST_PROMPTS, FEWEST_ENGINES, MOST_ENGINES = 4, 2, 4  # of one comparison on the page
STOPPED = "Stopped; what was finished is below"
# A name of its own for each engine on offer, with its label and the choice as ComparisonSettings takes it.
OfferedEngines = Mapping[str, tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class ComparisonPanel:
    """Components that show a comparison."""

    status: gr.HTML
    stage: gr.HTML
    table: gr.HTML
    plots: gr.HTML
    files: gr.File
    cancel: gr.Button
    refusal: gr.HTML

    @property
    def shown(self) -> list[Component]:
        """All components that a job changes."""
        return [self.status, self.stage, self.table, self.plots, self.files, self.cancel]

    def show_nothing(self) -> Updates:
        """Show no clips (yet)."""
        empty: Updates = {self.table: "", self.plots: "", self.files: gr.File(None, visible=False)}
        return {self.stage: PLACEHOLDER, self.cancel: gr.Button(interactive=False), **empty}

    def show_progress(self, progress: Stage, *, before: object, waiting: int) -> Updates:
        """Show the progress of a comparison, and the clips if there are new ones."""
        step = "loading" if progress.progress is None else f"step {progress.progress.step} of {progress.progress.total}"
        where = f"{progress.label} · clip {progress.done + 1} of {progress.total} · {step}"
        text = "Writing the report…" if progress.done == progress.total else where
        more = f" · {waiting} more in the list" if waiting else ""
        shown: Updates = {self.status: status_html(text + more, "running", fraction=progress.fraction)}
        if not isinstance(before, Stage):
            shown = {**self.show_nothing(), **shown, self.cancel: gr.Button(interactive=True)}
        elif before.done == progress.done:
            return shown
        return shown | {self.stage: clips_html(progress.results) or PLACEHOLDER}

    def show_result(self, result: Result) -> Updates:
        """Show clips, table, plots and the report."""
        html = json.loads(Path(result.facts["shown"]).read_text(encoding="utf-8"))
        return {
            **{getattr(self, name): html[name] for name in ("status", "stage", "table", "plots")},
            self.files: gr.File(str(result.file), visible=True),
            self.cancel: gr.Button(interactive=False),
        }


@dataclass(frozen=True)
class ComparisonJobs:
    """Comparisons of engines on ``offered``; ``endpoint`` is their name in the API."""

    offered: OfferedEngines
    endpoint: str = KIND
    about: str | None = ComparisonSettings.__doc__

    def read(self, values: Mapping[str, object]) -> list[NewJob]:
        """Check what was sent and return its job; raises InvalidSettings."""
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
        engines = [dict(self.offered[key][1]) for key in dict.fromkeys(keys)]
        plain |= {"prompts": lines, "engines": engines}
        plain |= {"seeds": [secrets.randbelow(MAX_SEED + 1) if seed < 0 else seed]}
        if not isinstance(plain.get("clip", False), bool):
            raise InvalidSettings("clip: must be true or false")
        settings = read_values(ComparisonSettings, plain).to_dict()
        return [NewJob({**settings, "engines": engines}, KIND, "zip")]

    def is_ours(self, job: Job) -> bool:
        """Return whether a job of the list is a comparison."""
        return job.kind == KIND

    def program_progress(self, progress: Stage) -> dict[str, Any]:
        """Return progress as JSON."""
        stage = {"engine": progress.label, "done": progress.done, "total": progress.total}
        return stage | {"fraction": progress.fraction}

    def program_facts(self, result: Result) -> dict[str, Any]:
        """Return every number of the report."""
        return dict(result.facts["results"])


@dataclass(frozen=True)
class ComparisonRecorder:
    """Runs a comparison and keeps its report among the clips; ``compare`` prepares one from its settings."""

    compare: Callable[[ComparisonSettings], Comparison]
    clips: ClipIndex
    temporary: Path

    def __call__(self, job: Job, on_stage: Callable[[Stage], None], cancel: threading.Event) -> Result:
        """Return the report; raises UserError, and Cancelled, with the clips that were finished if there are any."""
        began = time.monotonic()
        values = {name: value for name, value in job.settings.items() if name != "mode"}
        comparison = self.compare(validate(ComparisonSettings, values))
        with tempfile.TemporaryDirectory(prefix="text2video-") as folder:
            name = f"comparison-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(8)}"
            try:
                results = comparison.run(Path(folder) / name, on_stage, cancel)
            except Cancelled:
                if not _has_clips(comparison.results):
                    raise
                status = status_of(comparison.results, STOPPED)
                kept = self._kept(comparison.results, Path(folder) / name, owner=job.owner, status=status)
                raise StoppedWithResult(kept) from None
            if not _has_clips(results):
                raise GenerationFailed("; ".join(f"{engine.label}: {engine.error}" for engine in results.engines))
            status = status_of(results, f"Done in {duration(time.monotonic() - began)}")
            return self._kept(results, Path(folder) / name, owner=job.owner, status=status)

    def _kept(self, results: Results, folder: Path, *, owner: str, status: str) -> Result:
        """Write the report, pack it with the clips, and keep the archive and what the page shows of it."""
        write_report(results, folder)
        archive = Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
        try:
            place = self.clips.folder_of(owner)
            archive = copy_into(archive, place / archive.name)
        except OSError:
            place = Path(tempfile.mkdtemp(prefix="comparison-", dir=self.temporary))
            archive = copy_into(archive, place / archive.name)
        shown = self.clips.picture_folder(place) / f"{folder.name}.json"
        shown.parent.mkdir(exist_ok=True)
        shown.write_text(json.dumps(shown_html(results) | {"status": status}), encoding="utf-8")
        return Result(archive, facts={"results": results.to_dict(), "shown": str(shown)})


def status_of(results: Results, text: str) -> str:
    """Return the line of a comparison that has ended, with its notes, as HTML."""
    failed = [f"{engine.label}: {engine.error}" for engine in results.engines if engine.error]
    return status_html(f"{text} · seed {results.seeds[0]}", "done", notes=[*failed, *results.notes])


def shown_html(results: Results) -> dict[str, str]:
    """Return clips, table and plots of a comparison as HTML."""
    return {
        # Of an element that stays, Gradio keeps the clips as they run; in a new one all begin together.
        "stage": f"<section>{clips_html(results)}</section>",
        "table": table_html(results),
        "plots": plots_html(results) if len(results.prompts) > 1 else "",  # one prompt has no means
    }


def _has_clips(results: Results) -> bool:
    return any(engine.clips for engine in results.engines)
