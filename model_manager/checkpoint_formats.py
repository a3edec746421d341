"""Which family a checkpoint is of, from what it says of itself before its weights are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils import local_or_hub


@dataclass(frozen=True)
class Family:
    """Checkpoints that are read alike: by which class of diffusers, with which options, and which of that class's own
    options belong to a checkpoint as its weights do."""

    reader: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[str, ...] = ()


STABLE_DIFFUSION = Family("StableDiffusionPipeline", {"safety_checker": None})
STABLE_DIFFUSION_XL = Family("StableDiffusionXLPipeline", kept=("force_zeros_for_empty_prompt",))
TRAINED_ON_VIDEOS = Family("StableDiffusionPipeline", {"safety_checker": None, "feature_extractor": None})
# By the class that a model_index.json names.
FAMILIES: Mapping[str, Family] = {
    "StableDiffusionPipeline": STABLE_DIFFUSION,
    "StableDiffusionControlNetPipeline": STABLE_DIFFUSION,
    "StableDiffusionInstructPix2PixPipeline": STABLE_DIFFUSION,
    "TextToVideoPipeline": STABLE_DIFFUSION,
    "TextToVideoZeroPipeline": STABLE_DIFFUSION,
    "TextToVideoSDPipeline": TRAINED_ON_VIDEOS,
    "StableDiffusionXLPipeline": STABLE_DIFFUSION_XL,
    "TextToVideoXLPipeline": STABLE_DIFFUSION_XL,
    "TextToVideoZeroSDXLPipeline": STABLE_DIFFUSION_XL,
}
KNOWN = "Stable Diffusion 1.x, 2.x and XL"


def class_of(source: str) -> str:
    """The class that a checkpoint was made for: of a folder or a Hub id, the one that its model_index.json names; of a
    single file, by whether it holds the second text encoder of Stable Diffusion XL.

    Raises OSError where there is nothing to read, SafetensorError for a damaged file.
    """
    if Path(source).is_file():
        return (STABLE_DIFFUSION_XL if is_xl_file(Path(source)) else STABLE_DIFFUSION).reader
    from diffusers import DiffusionPipeline

    index = local_or_hub(source, lambda **where: DiffusionPipeline.load_config(source, **where))
    return str(index.get("_class_name"))


def is_xl_file(path: Path) -> bool:
    """Whether a single ``.safetensors`` file is of Stable Diffusion XL, as diffusers tells it; reads names alone."""
    from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return CHECKPOINT_KEY_NAMES["xl_base"] in file.keys()  # noqa: SIM118 - it is no dictionary
