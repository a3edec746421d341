"""A checkpoint's parts with a LoRA and learned words for one job, in copies that share every weight with the originals.

What is added goes into the copies' structure: nothing has to be taken off again, whatever happens to the job, and the
originals, which other jobs and modes share, never change. (Parts that get hooks, for offloading, get them after this: a
copy would copy the hooks.)
"""

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

from errors import ModelUnavailable
from generation.prompts import placeholder
from model_manager.builtin_models import Lora, ModelRow
from model_manager.safetensors_header import read_shapes
from model_manager.single_file import fetched

logger = logging.getLogger(__name__)
ADAPTER = "job"  # no part of any weight's name: transformers takes weights with it in their names for the LoRA's
LORA_FILE, EMBEDDING_FILE = "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"
# Each text encoder, its tokenizer, and what files for two text encoders (Stable Diffusion XL) call its vectors.
TEXT_PARTS = (("text_encoder", "tokenizer", "clip_l"), ("text_encoder_2", "tokenizer_2", "clip_g"))
# Relatives of LoRA that are stored under the same ending but computed otherwise, by a part of their weights' names.
RELATIVES = {"hada_": "a LoHa", "lokr_": "a LoKr", "dora_scale": "a DoRA", "oft_": "an OFT"}


def adapted(parts: Mapping[str, Any], row: ModelRow) -> dict[str, Any]:
    """The parts as the row wears them; raises ModelUnavailable, and nothing is half done.

    An embedding that was learned for text of another width is no word of this checkpoint and stays away.
    """
    worn = {**parts, **with_embeddings(parts, row.embeddings)}
    return worn if row.lora is None else {**worn, **with_lora(worn, row.lora)}


def sharing_copy(network: Any) -> Any:
    """A network of the same structure around the very same parameters and buffers."""
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, shared)


def with_lora(parts: Mapping[str, Any], lora: Lora) -> dict[str, Any]:
    """Copies of the UNet and the text encoders with a LoRA in them; raises ModelUnavailable where it does not fit."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    from diffusers.utils import set_weights_and_activate_adapters

    encoders = [encoder for encoder, _, _ in _text_parts(parts)]
    worn = {name: sharing_copy(parts[name]) for name in ("unet", *encoders)}
    unet = worn["unet"]
    with _one_line(f"the LoRA {lora.name}"):
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
                weights, text_encoder=worn[name], prefix=name, **given
            )
    if not any(map(_has_adapter, worn.values())):
        raise ModelUnavailable(f"the LoRA {lora.name} fits nothing in this checkpoint: it was made for another kind")
    for network in worn.values():
        set_weights_and_activate_adapters(network, [ADAPTER], [lora.scale])
    return worn


def _has_adapter(network: Any) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in network.modules())


def _refuse_relatives(name: str, weights: Mapping[str, Any]) -> None:
    for part, noun in RELATIVES.items():
        if any(part in weight for weight in weights):
            raise ModelUnavailable(f"the LoRA {name} is {noun}, which this program cannot apply")


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Whatever goes wrong with what an operator's file holds becomes a ModelUnavailable; the log gets the rest."""
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelUnavailable(f"{what} does not fit into memory now") from error
    except OSError as error:
        raise ModelUnavailable(f"{what} is not on this machine and could not be fetched") from error
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError, StopIteration) as error:
        logger.info("%s failed", what, exc_info=True)
        raise ModelUnavailable(f"{what} does not fit this checkpoint: it was made for another kind") from error


def with_embeddings(parts: Mapping[str, Any], embeddings: Mapping[str, str]) -> dict[str, Any]:
    """Copies of tokenizers and text encoders that know those of the learned words that fit; {} where none does."""
    encoders = _text_parts(parts)
    widths = {encoder: _table(parts[encoder]).shape[1] for encoder, _, _ in encoders}
    learned = {name: read_vectors(name, source) for name, source in embeddings.items()}
    fitting = {
        name: vectors
        for name, vectors in learned.items()
        if {encoder: tensor.shape[1] for encoder, tensor in vectors.items()} == widths
    }
    worn: dict[str, Any] = {}
    for encoder, tokenizer, _ in encoders if fitting else ():
        worn[encoder], worn[tokenizer] = sharing_copy(parts[encoder]), copy.deepcopy(parts[tokenizer])
        for name, vectors in fitting.items():
            _teach(worn[encoder], worn[tokenizer], name, vectors[encoder])
    return worn


def read_vectors(name: str, source: str) -> dict[str, Any]:
    """A learned word's vectors by text encoder, each (vectors, width); raises ModelUnavailable.

    Read are the layouts of A1111 (``emb_params``), of diffusers (the word itself), and for two text encoders.
    """
    from safetensors.torch import load_file

    with _one_line(f"the embedding {name}"):
        path = fetched(source, EMBEDDING_FILE)
        read_shapes(path)
        tensors = load_file(path)
        by_encoder = {encoder: tensors[key] for encoder, _, key in TEXT_PARTS if key in tensors}
        if not by_encoder:
            by_encoder = {"text_encoder": tensors.get("emb_params", next(iter(tensors.values())))}
        return {encoder: tensor.reshape(-1, tensor.shape[-1]) for encoder, tensor in by_encoder.items()}


def _teach(encoder: Any, tokenizer: Any, name: str, vectors: Any) -> None:
    """Give a word's placeholders to a tokenizer, and their vectors to a text encoder, in place."""
    import torch

    tokens = [placeholder(name, index) for index in range(len(vectors))]
    tokenizer.add_tokens(tokens, special_tokens=True)
    numbers = tokenizer.convert_tokens_to_ids(tokens)
    table = _table(encoder)
    longer = torch.zeros(max(len(table), *(number + 1 for number in numbers)), table.shape[1]).to(table)
    longer[: len(table)] = table
    longer[numbers] = vectors.to(table)
    encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(longer))


def _table(encoder: Any) -> Any:
    """A text encoder's vectors of all tokens: (tokens, width)."""
    return encoder.get_input_embeddings().weight.data


def _text_parts(parts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [names for names in TEXT_PARTS if parts.get(names[0]) is not None]
