"""Any text-to-video pipeline of diffusers, loaded and called as it is, so that it can be compared with our own.

It knows none of them by name. What one takes is read from its signature, and what no signature tells is in its row
(comparison/engine_specs.py). Safetensors only, and no code but what diffusers itself brings.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from comparison.diffusers_call import (
    LENGTHS,
    StepReporter,
    arguments_of,
    as_video,
    default_of,
    fitting_length,
    length_argument,
    required,
)
from comparison.engine_specs import DiffusersPipeline
from errors import GenerationFailed, InvalidSettings, ModelUnavailable
from generation.progress import OnStep, stop_if
from model_manager.checkpoint_formats import hub_index, read_index
from model_manager.discovery import name_of
from model_manager.hub import from_folder_or_hub
from model_manager.memory import device_bytes, free_card_bytes, give_back_memory, is_shared
from model_manager.networks import networks_of, weights_bytes
from model_manager.safetensors_header import SUFFIX, read_shapes
from utils import LOADING_ERRORS, silence_libraries

logger = logging.getLogger(__name__)
# The share of a card that weights may fill, so that there is room for what is computed; a rule of thumb.
WEIGHTS_SHARE = 0.6
GB = 10**9
# What somebody else's code may raise where what it was given does not fit; anything else is not of its making.
FOREIGN_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError),
    *(RuntimeError, TypeError, ValueError),
)
# What transformers names where it cannot read a tokenizer that is only there as spiece.model.
TOKENIZER_PACKAGES = ("sentencepiece", "protobuf", "tiktoken")


class VideoPipeline:
    """One pipeline on one device: loaded once, drawn with any number of times, released."""

    def __init__(self, row: DiffusersPipeline, name: str, device: str) -> None:
        self.row, self.device = row, device
        self.name = name_of(name) if Path(name).is_absolute() else name  # never a server's path
        self._pipeline: Any = None
        self._takes_turns = False

    def load(self) -> None:
        """Load the pipeline, from this machine or the Hub, and place it: on the device where there is room, else its
        parts come there from main memory one after the other. Raises ModelUnavailable with what to do."""
        import torch

        if self._pipeline is not None:
            return
        logger.info("loading %s on %s", self.name, self.device)
        try:
            self._pipeline = read_pipeline(self.row, self.name, self.device)
            self._place()
        except torch.OutOfMemoryError:
            reason = f"{self.name} does not fit into the memory of {self.device} now"
        except (*FOREIGN_ERRORS, *LOADING_ERRORS) as error:
            logger.info("loading %s failed", self.name, exc_info=True)
            reason = why_not(self.row, self.name, error)
        else:
            return
        self.release()  # here, where no error holds on to what was half loaded
        raise ModelUnavailable(reason)

    def _place(self) -> None:
        self._pipeline.set_progress_bar_config(disable=True)
        needed = weights_bytes(networks_of(self._pipeline.components).values())
        if is_shared(self.device) or needed < WEIGHTS_SHARE * free_card_bytes(self.device):
            self._pipeline.to(self.device)
            return
        logger.info("%s is too large for the free memory of %s: its parts take turns", self.name, self.device)
        self._takes_turns = True
        self._pipeline.enable_model_cpu_offload(device=self.device)

    def generate(  # noqa: PLR0913 - a call of a pipeline, and how it is watched
        self,
        prompt: str,
        seed: int,
        *,
        num_frames: int | None = None,
        width: int | None = None,
        height: int | None = None,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
    ) -> np.ndarray:
        """Draw a video: uint8 (frames, height, width, 3), as long as asked or as little longer as the pipeline can.

        Sizes in pixels; what is None is as in the row. Loads first where that was not done. ``on_step`` is told after
        every denoising step, where the pipeline lets itself be watched. Raises ModelUnavailable, InvalidSettings for a
        size or length that the pipeline does not take, GenerationFailed, and Cancelled once ``cancel`` is set.
        """
        self.load()
        stop_if(cancel)
        takes = arguments_of(self._pipeline.__call__)
        wanted = {"num_frames": num_frames, "width": width, "height": height}
        call = {**self.row.call, **{key: value for key, value in wanted.items() if value is not None}}
        length = call.pop("num_frames", None)
        if length is not None:
            call[length_argument(takes)] = fitting_length(length, self.row, self.name)
        steps, frames = (
            call.get(key, default_of(takes, key)) for key in ("num_inference_steps", length_argument(takes))
        )
        reporter = StepReporter(on_step, cancel, steps, frames)
        drawn = self._call({**call, **reporter.arguments(takes), **randomness(seed), "prompt": prompt}, takes, reporter)
        return as_video(drawn, self.name)

    def _call(self, arguments: Mapping[str, Any], takes: Mapping[str, Any], reporter: StepReporter) -> Any:
        """What the pipeline gives for those arguments that it takes; its errors in one line."""
        import torch

        known = {key: value for key, value in arguments.items() if key in takes}
        try:
            output = self._pipeline(**known)
        except torch.OutOfMemoryError:
            failure: Exception = GenerationFailed(
                f"{self.name} ran out of memory on {self.device}: ask for fewer frames or a smaller size"
            )
        except FOREIGN_ERRORS as error:
            logger.info("%s broke down", self.name, exc_info=True)
            failure = self._failure(error, began=reporter.steps > 0)
        else:
            return output.frames if hasattr(output, "frames") else output.images
        finally:
            if self._takes_turns:
                self._pipeline.maybe_free_model_hooks()  # a call that broke off left a part on the card
        give_back_memory(self.device)
        raise failure

    def _failure(self, error: Exception, *, began: bool) -> Exception:
        """Pipelines check what they are given before they begin, by ValueError."""
        if isinstance(error, ValueError) and not began:
            return InvalidSettings(f"{self.name}: {(str(error).splitlines() or ['does not take these settings'])[0]}")
        return GenerationFailed(
            f"{self.name} broke down ({type(error).__name__}): try another length or size, or leave it out"
        )

    def release(self) -> None:
        """Let go of everything: hooks, weights, and the device's memory. It may be loaded again."""
        if self._pipeline is not None and self._takes_turns:
            self._pipeline.remove_all_hooks()
        self._pipeline, self._takes_turns = None, False
        give_back_memory(self.device)


def read_pipeline(row: DiffusersPipeline, name: str, device: str) -> Any:
    """The pipeline of a row in main memory, in the row's precision for graphics cards and in float32 for processors,
    where some layers have no other.

    Raises ModelUnavailable for one that draws no videos from a text or is too large, and what diffusers raises.
    """
    import diffusers
    import torch

    silence_libraries()
    kind = pipeline_class(row, name)
    precision = torch.float32 if device.startswith("cpu") else getattr(torch, row.dtype)
    dtypes = {"default": precision, **dict.fromkeys(row.float32_parts, torch.float32)}
    parts = {
        part: from_folder_or_hub(
            getattr(diffusers, part_kind), source, use_safetensors=True, dtype=dtypes.get(part, precision)
        )
        for part, (part_kind, source) in row.parts.items()
    }
    check = partial(check_memory, name=name, device=device, dtypes=dtypes)
    pipeline = from_folder_or_hub(kind, row.source, check=check, use_safetensors=True, dtype=dtypes, **parts)
    if row.scheduler is not None:
        scheduler, options = row.scheduler
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config, **options)
    return pipeline


def check_memory(folder: Path, name: str, device: str, dtypes: Mapping[str, Any]) -> None:
    """Raise ModelUnavailable where a pipeline's weights are more than all memory that a device shares with the machine:
    the system would end this program, without a word. A card says by itself that it is full."""
    if not is_shared(device):
        return
    needed, there = folder_bytes(folder, dtypes), device_bytes(device)
    if 0 < there < needed:
        raise ModelUnavailable(
            f"{name} needs about {needed / GB:.1f} GB of memory for its weights alone, and there are {there / GB:.1f} "
            "here: leave it out, or use a machine with more or with a CUDA device"
        )


def folder_bytes(folder: Path, dtypes: Mapping[str, Any]) -> int:
    """What the weights of a pipeline's parts take in memory, in the dtype of each or else the default one.

    Files whose names have a dot in them are other precisions of the same weights. Raises ModelUnavailable for damaged
    ones."""
    index = read_index(folder)
    parts = [name for name, kind in index.items() if isinstance(kind, list) and kind[0] is not None]
    return sum(
        prod(shape) * dtypes.get(part, dtypes["default"]).itemsize
        for part in parts
        for file in (folder / part).glob(f"*{SUFFIX}")
        if "." not in file.stem
        for shape in read_shapes(file).values()
    )


def pipeline_class(row: DiffusersPipeline, name: str) -> Any:
    """The class of diffusers that the row or its model_index.json names, before any weights are fetched.

    Raises ModelUnavailable where there is none of that name, or it draws no videos from a text; OSError where there is
    nothing to read.
    """
    import diffusers

    if Path(row.source).is_file():
        raise ModelUnavailable(f"{name} is a single file: give a Hub id, or a folder with model_index.json")
    index = hub_index(row.source)
    kind = row.kind or index.get("_class_name")
    found = getattr(diffusers, kind, None) if isinstance(kind, str) else None
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ModelUnavailable(f"{name} is no pipeline of the diffusers installed here, and code of its own is not run")
    takes = arguments_of(found.__call__)
    if "prompt" not in takes or not any(argument in takes for argument in LENGTHS):
        raise ModelUnavailable(f"{name} is a {kind}, which draws no videos from a text")
    wanted = required(takes) - {"self", "prompt", *LENGTHS, *row.call}
    if wanted:
        raise ModelUnavailable(f"{name} is a {kind}, which draws no videos from a text alone: it wants {min(wanted)}")
    return found


def why_not(row: DiffusersPipeline, name: str, error: Exception) -> str:
    """One line that says why a pipeline did not load, and what to do; no server path in it."""
    if any(package in str(error) for package in TOKENIZER_PACKAGES):
        return f"{name} needs Python packages that are not installed here: pip install sentencepiece protobuf"
    if isinstance(error, ImportError):
        return f"{name} needs the Python package {error.name or 'that the log names'}, which is not installed here"
    if Path(row.source).is_dir():
        return f"{name} could not be loaded: a file is missing, damaged or not safetensors ({type(error).__name__})"
    if isinstance(error, OSError):
        return (
            f"{name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub in "
            "safetensors: check the name and the connection"
        )
    return f"{name} was found, but could not be loaded ({type(error).__name__})"


def randomness(seed: int) -> dict[str, Any]:
    """Noise from the CPU, which is the same for every device, and frames as numbers that can be checked."""
    import torch

    return {"generator": torch.Generator("cpu").manual_seed(seed), "output_type": "np"}
