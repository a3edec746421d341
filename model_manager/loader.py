"""From a registry row to a pipeline's components on a device; the only place that loads weights.

Safetensors only, but where a row says ``pickled``; no remote code. Loaded networks are kept and shared between modes
for as long as they fit a memory budget; the least recently used go first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from errors import ModelUnavailable
from model_manager.adapters import apply_adapters
from model_manager.builtin_models import ModelRow
from model_manager.checkpoint_file import read_checkpoint_file, read_facts
from model_manager.checkpoint_formats import KNOWN, format_of
from model_manager.compatibility import refuse_controlnet, refuse_other_task, refuse_unknown_latents, refuse_vae
from model_manager.discovery import name_of
from model_manager.free_memory import available_bytes
from model_manager.hub import from_folder_or_hub
from model_manager.memory import UNKNOWN_BYTES, device_bytes, free_card_bytes, give_back_memory, is_shared
from model_manager.networks import networks_of, weights_bytes
from model_manager.single_file import read_controlnet, read_vae
from utils import LOADING_ERRORS, choose_dtype, memory_errors, quiet_libraries

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, ControlNetModel, DiffusionPipeline, ModelMixin, UNet2DConditionModel

logger = logging.getLogger(__name__)
SINGLE_FILES: Mapping[str, Callable[[Path, Any], Any]] = {"AutoencoderKL": read_vae, "ControlNetModel": read_controlnet}
LEFT_OUT = ("safety_checker", "image_encoder")  # components that no pipeline here uses
Key = tuple[str, ...]  # of what is held: its kind and its source
Placed = TypeVar("Placed", bound="ModelMixin | DiffusionPipeline")


class OutOfMemory(ModelUnavailable):
    """Networks that do not fit now and may fit when others have gone."""


class Loader:
    """Loads checkpoints and networks that go with them, each once, and lets the least recently used ones go.

    Args:
        device: of PyTorch, where networks go.
        budget_bytes: of weights held, half of the device's memory by default. Networks that one job needs together
            are kept even where they alone are more.
    """

    def __init__(self, device: str, budget_bytes: int | None = None) -> None:
        quiet_libraries()
        self.device = device
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[Key, Any] = OrderedDict()  # components or one network; the least recently used first

    def components(self, row: ModelRow) -> dict[str, Any]:
        """Return a checkpoint's components by name (``vae``, ``unet``, ``text_encoder``, ``tokenizer``, ``scheduler``
        and so on), on the device and in its precision, with the row's adapters; begins a job.

        Raises ModelUnavailable with advice; nothing is half loaded.
        """
        if row.vae is None and Path(row.source).is_file() and read_facts(row.name, Path(row.source)).needs_vae:
            raise ModelUnavailable(f"{row.name} has no VAE: choose one for it (--vae)")
        base = ("checkpoint", row.source)
        parts = self._get(base, lambda: load_components(row, self.device), keep=())
        if row.unet is not None:
            parts = {**parts, "unet": self._network("UNet2DConditionModel", ("unet", row.unet), keep=(base,))}
        if row.vae is not None:
            parts = {**parts, "vae": self._vae(row, row.vae, parts["vae"])}
        refuse_other_task(row.name, parts, edits=row.edits)
        return apply_adapters(parts, row)

    def _vae(self, row: ModelRow, source: str, own: AutoencoderKL) -> AutoencoderKL:
        """The VAE that takes the place of the checkpoint's own; raises ModelUnavailable where it does not fit."""
        keep = (("checkpoint", row.source), ("unet", row.unet or ""))
        vae = self._network("AutoencoderKL", ("vae", source), keep=keep, like=own)
        refuse_vae(row.name, own, source, vae)
        return vae

    def controlnet(self, row: ModelRow, control: str, unet: UNet2DConditionModel) -> ControlNetModel:
        """Return the row's ControlNet for a control; raises ModelUnavailable where it cannot be had or does not fit."""
        keep = (("checkpoint", row.source), ("unet", row.unet or ""), ("vae", row.vae or ""))
        key = ("controlnet", row.controlnets[control])
        controlnet = self._network("ControlNetModel", key, keep=keep, like=unet)
        refuse_controlnet(row.name, control, unet, controlnet)
        return controlnet

    def free_bytes(self, networks: Collection[ModelMixin]) -> int:
        """Return the memory that a job with these networks may take of the device, they themselves included: of a
        graphics card all that is free, of memory that is shared with all other programs half of what there is."""
        if is_shared(self.device):
            half, there = (device_bytes(self.device) or UNKNOWN_BYTES) // 2, self.available_bytes(networks)
            return half if there is None else min(half, there)
        return free_card_bytes(self.device) + weights_bytes(networks, "cuda")

    def available_bytes(self, networks: Collection[ModelMixin] = ()) -> int | None:
        """Return the bytes of the machine's memory that a job with these networks can have, they and all that could go
        for it included; None where the system does not say."""
        there = available_bytes()
        held = [*networks, *(network for value in self._held.values() for network in _networks_in(value))]
        return None if there is None else there + weights_bytes({id(network): network for network in held}.values())

    def keep_only(self, networks: Collection[ModelMixin]) -> None:
        """Let go of everything that shares no weights with these networks, for a job that has too little memory."""
        needed = _weight_ids(networks)
        self._evict(0, {key for key, value in self._held.items() if needed & _weight_ids(_networks_in(value))})

    def release(self) -> None:
        """Let go of everything."""
        self._held.clear()
        give_back_memory(self.device)

    def _network(self, kind: str, key: Key, *, keep: Collection[Key], like: ModelMixin | None = None) -> Any:
        """The network that is held under a key, or loaded from its source; see ``load_network``."""
        return self._get(key, lambda: load_network(kind, key[1], self.device, like=like), keep)

    def _get(self, key: Key, load: Callable[[], Any], keep: Collection[Key]) -> Any:
        """The networks held under a key, or else loaded, for which others but ``keep`` may have to go."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        kept = {key, *keep}
        # How much is coming is not known before it is here; as much as the largest that is here is a fair guess.
        largest = max(map(_bytes_of, self._held.values()), default=0)
        self._evict(self._budget() - largest, kept)
        fits = True
        try:
            self._held[key] = load()
        except OutOfMemory as error:
            logger.info("not enough memory at first: %s", error)
            fits = False
        if not fits:  # here, where the error no longer holds on to what was half loaded
            self._evict(0, kept)
            give_back_memory(self.device)
            self._held[key] = load()
        self._evict(self._budget(), kept)
        return self._held[key]

    def _evict(self, budget: int, keep: Collection[Key]) -> None:
        """Let go of the least recently used until the rest fits, and give the device's memory back."""
        gone = False
        for key in [key for key in self._held if key not in keep]:
            if sum(map(_bytes_of, self._held.values())) <= budget:
                break
            del self._held[key]
            gone = True
        if gone:
            give_back_memory(self.device)

    def _budget(self) -> int:
        return self.budget_bytes if self.budget_bytes is not None else device_bytes(self.device) // 2


def _networks_in(held: dict[str, Any] | ModelMixin) -> list[ModelMixin]:
    """A checkpoint's networks, or the one network."""
    return list(networks_of(held).values()) if isinstance(held, dict) else [held]


def _bytes_of(held: dict[str, Any] | ModelMixin) -> int:
    return weights_bytes(_networks_in(held))


def _weight_ids(networks: Collection[ModelMixin]) -> set[int]:
    return {id(weight) for network in networks for weight in network.parameters()}


def load_network(kind: str, source: str, device: str, *, like: ModelMixin | None = None) -> Any:
    """Load one network onto a device.

    Args:
        kind: its class of diffusers.
        source: a folder, a Hub id, or a single file.
        device: of PyTorch.
        like: for a single file, the network that it is built like (a VAE) or for (a ControlNet's UNet).

    Raises ModelUnavailable with advice, OutOfMemory where it does not fit.
    """
    import diffusers

    name = name_of(source) if Path(source).is_absolute() else source
    with _loading(name, device, lambda error: _network_refusal(name, source, error)):
        if Path(source).is_file():
            network = SINGLE_FILES[kind](Path(source), like).to(choose_dtype(device))
        else:
            network = from_folder_or_hub(
                getattr(diffusers, kind), source, use_safetensors=True, torch_dtype=choose_dtype(device)
            )
        return settle(network.eval(), [network], device)


def load_components(row: ModelRow, device: str) -> dict[str, Any]:
    """Load the components of a row's checkpoint onto a device; raises ModelUnavailable with advice, OutOfMemory."""
    import diffusers

    with _loading(row.name, device, lambda error: _checkpoint_refusal(row, error)):
        kind = format_of(row.name, row.source)
        reader, options = getattr(diffusers, kind.reader), {"dtype": choose_dtype(device), **kind.options}
        if Path(row.source).is_file():
            pipeline = read_checkpoint_file(
                row.name, Path(row.source), read_facts(row.name, Path(row.source)), kind.reader, **options
            )
        else:
            safe = None if row.pickled else True
            pipeline = from_folder_or_hub(reader, row.source, use_safetensors=safe, variant=row.variant, **options)
        settle(pipeline, networks_of(pipeline.components).values(), device)
    refuse_unknown_latents(row.name, pipeline.components)
    parts = {name: part for name, part in pipeline.components.items() if name not in LEFT_OUT}
    return parts | {name: pipeline.config[name] for name in kind.kept}


def settle(whole: Placed, networks: Collection[ModelMixin], device: str) -> Placed:
    """Place a network or pipeline on the device where there is room for its networks, else in main memory, from where
    each comes when it is needed (see memory.py)."""
    if is_shared(device) or weights_bytes(networks) < free_card_bytes(device):
        return whole.to(device)
    logger.info("too large for the free memory of %s: left in main memory", device)
    return whole


@contextmanager
def _loading(name: str, device: str, refusal: Callable[[Exception], str]) -> Iterator[None]:
    """Log the loading of a model, and turn errors of files and libraries into ModelUnavailable with advice."""
    import torch
    from huggingface_hub.errors import StrictDataclassError

    logger.info("loading %s on %s", name, device)
    try:
        with memory_errors():
            yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{name} does not fit into the memory of {device} now") from error
    except (*LOADING_ERRORS, StrictDataclassError) as error:
        logger.info("loading %s failed", name, exc_info=True)
        raise ModelUnavailable(refusal(error)) from error


def _network_refusal(name: str, source: str, error: Exception) -> str:
    """One line on a network that did not load, without a server path."""
    if Path(source).is_absolute():
        return f"{name} is missing, damaged or not safetensors ({type(error).__name__})"
    return (
        f"{name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub: check the "
        "connection"
    )


def _checkpoint_refusal(row: ModelRow, error: Exception) -> str:
    """One line on a checkpoint that did not load, with advice and without a server path."""
    source = Path(row.source)
    if source.is_file():
        return (
            f"{row.name} could not be read as a Stable Diffusion checkpoint: weights are missing, or are not those of "
            f"its kind ({type(error).__name__})"
        )
    if source.is_dir():
        return f"{row.name} could not be loaded: a file is missing, damaged or not safetensors ({type(error).__name__})"
    if not isinstance(error, OSError):
        return f"{row.name} was found, but is not a checkpoint of {KNOWN} ({type(error).__name__})"
    return (
        f"{row.name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub in "
        "safetensors: check the name and the connection, or start with --model and a local folder or .safetensors file"
    )
