"""``inference.py compare config.yaml``: several engines on the same prompts, and a folder with the report.

A file of settings, options that win over it, one line for a mistake. What was finished before Ctrl-C, or before an
engine failed, is in the report, which is there after the first engine: a program that is killed says nothing more.
"""

import argparse
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from cli.options import OUTPUT_FOLDER, Parser, read_file, take_sources
from comparison.settings import ComparisonSettings
from director.options import add_language_model, language_model
from director.storyboard import ChatModel
from errors import Cancelled, InvalidSettings, UserError
from model_manager.catalogue import Extras
from model_manager.offered_names import NAMING_SETTINGS, sources_to_offer
from model_manager.options import EXTRAS, add_extras, as_extras
from settings.parsing import validate

DEFAULT_ENGINES = ("text2video-zero", "direct", "toyworld-video")  # what ships with this program


@dataclass(frozen=True)
class CompareJob:
    """What a command line and its file ask for together; the operator named ``models``, ``extras`` and a language
    model."""

    settings: ComparisonSettings
    models: tuple[str, ...]
    extras: Extras
    device: str | None
    folder: Path
    chat_model: ChatModel | None


def read_compare_job(arguments: Sequence[str]) -> CompareJob:
    """Everything that was asked for, checked; raises UserError."""
    options = _parser().parse_args(arguments)
    values = {} if options.config is None else read_file(options.config)
    in_file = values.pop("output", None)
    output = options.output or in_file
    if output is not None and not isinstance(output, str | Path):
        raise InvalidSettings("output: must be text")
    offered = {key: take_sources(values, getattr(options, key), key) for key in ("models", *EXTRAS)}
    given = {"prompts": options.prompt, "engines": options.engine, "seeds": options.seed, "clip": options.clip}
    given |= {"num_frames": options.frames, "fps": options.fps}
    values |= {name: value for name, value in given.items() if value not in (None, [])}
    values["prompts"] = _prompts(values.get("prompts", ()))
    settings = validate(ComparisonSettings, {"engines": list(DEFAULT_ENGINES), **values})
    for choice in settings.engines:
        for setting in NAMING_SETTINGS:
            offered[f"{setting}s"] += sources_to_offer(setting, choice.settings.get(setting))
    models, extras = tuple(offered["models"]), as_extras(offered)
    folder = Path(output) if output else OUTPUT_FOLDER / f"compare-{datetime.now():%Y%m%d-%H%M%S}"
    chat_model = language_model(options, from_environment=False)
    return CompareJob(settings, models, extras, options.device, folder, chat_model)


def _parser() -> argparse.ArgumentParser:
    what = "Draw the same prompts with several engines, and write a report: table, clips side by side, charts."
    parser = Parser(prog="inference.py compare", description=what, allow_abbrev=False)
    parser.add_argument("config", nargs="?", type=Path, help="YAML as in compare.example.yaml")
    parser.add_argument("--prompt", action="append", help="what the videos show; may be repeated")
    parser.add_argument("--engine", action="append", help="what draws them; may be repeated")
    parser.add_argument("--seed", action="append", type=int, help="may be repeated")
    parser.add_argument("--frames", type=int, help="length of every video")
    parser.add_argument("--fps", type=int, help="playback speed of every video")
    parser.add_argument("--clip", help="a CLIP network by Hub id or folder, for scores")
    parser.add_argument("-o", "--output", help=f"folder of the report [default {OUTPUT_FOLDER}/compare-<time>]")
    parser.add_argument("--models", action="append", default=[], help="a model that engines may use; may be repeated")
    parser.add_argument("--device", help="cuda, mps or cpu. [default: the best there is]")
    add_extras(parser, command_line=True)
    add_language_model(parser)
    return parser


def _prompts(value: Any) -> Any:
    """The prompts, with a list's own in place of its name."""
    from evaluation.prompt_lists import LISTS

    several = value if isinstance(value, list | tuple) else [value]
    lists = [LISTS[each]() if isinstance(each, str) and each in LISTS else [each] for each in several]
    return [prompt for each in lists for prompt in each]


def run_comparison(
    job: CompareJob, draw_line: Callable[[str], None], cancel: threading.Event, say: Callable[[str], Any]
) -> str:
    """Compare, write the report, and return the table and where the report is; raises UserError, and Cancelled, which
    says where the report of what was finished is, if anything was.

    ``say`` gets remarks; ``draw_line`` a line about the progress, in place of the one before.
    """
    from comparison.report.page import markdown_table
    from comparison.runner import prepare
    from model import Model

    comparison = prepare(job.settings, Model(models=job.models, device=job.device, extras=job.extras), job.chat_model)
    results = comparison.results
    _check_folder(job.folder)
    try:
        report_so_far = partial(_written, results, job.folder)
        comparison.run(job.folder, lambda stage: draw_line(stage_line(stage)), cancel, report_so_far)
    except Cancelled:
        path = _written(results, job.folder)
        if path is None:
            _remove_if_empty(job.folder)
            raise
        raise Cancelled(f"stopped; what was finished is in {path}") from None
    finally:
        draw_line("")
    for note in [*(f"{engine.label}: {engine.error}" for engine in results.engines if engine.error), *results.notes]:
        say(note)
    path = _written(results, job.folder)
    if path is None:
        _remove_if_empty(job.folder)
        raise InvalidSettings("no engine could draw: see the lines above")
    return f"{markdown_table(results)}\n{path}"


def _written(results: Any, folder: Path) -> Path | None:
    """The report's path, or None where nothing was drawn; raises UserError where the disk does not take it."""
    from comparison.report.page import write_report

    if not any(engine.clips for engine in results.engines):
        return None
    try:
        return write_report(results, folder)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from None


def stage_line(stage: Any) -> str:
    """How far a comparison is, in words."""
    if stage.done == stage.total:
        return "Writing the report"
    number = stage.done + 1
    where = f"{stage.label}: clip {number} of {stage.total}"
    if stage.progress is None:
        return where
    return f"{where}, step {stage.progress.step} of {stage.progress.total}"


def _check_folder(folder: Path) -> None:
    """Make the folder, and see that nothing in it would be mixed with other clips; raises InvalidSettings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidSettings(f"output: {folder} is not empty: choose another folder")
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"output: cannot write {folder}: {getattr(error, 'strerror', error)}") from None


def _remove_if_empty(folder: Path) -> None:
    """Leave no empty folders behind."""
    with suppress(OSError):
        (folder / "clips").rmdir()
    with suppress(OSError):
        folder.rmdir()
