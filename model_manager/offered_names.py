"""Names under which models, LoRAs, VAEs and styles are offered, and the settings that choose them by such a name."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errors import ModelUnavailable
from model_manager.catalogue import SHOWN_NAMES, Catalogue
from model_manager.discovery import current_id, public_name
from settings import GenerationSettings
from settings.user_files import user_path

AUTO = "auto"
FILE_SETTINGS = {"model": "model", "lora": "LoRA", "vae": "VAE"}  # by field, the noun of messages
NAMING_SETTINGS = {**FILE_SETTINGS, "style": "style"}


def sources_to_offer(setting: str, value: object) -> list[str]:
    """Return the sources that an operator's own choice of a setting adds to the offer: any model; of LoRAs and VAEs
    paths and Hub ids, because a bare name is one that is offered by other means."""
    if not isinstance(value, str) or value in ("", AUTO):
        return []
    return [value] if setting == "model" or "/" in value or user_path(value).exists() else []


def with_offered_names(settings: GenerationSettings, catalogue: Catalogue) -> GenerationSettings:
    """Return the settings with all that they choose under the names it is offered by, for a path its last part.

    A video may have come from anywhere, so what it asks for is not loaded unless the operator has named it; raises
    ModelUnavailable.
    """
    chosen = {}
    for setting, noun in NAMING_SETTINGS.items():
        wanted = getattr(settings, setting)
        if wanted in (None, AUTO):
            continue
        offered = catalogue.offered(setting)
        name = _offered_name(wanted, offered)
        if name is None:
            none = "" if setting == "model" else ", which may be none"
            known = "" if setting in FILE_SETTINGS else f" (there are {', '.join(list(offered)[:SHOWN_NAMES])})"
            refusal = f"the {noun} {public_name(wanted)!r} is not offered{known}"
            raise ModelUnavailable(f"{refusal}: allow it with --{setting}s, or choose with --{setting}{none}")
        chosen[setting] = name
    return settings.model_copy(update=chosen)


def without_folders(settings: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """Return the settings for others to read: models, LoRAs and VAEs as in ``with_offered_names``, and the last part of
    a path that is not offered."""
    texts = {name: value for name in FILE_SETTINGS if isinstance(value := settings.get(name), str)}
    shown = {name: _offered_name(value, catalogue.offered(name)) or public_name(value) for name, value in texts.items()}
    return {**settings, **shown}


def _offered_name(wanted: str, sources: Mapping[str, str]) -> str | None:
    """Return the name of what is offered under this name, from this source or path, or alone in this folder."""
    wanted = current_id(wanted)
    path = str(user_path(wanted).absolute())
    same = [
        name
        for name, source in sources.items()
        if wanted in (name, source) or source in (path, os.path.expanduser(wanted))
    ]
    inside = [name for name, source in sources.items() if str(Path(source).parent) == path]
    return same[0] if same else inside[0] if len(inside) == 1 else None
