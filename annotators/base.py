"""The protocol of annotators, and image networks for those that need one.

Weights are read when the first clip is annotated, never before. Safetensors only, no remote code.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from errors import ModelUnavailable
from utils import LOADING_ERRORS, local_or_hub, memory_errors

logger = logging.getLogger(__name__)
# Called with the number of the frame that comes next; stops the work by raising.
BeforeFrame = Callable[[int], None]


def keep_going(frame: int) -> None:
    """Let the work go on."""


class Annotator(Protocol):
    """Frames in, control frames out: both uint8 (frames, height, width, 3) RGB, of one size."""

    def __call__(self, frames: np.ndarray, before_frame: BeforeFrame = keep_going) -> np.ndarray:
        """The control frames; ``before_frame`` is called before every frame. Raises UserError children."""

    def release(self) -> None:
        """Let go of the networks, if there are any; the next call loads them again."""


class Network:
    """An image network and its preprocessing, from a folder or the Hugging Face Hub; loaded when first used.

    ``role`` names it to the user ("the depth estimator"), ``kind`` is its Auto class in transformers; the classes of
    single architectures would fill another architecture's checkpoint up with random weights, and only warn.
    ``without_it`` is what the user can do where it is not to be had.
    """

    without_it = "tick 'my video already is a control video'"

    def __init__(self, role: str, kind: str, source: str, device: str) -> None:
        self.role, self.kind, self.source, self.device = role, kind, source, device
        self._parts: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The processor and the model in single precision on the device; raises ModelUnavailable."""
        if self._parts is None:
            import torch

            logger.info("loading %s on %s", self.name, self.device)
            try:
                with memory_errors():
                    self._parts = self._read()
            except torch.OutOfMemoryError as error:
                raise ModelUnavailable(f"{self.name} does not fit into the memory of {self.device} now") from error
            except LOADING_ERRORS as error:
                logger.info("loading %s failed", self.name, exc_info=True)
                raise ModelUnavailable(self._reason(error)) from error
        return self._parts

    def release(self) -> None:
        """Let go of the network, and give the device's memory back."""
        if self._parts is None:
            return
        self._parts = None
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def _read(self) -> tuple[Any, Any]:
        return load_parts(self.kind, self.source, self.device)

    @property
    def name(self) -> str:
        """Name for messages: the role, and the source without the folders above it."""
        return f"{self.role} {self.source_name}"

    @property
    def source_name(self) -> str:
        """The Hub id, or the last part of a path on this machine."""
        path = Path(self.source)
        return path.name if path.is_absolute() or path.is_dir() else self.source

    def _reason(self, error: Exception) -> str:
        if Path(self.source).is_dir():
            return (
                f"{self.name} could not be loaded: a file is missing, damaged or not safetensors "
                f"({type(error).__name__})"
            )
        if not isinstance(error, OSError):
            return f"{self.name} was found, but is not a network of the right kind ({type(error).__name__})"
        return (
            f"{self.name} is not on this machine and could not be fetched from the Hugging Face Hub: check the "
            f"connection, or {self.without_it}"
        )


def load_parts(kind: str, source: str, device: str, revision: str = "main") -> tuple[Any, Any]:
    """The image processor and the model of one source; what is not whole on this machine comes from the Hub, at that
    revision.

    The processors' PIL variants, so that results do not depend on whether torchvision is there.
    """
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    classes: dict[str, dict[str, Any]] = {
        "AutoImageProcessor": {"backend": "pil"},
        kind: {"use_safetensors": True, "dtype": torch.float32},
    }

    def read(**where: bool) -> tuple[Any, Any]:
        processor, model = (
            getattr(transformers, name).from_pretrained(
                source, revision=revision, trust_remote_code=False, **options, **where
            )
            for name, options in classes.items()
        )
        return processor, model.to(device).eval()

    return local_or_hub(source, read)
