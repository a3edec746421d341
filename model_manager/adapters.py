"""Adapters of one job, LoRAs and learned embeddings, in copies of a checkpoint's components that share its weights.

Adapters go into the copies' structure: nothing has to be taken off again, whatever happens to the job, and the
originals, which other jobs and modes share, never change. (Components that get hooks, for offloading, get them after
this: a copy would copy the hooks.)
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from errors import ModelUnavailable
from model_manager.builtin_models import Lora, ModelRow
from model_manager.hub import fetched
from model_manager.lora_file import Layer, SortedNames, Strengths, low_rank_pair, read_strengths, sort_names
from model_manager.networks import sharing_copy, text_encoders_of
from model_manager.safetensors_header import read_header, read_shapes
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
    return {**adapted, **with_loras(adapted, row.loras)} if row.loras else adapted


def with_loras(components: Mapping[str, Any], loras: Sequence[Lora]) -> dict[str, Any]:
    """Return copies of the UNet and the text encoders with LoRAs, every layer at the strength of its file; raises
    ModelUnavailable where one does not fit or is something else."""
    import torch

    added: dict[Layer, list[tuple[Any, Any]]] = {}
    for lora in loras:
        for layer, (down, up) in _pairs(components, lora).items():
            added.setdefault(layer, []).append((down, up * lora.scale))
    copies = {}
    for name in ("unet", *(encoder.encoder for encoder in text_encoders_of(components))):
        copies[name] = sharing_copy(components[name])
        # The sum of several is one whose ranks stand side by side.
        own = {
            layer.path: (torch.cat([down for down, _ in pairs]), torch.cat([up for _, up in pairs], dim=1))
            for layer, pairs in added.items()
            if layer.component == name
        }
        if own:
            _add_layers(copies[name], own)
    return copies


def _pairs(components: Mapping[str, Any], lora: Lora) -> dict[Layer, tuple[Any, Any]]:
    """The down and up weights of a LoRA by the layers of a checkpoint; raises ModelUnavailable."""
    from safetensors.torch import load_file

    with naming_unreadable_files(f"the LoRA {lora.name}"):
        path = fetched(lora.source, LORA_FILE)
        shapes, metadata = read_header(path)
        _refuse_relatives(lora.name, shapes)
        names = sort_names(shapes, components)
        if not names.layers:
            raise ModelUnavailable(f"the LoRA {lora.name} {_reason_of_nothing(names)}")
        weights = load_file(path)
        try:
            strengths = read_strengths(path, shapes, metadata)
            found = names.layers.items()
            return {layer: _pair(layer, parts, weights, components, strengths) for layer, parts in found}
        except ModelUnavailable as error:
            raise ModelUnavailable(f"the LoRA {lora.name} does not fit this checkpoint: {error}") from None


def _reason_of_nothing(names: SortedNames) -> str:
    if not names.foreign:
        return "is not a LoRA: it holds no low-rank weights under a name that is known"
    return f"fits nothing in this checkpoint: it was made for another kind, with layers such as {names.foreign[0]}"


def _pair(
    layer: Layer, parts: Mapping[str, str], weights: Mapping[str, Any], components: Mapping[str, Any], beside: Strengths
) -> tuple[Any, Any]:
    own = {part: weights[name] for part, name in parts.items()}
    wanted = tuple(components[layer.component].get_submodule(layer.path).weight.shape)
    strength = beside.of(layer, own["down"].shape[0]) if "down" in own else None
    return low_rank_pair(layer, own, wanted, strength)


def _add_layers(network: "Module", pairs: Mapping[str, tuple[Any, Any]]) -> None:
    """Wrap layers of a network in low-rank ones, in place. The ranks that peft makes them with are of no matter: their
    weights are replaced."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=1, lora_alpha=1, target_modules="|".join(map(re.escape, pairs)))
    inject_adapter_in_model(config, network, adapter_name=ADAPTER, low_cpu_mem_usage=True)
    for path, (down, up) in pairs.items():
        layer: Any = network.get_submodule(path)
        like = layer.get_base_layer().weight
        for name, weight in (("lora_A", down), ("lora_B", up)):
            layer_weight = torch.nn.Parameter(weight.to(like.device, like.dtype), requires_grad=False)
            getattr(layer, name)[ADAPTER].weight = layer_weight
        layer.scaling[ADAPTER] = 1.0


def left_out(lora: Lora, components: Mapping[str, Any]) -> Iterator[str]:
    """Yield a remark for what is in the file of a LoRA and is not applied to a checkpoint of these components."""
    names = sort_names(read_shapes(fetched(lora.source, LORA_FILE)), components)
    others = {"layers that this checkpoint does not have": names.foreign, "what is no LoRA": names.beside}
    for what, things in others.items():
        if things:
            more = f" and {len(things) - 1} more" if len(things) > 1 else ""
            yield f"The file of the LoRA {lora.name} also holds {what}, which is left out: {things[0]}{more}."


def _refuse_relatives(name: str, weights: Iterable[str]) -> None:
    """Raise ModelUnavailable for a relative of LoRA, by its weights' names."""
    for part, noun in RELATIVES.items():
        if any(part in weight for weight in weights):
            raise ModelUnavailable(f"the LoRA {name} is {noun}, which this program cannot apply")
