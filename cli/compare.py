"""``inference.py compare config.yaml``: several engines on the same prompts, and a folder with the report.

A file of settings, options that win over it, one line for a mistake. What was finished before Ctrl-C, or before an
engine failed, is in the report, which is there after the first engine: a program that is killed says nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from cli.options import Offer, read_file, take_sources
from cli.parser import OUTPUT_FOLDER, Parser, add_device
from cli.terminal import cancel_on_interrupt, redraw_line, write_remark, write_result
from comparison.settings import ComparisonSettings
from director.director import ChatModel
from director.options import add_language_model, language_model
from errors import Cancelled, InvalidSettings, UserError
from model_manager.options import add_extras
from settings.parsing import validate
from settings.user_files import user_path
from utils import make_writable

if TYPE_CHECKING:
    from comparison.results import Results
    from comparison.runner import Stage

DEFAULT_ENGINES = ("text2video-zero", "direct", "toyworld-video")  # what ships with this program


@dataclass(frozen=True)
class CompareRequest:
    """Settings of a comparison, the folder of its report, and the operator's offer of models, device and chat model."""

    settings: ComparisonSettings
    folder: Path
    offer: Offer
    device: str | None = None
    chat_model: ChatModel | None = None


def read_compare_request(arguments: Sequence[str]) -> CompareRequest:
    """Read and check all that the arguments after "compare" ask for; raises UserError."""
    options = _parser().parse_args(arguments)
    values = {} if options.config is None else read_file(options.config)
    in_file = values.pop("output", None)
    output = options.output or in_file
    if output is not None and not isinstance(output, str | Path):
        raise InvalidSettings("output: must be text")
    sources = take_sources(values, options)
    given = {"prompts": options.prompt, "engines": options.engine, "seeds": options.seed, "clip": options.clip}
    given |= {"num_frames": options.frames, "fps": options.fps}
    values |= {name: value for name, value in given.items() if value not in (None, [])}
    values["prompts"] = _with_lists(values.get("prompts", ()))
    settings = validate(ComparisonSettings, {"engines": list(DEFAULT_ENGINES), **values})
    return CompareRequest(
        settings=settings,
        folder=user_path(output) if output else OUTPUT_FOLDER / f"compare-{datetime.now():%Y%m%d-%H%M%S}",
        offer=Offer.of(sources, [choice.settings for choice in settings.engines]),
        device=options.device,
        chat_model=language_model(options, from_environment=False),
    )


def _parser() -> Parser:
    about = "Draw the same prompts with several engines, and write a report: table, clips side by side, charts."
    parser = Parser(prog="inference.py compare", description=about, allow_abbrev=False)
    parser.add_argument("config", nargs="?", type=user_path, help="YAML as in examples/compare.example.yaml")
    parser.add_argument("--prompt", action="append", help="what the videos show; may be repeated")
    parser.add_argument("--engine", action="append", help="what draws them; may be repeated")
    parser.add_argument("--seed", action="append", type=int, help="may be repeated")
    parser.add_argument("--frames", type=int, help="length of every video")
    parser.add_argument("--fps", type=int, help="playback speed of every video")
    parser.add_argument("--clip", help="a CLIP network by Hub id or folder, for scores")
    parser.add_argument("-o", "--output", help=f"folder of the report [default {OUTPUT_FOLDER}/compare-<time>]")
    parser.add_argument("--models", action="append", default=[], help="a model that engines may use; may be repeated")
    add_device(parser)
    add_extras(parser, command_line=True)
    add_language_model(parser)
    return parser


def _with_lists(prompts: object) -> list[object]:
    """Return the prompts with the prompts of a list in place of its name; other values as they are, to be refused."""
    from evaluation.prompt_lists import LISTS

    several = prompts if isinstance(prompts, list | tuple) else [prompts]
    lists = [LISTS[each]() if isinstance(each, str) and each in LISTS else [each] for each in several]
    return [prompt for each in lists for prompt in each]


def compare(request: CompareRequest) -> None:
    """Compare engines, and write the table and the report's path to the standard output; raises UserError, and
    Cancelled on Ctrl-C."""
    with cancel_on_interrupt() as cancel:
        text = run_comparison(request, redraw_line, cancel, lambda note: write_remark(f"note: {note}"))
    write_result(text)


def run_comparison(
    request: CompareRequest, draw_line: Callable[[str], object], cancel: Event, say: Callable[[str], object]
) -> str:
    """Compare engines, write the report, and return the table and the report's path.

    ``say`` gets remarks; ``draw_line`` a line about the progress, in place of the one before. Raises UserError, and
    Cancelled, which names the report of what was finished, if anything was.
    """
    from comparison.report.tables import markdown_table
    from comparison.runner import prepare
    from model import Model

    model = Model(models=request.offer.models, device=request.device, extras=request.offer.extras)
    comparison = prepare(request.settings, model, request.chat_model)
    results = comparison.results
    _check_folder(request.folder)
    try:
        report_so_far = partial(_write_report, results, request.folder)
        comparison.run(request.folder, lambda stage: draw_line(stage_line(stage)), cancel, report_so_far)
    except Cancelled:
        path = _last_report(results, request.folder)
        if path is None:
            raise
        raise Cancelled(f"stopped; what was finished is in {path}") from None
    finally:
        draw_line("")
    for note in [*(f"{engine.label}: {engine.error}" for engine in results.engines if engine.error), *results.notes]:
        say(note)
    path = _last_report(results, request.folder)
    if path is None:
        raise InvalidSettings("no engine could draw: see the lines above")
    return f"{markdown_table(results)}\n{path}"


def _write_report(results: Results, folder: Path) -> Path | None:
    """Write the report and return its path, or None without clips; raises UserError if the disk does not take it."""
    from comparison.report.page import write_report

    if not any(engine.clips for engine in results.engines):
        return None
    try:
        return write_report(results, folder)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from None


def _last_report(results: Results, folder: Path) -> Path | None:
    """Write the report as above; without clips remove the folder, which is empty then."""
    path = _write_report(results, folder)
    if path is None:
        for empty in (folder / "clips", folder):
            with suppress(OSError):
                empty.rmdir()
    return path


def stage_line(stage: Stage) -> str:
    """Return the progress of a comparison in words."""
    if stage.done == stage.total:
        return "Writing the report"
    number = stage.done + 1
    where = f"{stage.label}: clip {number} of {stage.total}"
    if stage.progress is None:
        return where
    return f"{where}, step {stage.progress.step} of {stage.progress.total}"


def _check_folder(folder: Path) -> None:
    """Make the folder, and check that no other clips are in it; raises InvalidSettings."""
    refusal = f"output: cannot write {folder}"
    make_writable(folder, refusal)
    try:
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InvalidSettings(f"{refusal}: {error.strerror}") from None
    if not is_empty:
        raise InvalidSettings(f"output: {folder} is not empty: choose another folder")
