"""From a registry row to a pipeline's parts on a device; the only place that loads weights.

Safetensors only, no remote code. One checkpoint is held at a time: another one is loaded only after the former
has been let go, so that memory never holds two.
"""

import json
import logging
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from errors import ModelUnavailable
from registry import ModelRow
from utils import choose_dtype

logger = logging.getLogger(__name__)
PIPELINE_CLASSES = ("StableDiffusionPipeline", "TextToVideoPipeline", "TextToVideoZeroPipeline")


class Loader:
    """Loads the parts of a Stable Diffusion pipeline and keeps the last ones."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._held: tuple[str, dict[str, Any]] | None = None

    def components(self, row: ModelRow) -> dict[str, Any]:
        """The parts by name (``vae``, ``unet``, ``text_encoder``, ``tokenizer``, ``scheduler`` and so on), on the
        device and in its precision.

        Raises ModelUnavailable with what to do; what was held before is gone then, nothing is half loaded.
        """
        if self._held is None or self._held[0] != row.source:
            self.release()
            self._held = row.source, load_components(row, self.device)
        return self._held[1]

    def release(self) -> None:
        """Let go of what is held, and give the device's memory back."""
        if self._held is None:
            return
        self._held = None
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()


def load_components(row: ModelRow, device: str) -> dict[str, Any]:
    """Load one row's parts onto a device; raises ModelUnavailable."""
    import diffusers
    import torch
    import transformers
    from diffusers import StableDiffusionPipeline
    from safetensors import SafetensorError

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    source = Path(row.source)
    check_source(row, source)
    options = {"dtype": choose_dtype(device), "safety_checker": None}
    logger.info("loading %s on %s", row.name, device)
    try:
        if source.is_file():
            pipeline = StableDiffusionPipeline.from_single_file(str(source), **options)
        else:
            pipeline = from_folder_or_hub(StableDiffusionPipeline, row.source, use_safetensors=True, **options)
        pipeline.to(device)
    except torch.OutOfMemoryError as error:
        raise ModelUnavailable(f"{row.name} does not fit into the memory of {device} now") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        logger.info("loading %s failed", row.name, exc_info=True)
        raise ModelUnavailable(reason(row, source, error)) from error
    if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels:
        raise ModelUnavailable(f"{row.name} is not a text-to-image checkpoint (inpainting or editing?)")
    return {name: part for name, part in pipeline.components.items() if name not in ("safety_checker", "image_encoder")}


def from_folder_or_hub(kind: Any, source: str, **options: Any) -> Any:
    """A pipeline from what is on this machine, and only where that is not whole from the Hub."""
    try:
        return kind.from_pretrained(source, local_files_only=True, **options)
    except OSError:
        if Path(source).is_dir():
            raise
        return kind.from_pretrained(source, **options)


def check_source(row: ModelRow, source: Path) -> None:
    """Refuse before loading what can be seen to be wrong; raises ModelUnavailable."""
    if source.is_file() and source.suffix != ".safetensors":
        raise ModelUnavailable(
            f"{row.name} is not a .safetensors file; pickled checkpoints can run code and are never opened: convert it"
        )
    if source.is_dir():
        index = source / "model_index.json"
        if not index.is_file():
            raise ModelUnavailable(f"{row.name} is a folder without model_index.json: not a diffusers checkpoint")
        try:
            kind = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
        except (ValueError, AttributeError):
            raise ModelUnavailable(f"{row.name} has a model_index.json that cannot be read") from None
        if kind not in PIPELINE_CLASSES:
            raise ModelUnavailable(f"{row.name} is a {kind}; this mode takes Stable Diffusion 1.x and 2.x")


def cached(source: str) -> bool:
    """Whether a Hub id's largest part has been downloaded before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(source, "unet/diffusion_pytorch_model.safetensors"), str)
    except HFValidationError:
        return False


def reachable(source: str, timeout_s: float = 3.0) -> bool:
    """Whether the Hub answers for this id within a few seconds."""
    from huggingface_hub.constants import ENDPOINT

    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/models/{source}", timeout=timeout_s) as answer:
            return answer.status == HTTPStatus.OK
    except (OSError, ValueError, HTTPException):
        return False


def reason(row: ModelRow, source: Path, error: Exception) -> str:
    """One line that says why a checkpoint did not load, and what to do; no server path in it."""
    if source.is_file():
        return (
            f"{row.name} could not be read as a Stable Diffusion checkpoint; single files also need the "
            "configuration of their base model from the Hugging Face Hub once"
        )
    if source.is_dir():
        return f"{row.name} could not be loaded: a file is missing, damaged or not safetensors ({type(error).__name__})"
    if not isinstance(error, OSError):
        return f"{row.name} was found, but is not a Stable Diffusion 1.x or 2.x checkpoint ({type(error).__name__})"
    return (
        f"{row.name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub: check "
        "the name and the connection, or start with --model and a local folder or .safetensors file"
    )
