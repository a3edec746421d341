"""Admission of a job before its checkpoint is loaded, from configurations and file sizes alone.

Networks that are not on this machine yet, and jobs whose size a video decides, are measured after loading (``plan_job``
in memory.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from model_manager.builtin_models import ModelRow
from model_manager.memory import activations, is_shared, refuse_beyond
from model_manager.safetensors_header import SUFFIX
from settings.user_files import read_text
from utils import choose_dtype

CONFIG = "config.json"
USUAL_SAMPLE_SIZE = 64  # latents of Stable Diffusion 1.x along one side
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")


class Room(Protocol):
    """Memory of one device, as ``Loader`` knows it."""

    device: str

    def available_bytes(self) -> int | None:
        """Return the memory of the machine that is there if all networks go; None where unknown."""


def admit(room: Room, row: ModelRow, *, frames: int, size_px: tuple[int | None, int | None], together: bool) -> None:
    """Raise GenerationFailed for frames of a row's checkpoint that a processor's memory cannot hold.

    ``size_px`` is width and height, None the checkpoint's own; ``together``: all frames have to be predicted at once.
    """
    if not is_shared(room.device):
        return
    unet, vae = (_config(row.source, network) for network in ("unet", "vae"))
    if unet is None or vae is None:
        return
    own = row.size_px or _own_size(unet, vae)
    width, height = (asked or usual for asked, usual in zip(size_px, own, strict=True))
    itemsize = choose_dtype(room.device).itemsize
    weights = _least_weights_bytes(Path(row.source))
    load = activations(
        unet, vae, (width, height), bytes_per_value=(itemsize, itemsize), weights=(weights, weights, weights)
    )
    refuse_beyond(room.available_bytes(), load, frames, together=together)


def _config(source: str, network: str) -> dict[str, Any] | None:
    """The configuration of one network of a folder, or of a Hub id that has been fetched; None where it is not here."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path: object = Path(source, network, CONFIG)
    if not Path(source).exists():
        try:
            path = try_to_load_from_cache(source, f"{network}/{CONFIG}")
        except HFValidationError:
            return None
    try:
        config = json.loads(read_text(Path(path))) if isinstance(path, str | Path) else None
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and _are_counts(config.get("block_out_channels")) else None


def _are_counts(value: object) -> bool:
    """True for a list of positive whole numbers."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, int) and each > 0 for each in value)


def _own_size(unet: dict[str, Any], vae: dict[str, Any]) -> tuple[int, int]:
    """Width and height of the pictures that a UNet was trained on."""
    sample = unet.get("sample_size")
    sides = sample if isinstance(sample, list) and len(sample) == 2 else [sample, sample]
    height, width = sides if _are_counts(sides) else (USUAL_SAMPLE_SIZE, USUAL_SAMPLE_SIZE)
    scale = 2 ** (len(vae["block_out_channels"]) - 1)
    return width * scale, height * scale


def _least_weights_bytes(folder: Path) -> int:
    """The bytes that a folder's networks have at least: of each its smallest file; 0 for what is no folder."""
    sizes = [[path.stat().st_size for path in (folder / name).glob(f"*{SUFFIX}")] for name in NETWORKS]
    return sum(map(min, filter(None, sizes)))
