"""What the operator names when a program is started: models, LoRAs, VAEs, embeddings, the folders of other programs,
and a language model.

Where a setting chooses one of them (``--lora``), more to choose from are named in the plural (``--loras``).
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison.engine_specs import ENGINES, engine_by_name
from director.remote_llm import MODEL_VARIABLE, LanguageModelOptions, connect, key_from_environment
from director.storyboard import Complete
from errors import InvalidSettings, ModelUnavailable
from model_manager.catalogue import Catalogue, Extras
from model_manager.discovery import is_hub_id, public_name
from settings import Settings

AUTO = "auto"
CHOSEN = {"model": "model", "lora": "LoRA", "vae": "VAE"}  # settings that name what is offered
FILES = "a .safetensors file, a folder of them or a Hub id"
# By their key in a file of settings: the option of a server, that of the command line, and what it is.
EXTRAS = {
    "loras": ("--lora", "--loras", f"a LoRA to offer: {FILES}"),
    "vaes": ("--vae", "--vaes", f"a VAE to offer: a diffusers folder, {FILES}"),
    "embeddings": ("--embedding", "--embedding", f"a textual inversion, a word for prompts: {FILES}"),
    "models_root": ("--models-root", "--models-root", "the folder of A1111 or ComfyUI; all in it is offered"),
}


def add_extras(parser: Any, *, command_line: bool) -> None:
    """The options for everything but models; each may be repeated."""
    for key, (server, one_video, what) in EXTRAS.items():
        option = one_video if command_line else server
        parser.add_argument(
            option, action="append", default=[], dest=key, metavar="PATH", help=f"{what}; may be repeated"
        )


def read_extras(options: argparse.Namespace) -> Extras:
    """What the options name."""
    return as_extras({key: getattr(options, key) for key in EXTRAS})


def as_extras(named: Mapping[str, Sequence[str]]) -> Extras:
    """What lists under the keys of EXTRAS name."""
    return Extras(named["loras"], named["vaes"], named["embeddings"], named["models_root"])


def pipelines_offered(named: Sequence[str], *, local: bool) -> tuple[str, ...]:
    """The pipelines of diffusers that clients of a page may compare, as ``engine_by_name`` takes them: those that the
    operator names and, where only this machine reaches the page (``local``), every row of comparison/engine_specs.py.

    Each is tens of gigabytes to download, which is not for strangers to start. Raises InvalidSettings.
    """
    offered = {name: name for name, row in ENGINES.items() if local and row.pipeline is not None}
    for name in named:
        is_folder = os.path.isfile(os.path.join(name, "model_index.json"))
        if not (name in ENGINES or is_folder or (is_hub_id(name) and name.count("/") == 1)):
            rows = ", ".join(ENGINES)
            raise InvalidSettings(
                f"--engine {name}: must be one of {rows}, or a Hub id or folder of a diffusers text-to-video pipeline"
            )
        engine = engine_by_name(name)
        if (engine.name in ENGINES and name not in ENGINES) or offered.setdefault(engine.name, name) != name:
            raise InvalidSettings(f"--engine {name}: there is another engine called {engine.name}: rename the folder")
    return tuple(name for name in offered.values() if engine_by_name(name).pipeline is not None)


def add_language_model(parser: Any) -> None:
    """The options for a language model that directs; its key is no option, because others could read it."""
    parser.add_argument("--llm", metavar="URL", help="an OpenAI-compatible server that writes the frames' prompts")
    name = "the language model on that server, or without --llm one to run here: a folder or Hub id"
    parser.add_argument("--llm-model", metavar="NAME", help=name)


def language_model(options: argparse.Namespace, *, from_environment: bool) -> Complete | None:
    """The language model that the options name, or, where they name none, the environment; raises InvalidSettings."""
    if not options.llm and not options.llm_model:
        named = LanguageModelOptions.from_environment() if from_environment else None
    else:
        key = key_from_environment(options.llm) if options.llm else None
        named = LanguageModelOptions(options.llm, options.llm_model or os.environ.get(MODEL_VARIABLE, ""), key)
    return None if named is None else connect(named)


def listed(from_file: dict[str, Any], given: Sequence[str], key: str) -> list[str]:
    """What the options name, and what a file of settings does as one text or a list of them, which is taken out of it;
    raises InvalidSettings."""
    sources = from_file.pop(key, None) or []
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise InvalidSettings(f"{key}: must be a text or a list of texts")
    return [*given, *sources]


def named(setting: str, value: Any) -> list[str]:
    """What choosing it offers: any model; of LoRAs and VAEs paths and Hub ids, because a mere name is one that is
    offered by other means."""
    if not isinstance(value, str) or value in ("", AUTO):
        return []
    return [value] if setting == "model" or "/" in value or Path(value).expanduser().exists() else []


def by_name(settings: Settings, catalogue: Catalogue) -> Settings:
    """The settings with models, LoRAs and VAEs under the names they are offered by, which for a path is its last part.

    A video may have come from anywhere, so what it asks for is not loaded unless the operator has named it; raises
    ModelUnavailable.
    """
    chosen = {}
    for setting, noun in CHOSEN.items():
        wanted = getattr(settings, setting)
        if wanted in (None, AUTO):
            continue
        name = _name(wanted, catalogue.offered(setting))
        if name is None:
            none = "" if setting == "model" else ", which may be none"
            told = f"the {noun} {public_name(wanted)!r} is not offered"
            raise ModelUnavailable(f"{told}: allow it with --{setting}s, or choose with --{setting}{none}")
        chosen[setting] = name
    return settings.model_copy(update=chosen)


def without_folders(settings: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """The same settings for others to read: models, LoRAs and VAEs as in ``by_name``, and a path that is not offered by
    its last part."""
    texts = {name: value for name in CHOSEN if isinstance(value := settings.get(name), str)}
    shown = {name: _name(value, catalogue.offered(name)) or public_name(value) for name, value in texts.items()}
    return {**settings, **shown}


def _name(wanted: str, sources: Mapping[str, str]) -> str | None:
    """What is offered under this name, from this source or path, or alone in this folder."""
    path = str(Path(wanted).expanduser().absolute())
    same = [name for name, source in sources.items() if wanted in (name, source) or source == path]
    inside = [name for name, source in sources.items() if str(Path(source).parent) == path]
    return same[0] if same else inside[0] if len(inside) == 1 else None
