"""What a command line asks for: options made from the settings class of a mode, a file of settings, a video's own, and
files. Later ones win: a video's settings, then the file's, then the options.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from director.options import add_language_model, language_model
from director.storyboard import ChatModel, frames_of
from errors import InvalidSettings, InvalidVideo
from media.video_io import SUFFIXES, read_metadata
from model_manager.catalogue import Extras
from model_manager.offered_names import NAMING_SETTINGS, sources_to_offer
from model_manager.options import EXTRAS, add_extras, as_extras
from settings import MODES, DirectorSettings, Settings, TextToVideoSettings, field_facts
from settings.parsing import parse, read_mapping

OUTPUT_FOLDER = Path("outputs")
NOTHING = ("", "none", "null")
STORYBOARD_SUFFIXES = (".yaml", ".yml", ".txt")
OTHER_NAMES = {"num_frames": ("--frames",)}


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
    chat_model: ChatModel | None = None


def read_job(arguments: Sequence[str]) -> Job:
    """Everything that was asked for, checked; raises UserError."""
    arguments = _with_mode(_with_dashes(arguments))
    first = Parser(add_help=False, allow_abbrev=False)
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
    offered = {key: take_sources(by_operator, getattr(options, key), key) for key in ("models", *EXTRAS)}
    output = Path(options.output) if options.output is not None else _new_path(files["output"])
    source, first_frame = (_existing(name, getattr(options, name) or files[name]) for name in ("source", "first_frame"))
    settings = parse({**from_video, **by_operator})
    for setting in NAMING_SETTINGS:
        offered[f"{setting}s"] += sources_to_offer(setting, by_operator.get(setting))
    chat_model = language_model(options, from_environment=False)
    if chat_model is not None and not isinstance(settings, DirectorSettings):
        raise InvalidSettings(f"--llm: a language model directs in mode {DirectorSettings.mode} alone")
    models, extras = tuple(offered["models"]), as_extras(offered)
    return Job(settings, models, extras, options.device, output, source, first_frame, chat_model)


def take_sources(values: dict[str, Any], given: Sequence[str], key: str) -> list[str]:
    """Return the sources that options give, and those that a file of settings has under ``key`` as a text or a list of
    texts, which is removed from ``values``; raises InvalidSettings."""
    sources = values.pop(key, None) or []
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise InvalidSettings(f"{key}: must be a text or a list of texts")
    return [*given, *sources]


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
    values = read_file(path, "--config ")
    randomize = values.pop("randomize_seed", False)
    if not isinstance(randomize, bool):
        raise InvalidSettings("randomize_seed: must be true or false")
    return {**values, "seed": -1} if randomize else values


def read_file(path: Path, option: str = "") -> dict[str, Any]:
    """The mapping in a file that an option names; raises InvalidSettings."""
    try:
        return read_mapping(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        told = "is not a text in UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", error)
        raise InvalidSettings(f"{option}{path}: {told}") from None


class Parser(argparse.ArgumentParser):
    """Reports a mistake in the options like every other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise InvalidSettings(message)


def _parser(kind: type[Settings]) -> argparse.ArgumentParser:
    parser = Parser(description="Make a video of what one sentence says.", allow_abbrev=False, add_help=False)
    parser.epilog = f'A mode may stand before the prompt: {DirectorSettings.mode} "a dog runs". '
    parser.epilog += "Several models on the same prompts: compare --help."
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
    target += f"[default {OUTPUT_FOLDER}/<time>-<seed>.mp4; of a model trained on videos {OUTPUT_FOLDER}/<prompt>.gif]"
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
