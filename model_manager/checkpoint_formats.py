"""Checkpoint formats: the class of diffusers that reads a checkpoint, told from its index or header before its weights.

A folder or Hub id names the pipeline class it was saved from in ``model_index.json``; a single file is known by the
names of its weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from errors import ModelUnavailable
from model_manager.checkpoint_file import XL, CheckpointFile, read_facts
from model_manager.safetensors_header import SUFFIX
from settings.user_files import read_text
from utils import local_or_hub

INDEX = "model_index.json"
MAX_INDEX_BYTES = 1_000_000


@dataclass(frozen=True)
class CheckpointFormat:
    """Checkpoints that are read alike.

    Args:
        reader: class of diffusers that reads them.
        options: of the reader.
        kept: options of that class which belong to a checkpoint as its weights do.
        edits: they edit pictures by instruction (InstructPix2Pix).
        trained_on_videos: they draw all frames together.
    """

    reader: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    edits: bool = False
    trained_on_videos: bool = False


STABLE_DIFFUSION = CheckpointFormat("StableDiffusionPipeline", {"safety_checker": None})
STABLE_DIFFUSION_XL = CheckpointFormat("StableDiffusionXLPipeline", kept=("force_zeros_for_empty_prompt",))
TRAINED_ON_VIDEOS = CheckpointFormat(
    "StableDiffusionPipeline", {"safety_checker": None, "feature_extractor": None}, trained_on_videos=True
)
# By the class that a model_index.json names.
FORMATS: Mapping[str, CheckpointFormat] = {
    "StableDiffusionPipeline": STABLE_DIFFUSION,
    "StableDiffusionControlNetPipeline": STABLE_DIFFUSION,
    "StableDiffusionInstructPix2PixPipeline": replace(STABLE_DIFFUSION, edits=True),
    "TextToVideoPipeline": STABLE_DIFFUSION,
    "TextToVideoZeroPipeline": STABLE_DIFFUSION,
    "TextToVideoSDPipeline": TRAINED_ON_VIDEOS,
    "StableDiffusionXLPipeline": STABLE_DIFFUSION_XL,
    "TextToVideoXLPipeline": STABLE_DIFFUSION_XL,
    "TextToVideoZeroSDXLPipeline": STABLE_DIFFUSION_XL,
    # Folders that these classes wrote before they named their ancestor.
    "ControlledVideoPipeline": STABLE_DIFFUSION,
    "EditedVideoPipeline": replace(STABLE_DIFFUSION, edits=True),
    "TrainedVideoPipeline": TRAINED_ON_VIDEOS,
}
KNOWN = "Stable Diffusion 1.x, 2.x and XL"


def read_index(folder: Path) -> dict[str, Any]:
    """Read a folder's ``model_index.json``: the pipeline class under ``_class_name``, each component's under its name.

    Raises OSError where there is none, ValueError where it holds something else.
    """
    path = folder / INDEX
    if not path.is_file():  # opening a pipe would wait for ever
        raise FileNotFoundError(INDEX)
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise ValueError(f"{INDEX} is no index: it is too large")
    try:
        index = json.loads(read_text(path))
    except RecursionError:
        raise ValueError(f"{INDEX} is nested too deep") from None
    return _checked(index)


def hub_index(source: str) -> dict[str, Any]:
    """Read the ``model_index.json`` of a folder or Hub id; raises OSError where there is nothing to read, ValueError
    where it holds something else."""
    from diffusers import DiffusionPipeline

    if Path(source).is_dir():
        return read_index(Path(source))
    return _checked(local_or_hub(source, lambda **where: DiffusionPipeline.load_config(source, **where)))


def _checked(index: object) -> dict[str, Any]:
    """The index, if it is a mapping; raises ValueError."""
    if not isinstance(index, dict):
        raise ValueError(f"{INDEX} is no mapping")
    return index


def class_of(source: str) -> str:
    """Return the pipeline class that a folder's or Hub id's checkpoint was made for; raises OSError where there is
    nothing to read."""
    return str(hub_index(source).get("_class_name"))


def format_of_file(facts: CheckpointFile) -> CheckpointFormat:
    """Return the format of a checkpoint in one file."""
    return replace(STABLE_DIFFUSION_XL if facts.family == XL else STABLE_DIFFUSION, edits=facts.edits)


def format_of_folder(source: str) -> CheckpointFormat:
    """Return the format that a folder names or a file shows; that of Stable Diffusion for everything else, which
    nothing is known of yet."""
    try:
        if Path(source).is_file():
            return format_of_file(read_facts(source, Path(source)))
        return FORMATS[str(read_index(Path(source)).get("_class_name"))]
    except (OSError, ValueError, LookupError, ModelUnavailable):
        return STABLE_DIFFUSION


def format_of(name: str, source: str) -> CheckpointFormat:
    """Return the format of a checkpoint, which a message calls ``name``.

    Raises ModelUnavailable where it is none of those known; OSError as ``class_of``.
    """
    refuse_unreadable(name, Path(source))
    if Path(source).is_file():
        return format_of_file(read_facts(name, Path(source)))
    kind = class_of(source)
    if kind not in FORMATS:
        raise ModelUnavailable(f"{name} is a {kind}; this program takes {KNOWN}")
    return FORMATS[kind]


def refuse_unreadable(name: str, path: Path) -> None:
    """Raise ModelUnavailable for a file that is pickled, or a folder without a readable index."""
    if path.is_file() and path.suffix != SUFFIX:
        raise ModelUnavailable(
            f"{name} is not a {SUFFIX} file; pickled checkpoints can run code and are never opened: convert it"
        )
    if path.is_dir() and not (path / INDEX).is_file():
        raise ModelUnavailable(f"{name} is a folder without {INDEX}: not a diffusers checkpoint")
    if path.is_dir():
        try:
            read_index(path)
        except ValueError:
            raise ModelUnavailable(f"{name} has a {INDEX} that cannot be read") from None
