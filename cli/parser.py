"""Parsers of the command line, with an option for every setting of a mode, made from its settings class."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from director.options import add_language_model
from errors import InvalidSettings
from media.video_io import SUFFIXES
from model_manager.options import add_extras
from settings import SETTINGS_BY_MODE, DirectorSettings, Settings, TextToVideoSettings, field_facts
from settings.user_files import user_path

OUTPUT_FOLDER = Path("outputs")
NOTHING = ("", "none", "null")
OTHER_NAMES = {"num_frames": ("--frames",)}


class Parser(argparse.ArgumentParser):
    """Parser that raises InvalidSettings for a mistake in the options, like any other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        """Raise InvalidSettings in place of an exit."""
        raise InvalidSettings(message)


def settings_parser(kind: type[Settings]) -> Parser:
    """Build the parser of all options for one mode."""
    return _parser_of(kind)


def parser_of_all_modes() -> Parser:
    """Build the parser of the options of every mode, for what must be known before the mode is."""
    return _parser_of(*SETTINGS_BY_MODE.values())


def _parser_of(*kinds: type[Settings]) -> Parser:
    parser = Parser(description="Make a video of what one sentence says.", allow_abbrev=False, add_help=False)
    parser.epilog = f'A mode may stand before the prompt: {DirectorSettings.mode} "a dog runs". '
    parser.epilog += "Several models on the same prompts: compare --help."
    parser.add_argument(
        "prompt", nargs="?", default=argparse.SUPPRESS, metavar="PROMPT", help=_help(kinds[0], "prompt")
    )
    _add_files_and_machine(parser)
    group = parser.add_argument_group("settings")
    for name, declaring in {name: kind for kind in kinds for name in kind.model_fields}.items():
        _add_setting(group, declaring, name)
    return parser


def mode_parser() -> Parser:
    """Build the parser of the options that must be known before the mode is: the mode itself, and files that set it."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for name in ("mode", "config", "from"):
        parser.add_argument(f"--{name}")
    return parser


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add the option for the device to compute on."""
    parser.add_argument("--device", help="cuda, mps or cpu. [default: the best there is]")


def _add_setting(group: argparse._ActionsContainer, kind: type[Settings], name: str) -> None:
    """Add one setting's option, whose value is of the setting's type."""
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(kind, name)}
    if kind.model_fields[name].annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        facts = field_facts(kind)[name]
        value_type = facts["type"]
        options["metavar"] = {"string": "TEXT", "array": "N,N"}.get(value_type, "N")
        kinds = {"string": _optional_name if facts["optional"] else str, "array": _plain_value}
        options["type"] = kinds.get(value_type, _plain_number)
    group.add_argument(f"--{name.replace('_', '-')}", *OTHER_NAMES.get(name, ()), dest=name, **options)


def _add_files_and_machine(parser: Parser) -> None:
    """Add what is no setting: files, and the operator's choices for this machine."""
    group = parser.add_argument_group("files and machine")
    modes = f"What to do: {', '.join(SETTINGS_BY_MODE)}; it decides the settings below. "
    modes += f"[default {TextToVideoSettings.mode}]"
    group.add_argument("--mode", default=argparse.SUPPRESS, metavar="MODE", help=modes)
    source = "The video that steers (control) or is edited (pix2pix)."
    group.add_argument("--source", metavar="FILE", help=source)
    group.add_argument("--first-frame", metavar="FILE", help="A picture that the video begins with.")
    target = f"The video, {' or '.join(SUFFIXES)}; one that is there is replaced. "
    target += f"[default {OUTPUT_FOLDER}/<time>-<seed>.mp4; of a model trained on videos {OUTPUT_FOLDER}/<prompt>.gif]"
    group.add_argument("-o", "--output", metavar="FILE", help=target)
    config = "Settings in YAML under the names of the options; the config.yaml that ships has them all. "
    config += "[default config.yaml in the current folder, where there is neither a prompt nor --from]"
    group.add_argument("--config", type=user_path, metavar="FILE", help=config)
    video = "A video of this program, which is made again from the settings inside it."
    group.add_argument("--from", dest="video", type=user_path, metavar="FILE", help=video)
    models = "A Hub id, folder or .safetensors file that the video of --from may ask for; may be repeated."
    group.add_argument("--models", action="append", default=[], metavar="MODEL", help=models)
    add_extras(group, command_line=True)
    add_language_model(group)
    add_device(group)
    group.add_argument("-h", "--help", action="help", help="Show this and exit.")


def _help(kind: type[Settings], name: str) -> str:
    """Return description, unit, choices or bounds, and default of a field."""
    facts = field_facts(kind)[name]
    parts = [facts["unit"], ", ".join(f'"{choice}"' for choice in facts.get("enum", ()))]
    bounds = [facts.get("minimum"), facts.get("maximum")]
    if None not in bounds:
        parts.append(f"{bounds[0]} to {bounds[1]}")
    if facts.get("default", "") != "":
        parts.append(f"default {_shown(facts['default'])}")
    details = "; ".join(part for part in parts if part)
    return (facts["description"] + (f" [{details}]" if details else "")).replace("%", "%%")


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "automatic" if default is None else str(default)


def _plain_value(text: str) -> Any:
    """Return a number, a list of numbers, or None; any other text stays text, which the settings class refuses."""
    if text.strip().lower() in NOTHING:
        return None
    numbers = [_number(part) for part in text.split(",")]
    return numbers if len(numbers) > 1 else numbers[0]


def _plain_number(text: str) -> int | float | str | None:
    """Return a number or None; any other text stays text, of which the settings class reads a decimal comma."""
    return None if text.strip().lower() in NOTHING else _number(text)


def _optional_name(text: str) -> str | None:
    """Return the name, or None for a word that means nothing."""
    return None if text.strip().lower() in NOTHING else text


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def with_dashes(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with --num_frames written --num-frames, up to a lone --."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = []
    for argument in arguments[:end]:
        name, equals, value = argument.partition("=")
        options.append(name.replace("_", "-") + equals + value if argument.startswith("--") else argument)
    return [*options, *arguments[end:]]


def with_mode_option(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with a mode before a prompt (``direct "a dog"``) written as ``--mode direct``."""
    if len(arguments) > 1 and arguments[0] in SETTINGS_BY_MODE:
        return ["--mode", *arguments]
    return list(arguments)
