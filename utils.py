"""Small facts about the machine: which device to compute on, in which precision, in which versions."""

from importlib.metadata import version
from typing import Any

from errors import UserError

VERSION = "0.1.0"
LIBRARIES = ("torch", "diffusers", "transformers")


def choose_device(requested: str | None = None) -> str:
    """``cuda``, ``mps`` or ``cpu``: the best there is, or the one asked for.

    Raises UserError where the requested device is unknown or absent.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested is None:
        return next(name for name, present in available.items() if present)
    kind, _, index = requested.partition(":")
    counts = {"cuda": torch.cuda.device_count(), "mps": 1, "cpu": 1}
    if not available.get(kind, False) or (index and not (index.isdecimal() and int(index) < counts[kind])):
        present = ", ".join(name for name, is_present in available.items() if is_present)
        raise UserError(f"device {requested!r} is not available here; choose from: {present}")
    return requested


def choose_dtype(device: str) -> Any:
    """The torch dtype to compute in: half precision on graphics cards, float32 on a processor."""
    import torch

    return torch.float32 if device.startswith("cpu") else torch.float16


def versions() -> dict[str, str]:
    """Versions that decide what a seed draws, for the metadata of a video."""
    return {"text2video-zero-studio": VERSION} | {name: version(name) for name in LIBRARIES}
