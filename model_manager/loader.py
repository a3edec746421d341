"""From a registry row to a pipeline's parts on a device; the only place that loads weights.

Safetensors only, but where a row says ``pickled``; no remote code. What was loaded is kept and shared between modes for
as long as it fits a memory budget; what was used longest ago goes first.
"""

import gc
import json
import logging
import os
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from errors import ModelUnavailable
from model_manager.adapters import apply_adapters
from model_manager.builtin_models import ModelRow
from model_manager.checkpoint_formats import FAMILIES, KNOWN, class_of
from model_manager.discovery import name_of
from model_manager.memory import UNKNOWN_BYTES, free_card_bytes, is_shared, networks_of
from model_manager.memory import weights_bytes as bytes_of
from model_manager.single_file import read_controlnet, read_vae
from utils import LOADING_ERRORS, choose_dtype, local_or_hub

logger = logging.getLogger(__name__)
SINGLE_FILES: Mapping[str, Callable[[Path, Any], Any]] = {"AutoencoderKL": read_vae, "ControlNetModel": read_controlnet}
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Loader:
    """Loads checkpoints and what goes with them, each once, and lets the least recently used ones go.

    ``budget_bytes`` bounds the weights held, by itself half of the device's memory. What one job needs together is
    kept, also where that alone is more.
    """

    def __init__(self, device: str, budget_bytes: int | None = None) -> None:
        self.device = device
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[tuple[str, ...], Any] = OrderedDict()  # the least recently used first

    def components(self, row: ModelRow) -> dict[str, Any]:
        """The parts by name (``vae``, ``unet``, ``text_encoder``, ``tokenizer``, ``scheduler`` and so on), on the
        device and in its precision; begins a job.

        Raises ModelUnavailable with what to do; nothing is half loaded.
        """
        parts = self._get(("checkpoint", row.source), lambda: load_components(row, self.device), keep=())
        base = ("checkpoint", row.source)
        if row.unet is not None:
            source = row.unet
            unet = self._get(("unet", source), lambda: load_network("UNet2DConditionModel", source, self), keep=(base,))
            parts = {**parts, "unet": unet}
        if row.vae is not None:
            parts = {**parts, "vae": self._vae(row, row.vae, parts["vae"])}
        kind = (parts["unet"].config.in_channels == 2 * parts["vae"].config.latent_channels) == row.edits
        if not kind:
            raise ModelUnavailable(f"{row.name} is not {'an editing' if row.edits else 'a text-to-image'} checkpoint")
        return apply_adapters(parts, row)

    def _vae(self, row: ModelRow, source: str, own: Any) -> Any:
        """The VAE that takes the place of the checkpoint's own; raises ModelUnavailable where it does not fit."""
        keep = (("checkpoint", row.source), ("unet", row.unet or ""))
        vae = self._get(("vae", source), lambda: load_network("AutoencoderKL", source, self, own), keep=keep)
        for what, wanted, given in zip(VAE_FACTS, vae_facts(own), vae_facts(vae), strict=True):
            if wanted != given:
                raise ModelUnavailable(
                    f"the VAE {name_of(source)} does not fit {row.name}: its {what} is {given}, not {wanted}"
                )
        return vae

    def controlnet(self, row: ModelRow, control: str, unet: Any) -> Any:
        """The row's ControlNet for a control; raises ModelUnavailable where it cannot be had or does not fit."""
        source = row.controlnets[control]
        keep = (("checkpoint", row.source), ("unet", row.unet or ""), ("vae", row.vae or ""))
        network = self._get(
            ("controlnet", source), lambda: load_network("ControlNetModel", source, self, unet), keep=keep
        )
        ours, theirs = (part.config.cross_attention_dim for part in (unet, network))
        if ours != theirs or unet.config.in_channels != network.config.in_channels:
            raise ModelUnavailable(
                f"the ControlNet for {control} is not made for checkpoints like {row.name} (text width {theirs}, not "
                f"{ours}): choose a Stable Diffusion 1.x checkpoint"
            )
        return network

    def free_bytes(self, networks: Collection[Any]) -> int:
        """What a job with these networks may have of the device, what they take there now included: of a graphics card
        what is free, of memory that is shared with all other programs half of what there is."""
        if is_shared(self.device):
            return (device_bytes(self.device) or UNKNOWN_BYTES) // 2
        return free_card_bytes(self.device) + bytes_of(networks, "cuda")

    def keep_only(self, networks: Collection[Any]) -> None:
        """Let go of everything that shares no weights with these networks, for a job that has too little memory."""
        needed = {id(weight) for network in networks for weight in network.parameters()}
        held = {
            key: {id(weight) for network in networks_in(value) for weight in network.parameters()}
            for key, value in self._held.items()
        }
        self._evict(0, {key for key, weights in held.items() if needed & weights})

    def release(self) -> None:
        """Let go of everything."""
        self._held.clear()
        give_back_memory(self.device)

    def _get(self, key: tuple[str, ...], load: Callable[[], Any], keep: Collection[tuple[str, ...]]) -> Any:
        """What is held under the key, or what ``load`` gives, for which others but ``keep`` may have to go."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        kept = {key, *keep}
        # How much is coming is not known before it is here; as much as the largest that is here is a fair guess.
        largest = max((weights_bytes(value) for value in self._held.values()), default=0)
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

    def _evict(self, budget: int, keep: Collection[tuple[str, ...]]) -> None:
        """Let go of the least recently used until the rest fits, and give the device's memory back."""
        gone = False
        for key in [key for key in self._held if key not in keep]:
            if sum(map(weights_bytes, self._held.values())) <= budget:
                break
            del self._held[key]
            gone = True
        if gone:
            give_back_memory(self.device)

    def _budget(self) -> int:
        return self.budget_bytes if self.budget_bytes is not None else device_bytes(self.device) // 2


def give_back_memory(device: str) -> None:
    """Free what nobody holds any more."""
    gc.collect()  # pipelines hold their parts in circles
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


class OutOfMemory(ModelUnavailable):
    """What does not fit now may fit when others have gone."""


def weights_bytes(value: Any) -> int:
    """The memory of a network, or of a checkpoint's networks, in bytes."""
    return bytes_of(networks_in(value))


def networks_in(value: Any) -> list[Any]:
    """A network, or a checkpoint's networks."""
    return [part for part in (value.values() if isinstance(value, dict) else [value]) if hasattr(part, "parameters")]


def device_bytes(device: str) -> int:
    """The memory of a device in bytes; processors and Apple's graphics share the machine's, or what a container may
    have of it. 0 where the system does not say."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    if not hasattr(os, "sysconf"):
        return 0
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CONTAINER_LIMIT.read_text().strip() if CONTAINER_LIMIT.exists() else ""
    return min(machine, int(limit)) if limit.isdecimal() else machine


VAE_FACTS = ("number of latent channels", "scale in pixels", "scaling factor")


def vae_facts(vae: Any) -> tuple[int, int, float]:
    """What a UNet takes for granted of its VAE, as VAE_FACTS says."""
    return vae.config.latent_channels, 2 ** (len(vae.config.block_out_channels) - 1), vae.config.scaling_factor


def load_network(kind: str, source: str, loader: Loader, like: Any = None) -> Any:
    """One network of diffusers from a folder, the Hub, or a file that is built like another network or for it, on the
    loader's device; raises ModelUnavailable."""
    import diffusers
    import torch

    name = name_of(source) if Path(source).is_absolute() else source
    logger.info("loading %s on %s", name, loader.device)
    try:
        if Path(source).is_file():
            network = SINGLE_FILES[kind](Path(source), like).to(choose_dtype(loader.device))
        else:
            network = from_folder_or_hub(
                getattr(diffusers, kind), source, use_safetensors=True, torch_dtype=choose_dtype(loader.device)
            )
        return settle(network.eval(), [network], loader.device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{name} does not fit into the memory of {loader.device} now") from error
    except LOADING_ERRORS as error:
        logger.info("loading %s failed", name, exc_info=True)
        if Path(source).is_absolute():
            raise ModelUnavailable(f"{name} is missing, damaged or not safetensors ({type(error).__name__})") from error
        raise ModelUnavailable(
            f"{name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub: check "
            "the connection"
        ) from error


def settle(whole: Any, networks: Collection[Any], device: str) -> Any:
    """A network or pipeline on the device where there is room for its networks, else in main memory, from where each
    comes when it is needed (see memory.py)."""
    if is_shared(device) or bytes_of(networks) < free_card_bytes(device):
        return whole.to(device)
    logger.info("too large for the free memory of %s: left in main memory", device)
    return whole


def silence_libraries() -> None:
    """Their progress bars and remarks are for programmers."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def load_components(row: ModelRow, device: str) -> dict[str, Any]:
    """Load one row's parts onto a device; raises ModelUnavailable."""
    import diffusers
    import torch

    silence_libraries()
    source = Path(row.source)
    check_source(row, source)
    logger.info("loading %s on %s", row.name, device)
    try:
        family = FAMILIES.get(kind := class_of(row.source))
        if family is None:
            raise ModelUnavailable(f"{row.name} is a {kind}; this program takes {KNOWN}")
        reader, options = getattr(diffusers, family.reader), {"dtype": choose_dtype(device), **family.options}
        if source.is_file():
            pipeline = reader.from_single_file(str(source), **options)
        else:
            safe = None if row.pickled else True
            pipeline = from_folder_or_hub(reader, row.source, use_safetensors=safe, variant=row.variant, **options)
        settle(pipeline, networks_of(pipeline).values(), device)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{row.name} does not fit into the memory of {device} now") from error
    except LOADING_ERRORS as error:
        logger.info("loading %s failed", row.name, exc_info=True)
        raise ModelUnavailable(reason(row, source, error)) from error
    if pipeline.unet.config.in_channels not in (pipeline.vae.config.latent_channels * count for count in (1, 2)):
        raise ModelUnavailable(f"{row.name} is not a text-to-image checkpoint (inpainting?)")
    if "sigma_data" in pipeline.scheduler.config:
        raise ModelUnavailable(f"{row.name} is made for another kind of noise (EDM), which no scheduler here draws")
    parts = {
        name: part for name, part in pipeline.components.items() if name not in ("safety_checker", "image_encoder")
    }
    return parts | {name: pipeline.config[name] for name in family.kept}


def from_folder_or_hub(kind: Any, source: str, *, check: Callable[[Path], None] | None = None, **options: Any) -> Any:
    """A pipeline or network of diffusers. ``check`` is shown a pipeline's folder when all its files are on this machine
    and none of its weights in memory."""

    def read(**where: Any) -> Any:
        if check is not None:
            check(Path(source) if Path(source).is_dir() else Path(kind.download(source, **options, **where)))
        return kind.from_pretrained(source, **options, **where)

    return local_or_hub(source, read)


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
        if kind not in FAMILIES:
            raise ModelUnavailable(f"{row.name} is a {kind}; this program takes {KNOWN}")


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
        return f"{row.name} was found, but is not a checkpoint of {KNOWN} ({type(error).__name__})"
    return (
        f"{row.name} is not on this machine, or not whole, and could not be fetched from the Hugging Face Hub in "
        "safetensors: check the name and the connection, or start with --model and a local folder or .safetensors file"
    )
