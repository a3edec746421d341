"""Request of a command line: settings from a video, a YAML file and options, of which the later ones win, and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.parser import mode_parser, parser_of_all_modes, settings_parser, with_dashes, with_mode_option
from director.director import ChatModel
from director.options import language_model
from director.storyboard import frames_of
from errors import InvalidSettings, InvalidVideo
from media.metadata import read_metadata
from model_manager.catalogue import Extras
from model_manager.offered_names import FILE_SETTINGS, sources_to_offer
from model_manager.options import EXTRAS, as_extras
from settings import SETTINGS_BY_MODE, DirectorSettings, GenerationSettings, Settings, TextToVideoSettings
from settings.parsing import parse, read_mapping, restorable
from settings.user_files import read_text, user_path

STORYBOARD_SUFFIXES = (".yaml", ".yml", ".txt")
FILES = ("source", "first_frame")  # as in Model.generate
DEFAULT_CONFIG = Path("config.yaml")  # in the current folder
NO_PROMPT = (
    "prompt: is missing: give a sentence, such as 'a red circle on green grass', or a file of settings with --config, "
    f"or work in a folder with a {DEFAULT_CONFIG}"
)


@dataclass(frozen=True)
class Offer:
    """Models and extras that the operator names: in options, in a file of settings, or by choosing them."""

    models: tuple[str, ...]
    extras: Extras

    @classmethod
    def of(cls, sources: Mapping[str, list[str]], choices: Iterable[Mapping[str, Any]]) -> Offer:
        """Return the offer of sources by key, as from ``take_sources``, and of what settings choose."""
        more = {key: list(named) for key, named in sources.items()}
        for choice in choices:
            for setting in FILE_SETTINGS:
                more[f"{setting}s"] += sources_to_offer(setting, choice.get(setting))
        return cls(tuple(more["models"]), as_extras(more))


@dataclass(frozen=True)
class CommandLineRequest:
    """Settings of a video, its ``files`` by argument of ``Model.generate``, the operator's offer of models, device and
    chat model, and ``notes`` for the user. A video without an ``output`` gets a name of its own."""

    settings: GenerationSettings
    files: Mapping[str, Path]
    output: Path | None
    offer: Offer
    device: str | None = None
    chat_model: ChatModel | None = None
    notes: tuple[str, ...] = ()


def read_request(arguments: Sequence[str]) -> CommandLineRequest:
    """Read and check all that the arguments ask for; raises UserError."""
    arguments = with_mode_option(with_dashes(arguments))
    first, _ = mode_parser().parse_known_args([argument for argument in arguments if argument != "--help"])
    path = getattr(first, "from")
    config = first.config or (None if path else _default_config(arguments))
    from_video, lost = restorable(read_video_settings(user_path(path))) if path else ({}, [])
    from_file = read_config(user_path(config)) if config else {}
    kind = _settings_class(first.mode or from_file.get("mode") or from_video.get("mode") or TextToVideoSettings.mode)

    options = settings_parser(kind).parse_args(arguments)
    given = {name: value for name, value in vars(options).items() if name in kind.model_fields}
    given |= _storyboard_of_file(given)
    values = {**from_file, **given, "mode": kind.mode}
    if not config and "prompt" not in {**from_video, **values}:
        raise InvalidSettings(NO_PROMPT)
    in_file = {name: values.pop(name, None) for name in ("output", *FILES)}
    output = user_path(options.output) if options.output is not None else _new_path(in_file["output"])
    files = {name: _existing(name, getattr(options, name) or in_file[name]) for name in FILES}
    sources = take_sources(values, options)
    return CommandLineRequest(
        settings=parse({**from_video, **values}),
        files={name: file for name, file in files.items() if file is not None},
        output=output,
        offer=Offer.of(sources, [values]),
        device=options.device,
        chat_model=_chat_model(options, kind),
        notes=tuple(f"not restored: {each}" for each in lost),
    )


def _default_config(arguments: Sequence[str]) -> Path | None:
    """Return the file of settings in the current folder where no option gives a prompt, None otherwise."""
    if not DEFAULT_CONFIG.is_file():
        return None
    options, _ = parser_of_all_modes().parse_known_args([each for each in arguments if each not in ("-h", "--help")])
    return None if "prompt" in options else DEFAULT_CONFIG


def _chat_model(options: argparse.Namespace, kind: type[Settings]) -> ChatModel | None:
    """Return the language model of the options; raises InvalidSettings for modes without a director."""
    chat_model = language_model(options, from_environment=False)
    if chat_model is not None and kind.mode != DirectorSettings.mode:
        raise InvalidSettings(f"--llm: a language model directs in mode {DirectorSettings.mode} alone")
    return chat_model


def take_sources(values: dict[str, Any], options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the sources by key (models, and those of EXTRAS) that options and a file of settings name, and remove them
    from the file's ``values``; raises InvalidSettings."""
    return {key: [*getattr(options, key), *_as_texts(key, values.pop(key, None))] for key in ("models", *EXTRAS)}


def _as_texts(key: str, value: object) -> list[str]:
    """Return a text or a list of texts as a list; raises InvalidSettings for anything else."""
    texts = [value] if isinstance(value, str) and value else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidSettings(f"{key}: must be a text or a list of texts")
    return texts


def _storyboard_of_file(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the storyboard of the file that ``--storyboard`` names, and its number of frames if no option sets one;
    nothing if it is a storyboard itself. Raises UserError."""
    path = user_path(given.get("storyboard", ""))
    if path.suffix.lower() not in STORYBOARD_SUFFIXES or "\n" in path.name:
        return {}
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"--storyboard {path}: {getattr(error, 'strerror', 'is not a text in UTF-8')}") from None
    frames = given.get("num_frames")
    if frames is None and (own := frames_of(text)) is not None:
        return {"storyboard": text, "num_frames": own}
    return {"storyboard": text}


def _settings_class(mode: object) -> type[Settings]:
    if not isinstance(mode, str) or mode not in SETTINGS_BY_MODE:
        raise InvalidSettings(f"mode: must be one of {', '.join(SETTINGS_BY_MODE)}")
    return SETTINGS_BY_MODE[mode]


def _existing(name: str, path: object) -> Path | None:
    """Return the path of a file that is there, None for none; raises InvalidSettings."""
    if path is None:
        return None
    if not (isinstance(path, str) and user_path(path).is_file()):
        raise InvalidSettings(f"{name}: there is no file {path}")
    return user_path(path)


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML file, with ``randomize_seed: true`` turned into seed -1; raises UserError."""
    values = read_file(path, "--config ")
    randomize = values.pop("randomize_seed", False)
    if not isinstance(randomize, bool):
        raise InvalidSettings("randomize_seed: must be true or false")
    return {**values, "seed": -1} if randomize else values


def read_file(path: Path, option: str = "") -> dict[str, Any]:
    """Read the mapping in a YAML or JSON file that an option names; raises InvalidSettings."""
    try:
        return read_mapping(read_text(path))
    except (OSError, ValueError) as error:
        not_text = isinstance(error, UnicodeDecodeError)
        reason = "is not a text in UTF-8" if not_text else getattr(error, "strerror", error)
        raise InvalidSettings(f"{option}{path}: {reason}") from None


def read_video_settings(path: Path) -> dict[str, Any]:
    """Read the settings inside a video of this program; raises InvalidVideo."""
    try:
        return read_mapping(read_metadata(path)["settings"], only_json=True)
    except (InvalidVideo, InvalidSettings, KeyError) as error:
        reason = error if isinstance(error, InvalidVideo) else "this video carries no settings of this program"
        raise InvalidVideo(f"--from {path}: {reason}") from None


def _new_path(output: object) -> Path | None:
    """Return the output that a file of settings asks for; raises InvalidSettings if it is there: only -o replaces."""
    if output is None:
        return None
    if not isinstance(output, str):
        raise InvalidSettings("output: must be text")
    path = user_path(output)
    with suppress(OSError, ValueError):  # a name that cannot be one is refused with every other
        if path.exists():
            raise InvalidSettings(f"output: {path} is already there; choose another name, or give -o to replace it")
    return path
