"""Adapters of one job, a LoRA and learned embeddings, in copies of a checkpoint's components that share its weights.

Adapters go into the copies' structure: nothing has to be taken off again, whatever happens to the job, and the
originals, which other jobs and modes share, never change. (Components that get hooks, for offloading, get them after
this: a copy would copy the hooks.)
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.builtin_models import Lora, ModelRow
from model_manager.hub import fetched
from model_manager.networks import sharing_copy, text_encoders_of
from model_manager.safetensors_header import read_shapes
from model_manager.single_file import naming_unreadable_files
from model_manager.textual_inversion import with_embeddings

if TYPE_CHECKING:
    from torch.nn import Module

ADAPTER = "job"  # no part of any weight's name: transformers takes weights with it in their names for the LoRA's
LORA_FILE = "pytorch_lora_weights.safetensors"
# Relatives of LoRA that are stored under the same ending but computed otherwise, by a part of their weights' names.
RELATIVES = {"hada_": "a LoHa", "lokr_": "a LoKr", "dora_scale": "a DoRA", "oft_": "an OFT"}


def apply_adapters(components: Mapping[str, Any], row: ModelRow) -> dict[str, Any]:
    """Return the components with the row's embeddings and LoRA in copies of those that they change.

    Raises ModelUnavailable, and nothing is half done. An embedding that was learned for text of another width is left
    out.
    """
    adapted = {**components, **with_embeddings(components, row.embeddings)}
    return adapted if row.lora is None else {**adapted, **with_lora(adapted, row.lora)}


def with_lora(components: Mapping[str, Any], lora: Lora) -> dict[str, Any]:
    """Return copies of the UNet and the text encoders with a LoRA; raises ModelUnavailable where it does not fit."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    from diffusers.utils import set_weights_and_activate_adapters

    encoders = [names.encoder for names in text_encoders_of(components)]
    copies = {name: sharing_copy(components[name]) for name in ("unet", *encoders)}
    unet = copies["unet"]
    with naming_unreadable_files(f"the LoRA {lora.name}"):
        path = fetched(lora.source, LORA_FILE)
        _refuse_relatives(lora.name, read_shapes(path))
        weights, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
            str(path), use_safetensors=True, return_lora_metadata=True, unet_config=unet.config
        )
        weights = {name: weight.to(unet.device, unet.dtype) for name, weight in weights.items()}
        given = {"network_alphas": alphas, "metadata": metadata, "adapter_name": ADAPTER, "low_cpu_mem_usage": True}
        StableDiffusionLoraLoaderMixin.load_lora_into_unet(weights, unet=unet, **given)
        for name in encoders:
            StableDiffusionLoraLoaderMixin.load_lora_into_text_encoder(
                weights, text_encoder=copies[name], prefix=name, **given
            )
    if not any(map(_has_adapter, copies.values())):
        raise ModelUnavailable(f"the LoRA {lora.name} fits nothing in this checkpoint: it was made for another kind")
    for network in copies.values():
        set_weights_and_activate_adapters(network, [ADAPTER], [lora.scale])
    return copies


def _has_adapter(network: "Module") -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in network.modules())


def _refuse_relatives(name: str, weights: Iterable[str]) -> None:
    """Raise ModelUnavailable for a relative of LoRA, by its weights' names."""
    for part, noun in RELATIVES.items():
        if any(part in weight for weight in weights):
            raise ModelUnavailable(f"the LoRA {name} is {noun}, which this program cannot apply")
