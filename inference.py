"""The command line: one sentence in, and for some modes a video, one video file out.

Every setting of the mode is an option made from the settings class, a key of the YAML file given with --config, and
inside the videos read with --from; options win over the file, and the file over the video. A user's mistake is one
line on the error output and exit code 2; Ctrl-C ends the job within a step, with exit code 130 and no file.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from catalogue import Extras
from director import Complete, direct, frames_of, load_storyboard, save_storyboard
from errors import Cancelled, InvalidSettings, InvalidVideo, UserError
from operator_options import (
    CHOSEN,
    EXTRAS,
    add_extras,
    add_language_model,
    as_extras,
    by_name,
    language_model,
    listed,
    named,
)
from parsing import parse, read_mapping
from settings import MODES, DirectorSettings, Settings, TextToVideoSettings, field_facts
from video_io import SUFFIXES, read_metadata

OUTPUT_FOLDER = Path("outputs")
NOTHING = ("", "none", "null")
STORYBOARD_SUFFIXES = (".yaml", ".yml", ".txt")
OTHER_NAMES = {"num_frames": ("--frames",)}
BAR_CHARS, TERMINAL_CHARS, MESSAGE_CHARS = 24, 79, 500


@dataclass(frozen=True)
class Job:
    """What the options, the file and the video ask for together; the operator named ``models``, ``extras`` and a
    language model."""

    settings: Settings
    models: tuple[str, ...]
    extras: Extras
    device: str | None
    output: Path | None
    source: Path | None = None
    first_frame: Path | None = None
    complete: Complete | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one video and return the exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _run(read_job(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        sys.stderr.write(f"error: {_one_line(str(error))}\n")
        return 2
    except (Cancelled, KeyboardInterrupt):
        sys.stderr.write("cancelled, nothing was written\n")
        return 130
    return 0


def read_job(arguments: Sequence[str]) -> Job:
    """Everything that was asked for, checked; raises UserError."""
    arguments = _with_mode(_with_dashes(arguments))
    first = _Parser(add_help=False, allow_abbrev=False)
    for name in ("mode", "config", "from"):
        first.add_argument(f"--{name}")
    asked, _ = first.parse_known_args([argument for argument in arguments if argument != "--help"])
    from_video = _read_video(Path(getattr(asked, "from"))) if getattr(asked, "from") else {}
    from_file = read_config(Path(asked.config)) if asked.config else {}
    kind = _kind(asked.mode or from_file.get("mode") or from_video.get("mode") or TextToVideoSettings.mode)

    options = _parser(kind).parse_args(arguments)
    given = {name: value for name, value in vars(options).items() if name in kind.model_fields}
    given |= _storyboard(given)
    by_operator = {**from_file, **given, "mode": kind.mode}
    files = {name: by_operator.pop(name, None) for name in ("output", "source", "first_frame")}
    offered = {key: listed(by_operator, getattr(options, key), key) for key in ("models", *EXTRAS)}
    output = Path(options.output) if options.output is not None else _new_path(files["output"])
    source, first_frame = (_existing(name, getattr(options, name) or files[name]) for name in ("source", "first_frame"))
    settings = parse({**from_video, **by_operator})
    for setting in CHOSEN:
        offered[f"{setting}s"] += named(setting, by_operator.get(setting))
    files = {"output": output, "source": source, "first_frame": first_frame}
    complete = language_model(options, from_environment=False)
    if complete is not None and not isinstance(settings, DirectorSettings):
        raise InvalidSettings(f"--llm: a language model directs in mode {DirectorSettings.mode} alone")
    return Job(settings, tuple(offered["models"]), as_extras(offered), options.device, **files, complete=complete)


def _storyboard(given: Mapping[str, Any]) -> dict[str, Any]:
    """The storyboard that ``--storyboard`` names as a file, and its number of frames where none is given; of a text,
    nothing. Raises UserError."""
    path = Path(given.get("storyboard", ""))
    if path.suffix.lower() not in STORYBOARD_SUFFIXES or "\n" in path.name:
        return {}
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"--storyboard {path}: {getattr(error, 'strerror', 'is not a text in UTF-8')}") from None
    frames = given.get("num_frames")
    if frames is None and (own := frames_of(text)) is not None:
        return {"storyboard": text, "num_frames": own}
    return {"storyboard": text}


def directed(settings: DirectorSettings, complete: Complete) -> Settings:
    """The settings with the storyboard that a language model writes; what is written there already is kept."""
    kept = {}
    if settings.storyboard.strip():
        prompts = load_storyboard(settings.storyboard, settings.num_frames)
        kept = {frame: prompt for frame, prompt in enumerate(prompts) if prompt}
    prompts = direct(settings.prompt, settings.num_frames, complete, kept)
    for frame, prompt in enumerate(prompts):
        sys.stderr.write(f"frame {frame}: {_one_line(prompt)}\n")
    return settings.model_copy(update={"storyboard": save_storyboard(prompts)})


def _kind(mode: Any) -> type[Settings]:
    if not isinstance(mode, str) or mode not in MODES:
        raise InvalidSettings(f"mode: must be one of {', '.join(MODES)}")
    return MODES[mode]


def _existing(name: str, path: Any) -> Path | None:
    """A file that is there; raises InvalidSettings."""
    if path is not None and not (isinstance(path, str) and Path(path).is_file()):
        raise InvalidSettings(f"{name}: there is no file {path}")
    return None if path is None else Path(path)


def read_config(path: Path) -> dict[str, Any]:
    """What a YAML file sets, with ``randomize_seed: true`` written as seed -1; raises UserError."""
    try:
        values = read_mapping(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidSettings(f"--config {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"--config {path}: is not a text in UTF-8") from None
    randomize = values.pop("randomize_seed", False)
    if not isinstance(randomize, bool):
        raise InvalidSettings("randomize_seed: must be true or false")
    return {**values, "seed": -1} if randomize else values


def _run(job: Job) -> None:
    """Generate, save, and say where; an output that cannot be written is refused before anything is loaded."""
    _check_output(job.output or OUTPUT_FOLDER / "any.mp4")
    from model import Model

    with _cancel_on_interrupt() as cancel:
        model = Model(models=job.models, device=job.device, extras=job.extras)
        settings = by_name(job.settings, model.catalogue)
        if job.complete is not None:
            settings = directed(settings, job.complete)
        try:
            given = {name: path for name in ("source", "first_frame") if (path := getattr(job, name)) is not None}
            clip = model.generate(settings, on_step=_draw_progress, cancel=cancel, **given)
        finally:
            _draw("")
        if cancel.is_set():
            raise Cancelled
    seed = clip.settings.to_dict()["seed"]
    path = job.output or _unused_path(seed)
    try:
        clip.save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    for note in clip.notes:
        sys.stderr.write(f"note: {_one_line(note)}\n")
    sys.stdout.write(f"{_one_line(str(path))}  seed {seed}  {clip.seconds:.1f} s\n")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in the options like every other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise InvalidSettings(message)


def _parser(kind: type[Settings]) -> argparse.ArgumentParser:
    parser = _Parser(description="Make a video of what one sentence says.", allow_abbrev=False, add_help=False)
    parser.add_argument("prompt", nargs="?", default=argparse.SUPPRESS, metavar="PROMPT", help=_help(kind, "prompt"))
    _add_job_options(parser)
    group = parser.add_argument_group("settings")
    for name, field in kind.model_fields.items():
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(kind, name)}
        if field.annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            facts = field_facts(kind)[name]
            value_type = facts["type"]
            options["metavar"] = {"string": "TEXT", "array": "N,N"}.get(value_type, "N")
            options["type"] = _plain_value if value_type != "string" else _name if facts["optional"] else str
        group.add_argument(f"--{name.replace('_', '-')}", *OTHER_NAMES.get(name, ()), dest=name, **options)
    return parser


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    """What is no setting: files, and what the operator of this machine decides."""
    group = parser.add_argument_group("files and machine")
    modes = f"What to do: {', '.join(MODES)}; it decides the settings below. [default {TextToVideoSettings.mode}]"
    group.add_argument("--mode", default=argparse.SUPPRESS, metavar="MODE", help=modes)
    source = "The video that steers (control) or is edited (pix2pix)."
    group.add_argument("--source", metavar="FILE", help=source)
    group.add_argument("--first-frame", metavar="FILE", help="A picture that the video begins with.")
    target = f"The video, {' or '.join(SUFFIXES)}; one that is there is replaced. "
    target += f"[default {OUTPUT_FOLDER}/<time>-<seed>.mp4]"
    group.add_argument("-o", "--output", metavar="FILE", help=target)
    config = "Settings in YAML under the names of the options; config.example.yaml has them all."
    group.add_argument("--config", type=Path, metavar="FILE", help=config)
    video = "A video of this program, which is made again from the settings inside it."
    group.add_argument("--from", dest="video", type=Path, metavar="FILE", help=video)
    models = "A Hub id, folder or .safetensors file that the video of --from may ask for; may be repeated."
    group.add_argument("--models", action="append", default=[], metavar="MODEL", help=models)
    add_extras(group, command_line=True)
    add_language_model(group)
    group.add_argument("--device", help="cuda, mps or cpu. [default: the best there is]")
    group.add_argument("-h", "--help", action="help", help="Show this and exit.")


def _help(kind: type[Settings], name: str) -> str:
    """Description, unit, choices or bounds, and default of a field."""
    facts = field_facts(kind)[name]
    parts = [facts["unit"], ", ".join(f'"{choice}"' for choice in facts.get("enum", ()))]
    bounds = [facts.get("minimum"), facts.get("maximum")]
    if None not in bounds:
        parts.append(f"{bounds[0]} to {bounds[1]}")
    if facts.get("default", "") != "":
        parts.append(f"default {_shown(facts['default'])}")
    details = "; ".join(part for part in parts if part)
    return (facts["description"] + (f" [{details}]" if details else "")).replace("%", "%%")


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "automatic" if default is None else str(default)


def _plain_value(text: str) -> Any:
    """A number, a list of numbers, or None; what is none of them stays text, which ``parse`` refuses."""
    if text.strip().lower() in NOTHING:
        return None
    numbers = [_number(part) for part in text.split(",")]
    return numbers if len(numbers) > 1 else numbers[0]


def _name(text: str) -> str | None:
    """A name, or nothing."""
    return None if text.strip().lower() in NOTHING else text


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """The same arguments with --num_frames written --num-frames, up to a lone --."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = []
    for argument in arguments[:end]:
        name, equals, value = argument.partition("=")
        options.append(name.replace("_", "-") + equals + value if argument.startswith("--") else argument)
    return [*options, *arguments[end:]]


def _with_mode(arguments: Sequence[str]) -> list[str]:
    """The same arguments with a mode before a prompt (``direct "a dog"``) written as ``--mode direct``."""
    if len(arguments) > 1 and arguments[0] in MODES:
        return ["--mode", *arguments]
    return list(arguments)


def _read_video(path: Path) -> dict[str, Any]:
    """The settings inside a video; raises InvalidVideo."""
    try:
        return read_mapping(read_metadata(path)["settings"], only_json=True)
    except (InvalidVideo, InvalidSettings, KeyError) as error:
        reason = error if isinstance(error, InvalidVideo) else "this video carries no settings of this program"
        raise InvalidVideo(f"--from {path}: {reason}") from None


def _new_path(output: Any) -> Path | None:
    """The output that a file asks for, which must not be there yet: only -o replaces."""
    if output is not None and not isinstance(output, str):
        raise InvalidSettings("output: must be text")
    path = None if output is None else Path(output)
    with suppress(OSError, ValueError):  # a name that cannot be one is refused with every other
        if path and path.exists():
            raise InvalidSettings(f"output: {path} is already there; choose another name, or give -o to replace it")
    return path


def _check_output(path: Path) -> None:
    """Make the folder and see that it can be written, before minutes of work; raises InvalidSettings."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidSettings(f"output: {path} must end in {' or '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
        with suppress(FileNotFoundError):
            path.lstat()
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"output: cannot write {path}: {getattr(error, 'strerror', error)}") from None
    if path.is_dir():
        raise InvalidSettings(f"output: {path} is a folder")


def _unused_path(seed: int) -> Path:
    """A name of its own for every video, by the time it was finished."""
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{seed}"
    path, number = OUTPUT_FOLDER / f"{stem}.mp4", 2
    while path.exists():
        path, number = OUTPUT_FOLDER / f"{stem}-{number}.mp4", number + 1
    return path


@contextmanager
def _cancel_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the job ends by itself; the second one ends the program."""
    cancel = threading.Event()

    def stop(*_: Any) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


def _draw_progress(progress: Any) -> None:
    """A bar by work done, the step, and the time left."""
    bar = "#" * round(progress.fraction * BAR_CHARS)
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    _draw(f"[{bar:.<{BAR_CHARS}}] step {progress.step} of {progress.total}{left}")


def _draw(text: str) -> None:
    """Put a text in place of the line before it; logs and pipes get none of this."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<{TERMINAL_CHARS}}" if text else f"\r{'':{TERMINAL_CHARS}}\r")
        sys.stderr.flush()


def _one_line(text: str) -> str:
    """The text as one printable line, whatever was in it."""
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return shown if len(shown) <= MESSAGE_CHARS else f"{shown[:MESSAGE_CHARS]}..."


if __name__ == "__main__":
    # The libraries' own remarks are for programmers, and would stand around the one line for the user.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.simplefilter("ignore")
    sys.exit(main())
