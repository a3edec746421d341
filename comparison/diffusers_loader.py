"""Loading of diffusers' text-to-video pipelines: from safetensors only, and no code but that of diffusers itself.

None of them is known by name. A pipeline's parameters are read from its signature, and what no signature tells is in
its specification (comparison/engine_specs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison.diffusers_call import LENGTHS, parameters_of, required
from comparison.engine_specs import DiffusersPipeline
from errors import ModelUnavailable
from model_manager.checkpoint_formats import hub_index, read_index
from model_manager.hub import from_folder_or_hub
from model_manager.memory import device_bytes, is_shared
from model_manager.safetensors_header import SUFFIX, read_shapes
from utils import quiet_libraries

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

GB = 10**9
TOKENIZER_PACKAGES = ("sentencepiece", "protobuf", "tiktoken")  # named by transformers if it cannot read spiece.model


def load_pipeline(spec: DiffusersPipeline, name: str, device: str) -> Any:
    """Load a pipeline into main memory, in its precision for graphics cards, and for processors in float32, the only
    precision of some of their layers.

    Raises ModelUnavailable for one that draws no videos from a text or is too large, and the errors of diffusers.
    """
    import diffusers
    import torch

    quiet_libraries()
    kind = pipeline_class(spec, name)
    precision = torch.float32 if device.startswith("cpu") else getattr(torch, spec.dtype)
    dtypes = {"default": precision, **dict.fromkeys(spec.float32_parts, torch.float32)}
    parts = {
        part: from_folder_or_hub(
            getattr(diffusers, part_kind), source, use_safetensors=True, dtype=dtypes.get(part, precision)
        )
        for part, (part_kind, source) in spec.parts.items()
    }
    check = partial(check_memory, name=name, device=device, dtypes=dtypes)
    pipeline = from_folder_or_hub(kind, spec.source, check=check, use_safetensors=True, dtype=dtypes, **parts)
    if spec.scheduler is not None:
        scheduler, options = spec.scheduler
        pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config, **options)
    return pipeline


def pipeline_class(spec: DiffusersPipeline, name: str) -> type[DiffusionPipeline]:
    """Return the class of diffusers that the specification or model_index.json names, before any weights are fetched.

    Raises ModelUnavailable if there is none of that name, or it draws no videos from a text; OSError if there is
    nothing to read.
    """
    import diffusers

    if Path(spec.source).is_file():
        raise ModelUnavailable(f"{name} is a single file: give a Hub id, or a folder with model_index.json")
    kind = spec.kind or hub_index(spec.source).get("_class_name")
    found = getattr(diffusers, kind, None) if isinstance(kind, str) else None
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        raise ModelUnavailable(f"{name} is no pipeline of the diffusers installed here, and code of its own is not run")
    parameters = parameters_of(found.__call__)
    if "prompt" not in parameters or not any(length in parameters for length in LENGTHS):
        raise ModelUnavailable(f"{name} is a {kind}, which draws no videos from a text")
    missing = required(parameters) - {"self", "prompt", *LENGTHS, *spec.call}
    if missing:
        raise ModelUnavailable(f"{name} is a {kind}, which draws no videos from a text alone: it wants {min(missing)}")
    return found


def check_memory(folder: Path, *, name: str, device: str, dtypes: Mapping[str, torch.dtype]) -> None:
    """Raise ModelUnavailable if a pipeline's weights exceed all memory that a device shares with the machine, because
    the system would end this program without a word. A card says by itself that it is full."""
    if not is_shared(device):
        return
    needed, there = folder_bytes(folder, dtypes), device_bytes(device)
    if 0 < there < needed:
        raise ModelUnavailable(
            f"{name} needs about {needed / GB:.1f} GB of memory for its weights alone, and there are {there / GB:.1f} "
            "here: leave it out, or use a machine with more or with a CUDA device"
        )


def folder_bytes(folder: Path, dtypes: Mapping[str, torch.dtype]) -> int:
    """Return the memory of a folder's weights in bytes, each part's in its own dtype or else the default one.

    Files whose names have a dot in them are other precisions of the same weights. Raises ModelUnavailable for damaged
    ones.
    """
    parts = [name for name, kind in read_index(folder).items() if isinstance(kind, list) and any(kind)]
    return sum(
        prod(shape) * dtypes.get(part, dtypes["default"]).itemsize
        for part in parts
        for file in (folder / part).glob(f"*{SUFFIX}")
        if "." not in file.stem
        for shape in read_shapes(file).values()
    )


def loading_failure(spec: DiffusersPipeline, name: str, error: Exception) -> str:
    """Return one line that says why a pipeline did not load, and what to do; no server path is in it."""
    if any(package in str(error) for package in TOKENIZER_PACKAGES):
        return f"{name} needs Python packages that are not installed here: pip install sentencepiece protobuf"
    if isinstance(error, ImportError):
        return f"{name} needs the Python package {error.name or 'that the log names'}, which is not installed here"
    if Path(spec.source).is_dir():
        return f"{name} could not be loaded: a file is missing, damaged or not safetensors ({type(error).__name__})"
    if isinstance(error, OSError):
        return (
            f"{name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub in "
            "safetensors: check the name and the connection"
        )
    return f"{name} was found, but could not be loaded ({type(error).__name__})"
