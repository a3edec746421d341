"""Networks among a checkpoint's components: the text encoders, and copies that share every weight."""

import copy
from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple


class TextEncoder(NamedTuple):
    """Component names of one text encoder and its tokenizer, and its key in embedding files for two encoders (XL)."""

    encoder: str
    tokenizer: str
    embedding_key: str


TEXT_ENCODERS = (
    TextEncoder("text_encoder", "tokenizer", "clip_l"),
    TextEncoder("text_encoder_2", "tokenizer_2", "clip_g"),
)


def text_encoders_of(components: Mapping[str, Any]) -> list[TextEncoder]:
    """Return the text encoders that a checkpoint has."""
    return [names for names in TEXT_ENCODERS if components.get(names.encoder) is not None]


def sharing_copy(network: Any) -> Any:
    """Copy a network's structure around the very same parameters and buffers."""
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, shared)
