"""Networks among a checkpoint's components: their size, the text encoders, and copies that share every weight."""

import copy
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch.nn import Module


class TextEncoder(NamedTuple):
    """Component names of one text encoder and its tokenizer, and its key in embedding files for two encoders (XL)."""

    encoder: str
    tokenizer: str
    embedding_key: str


TEXT_ENCODERS = (
    TextEncoder("text_encoder", "tokenizer", "clip_l"),
    TextEncoder("text_encoder_2", "tokenizer_2", "clip_g"),
)


def networks_of(components: Mapping[str, Any]) -> dict[str, Any]:
    """Return the networks among a pipeline's components, by name."""
    return {name: component for name, component in components.items() if hasattr(component, "parameters")}


def weights_bytes(networks: Iterable["Module"], device: str = "") -> int:
    """Return the memory that networks take, in bytes, on all or on one kind of device."""
    weights = (weight for network in networks for weight in network.parameters())
    return sum(weight.numel() * weight.element_size() for weight in weights if str(weight.device).startswith(device))


def text_encoders_of(components: Mapping[str, Any]) -> list[TextEncoder]:
    """Return the text encoders that a checkpoint has."""
    return [names for names in TEXT_ENCODERS if components.get(names.encoder) is not None]


def sharing_copy(network: "Module") -> Any:
    """Copy a network's structure around the very same parameters and buffers."""
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, shared)
