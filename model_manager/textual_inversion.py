"""Textual inversion (Gal et al. 2022, arXiv 2208.01618): learned embeddings that prompts name by a word.

Each vector of an embedding gets a token of its own, the placeholder, in a copy of the tokenizer; its row is added to a
copy of the text encoder's table. In a prompt, an embedding's name is replaced by its placeholders.
"""

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

from model_manager.hub import fetched
from model_manager.networks import TEXT_ENCODERS, sharing_copy, text_encoders_of
from model_manager.safetensors_header import read_shapes
from model_manager.single_file import naming_unreadable_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDING_FILE = "learned_embeds.safetensors"


def mentions(text: str, name: str) -> bool:
    """Return whether a text has a name as words of their own, in any case."""
    return _words([name]).search(text) is not None


def placeholder(name: str, index: int) -> str:
    """Return the token that stands for one vector of an embedding."""
    return f"<{name.lower()}:{index}>"


def with_placeholders(text: str, names: Iterable[str], tokens: Collection[str]) -> str:
    """Replace each embedding's name in a text by as many placeholders as there are among ``tokens``."""
    found = {name.lower(): " ".join(_placeholders(name, tokens)) for name in names}
    known = sorted(filter(found.get, found), key=len, reverse=True)  # the longest name first: "cat" is in "cat-toy"
    return _words(known).sub(lambda match: found[match.group().lower()], text) if known else text


def _placeholders(name: str, tokens: Collection[str]) -> Iterator[str]:
    """The placeholders of an embedding among the tokens, in order."""
    return takewhile(lambda token: token in tokens, (placeholder(name, index) for index in count()))


def _words(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)", re.IGNORECASE)


def with_embeddings(components: Mapping[str, Any], embeddings: Mapping[str, str]) -> dict[str, Any]:
    """Return copies of the tokenizers and text encoders with the embeddings that fit them; {} where none does.

    Args:
        components: of a checkpoint, by name; they stay as they are.
        embeddings: sources by name. One that was learned for text of another width is left out.

    Raises:
        ModelUnavailable: an embedding that cannot be fetched or read.
    """
    encoders = text_encoders_of(components)
    widths = {names.encoder: _token_table(components[names.encoder]).shape[1] for names in encoders}
    learned = {name: read_vectors(name, source) for name, source in embeddings.items()}
    fitting = {
        name: vectors
        for name, vectors in learned.items()
        if {encoder: tensor.shape[1] for encoder, tensor in vectors.items()} == widths
    }
    copies: dict[str, Any] = {}
    for encoder, tokenizer, _ in encoders if fitting else ():
        copies[encoder], copies[tokenizer] = sharing_copy(components[encoder]), copy.deepcopy(components[tokenizer])
        for name, vectors in fitting.items():
            _add_tokens(copies[encoder], copies[tokenizer], name, vectors[encoder])
    return copies


def read_vectors(name: str, source: str) -> "dict[str, torch.Tensor]":
    """Read an embedding's vectors by text encoder, each (vectors, width); raises ModelUnavailable.

    The layouts are those of A1111 (``emb_params``), of diffusers (the word itself), and of XL for two text encoders.
    """
    from safetensors.torch import load_file

    with naming_unreadable_files(f"the embedding {name}"):
        path = fetched(source, EMBEDDING_FILE)
        read_shapes(path)
        tensors = load_file(path)
        by_encoder = {names.encoder: tensors[key] for names in TEXT_ENCODERS if (key := names.embedding_key) in tensors}
        if not by_encoder:
            by_encoder = {"text_encoder": tensors.get("emb_params", next(iter(tensors.values())))}
        return {encoder: tensor.reshape(-1, tensor.shape[-1]) for encoder, tensor in by_encoder.items()}


def _add_tokens(
    encoder: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str, vectors: "torch.Tensor"
) -> None:
    """Give an embedding's placeholders to a tokenizer and its vectors to a text encoder, in place."""
    import torch

    tokens = [placeholder(name, index) for index in range(len(vectors))]
    tokenizer.add_tokens(tokens, special_tokens=True)
    numbers = tokenizer.convert_tokens_to_ids(tokens)
    table = _token_table(encoder)
    longer = torch.zeros(max(len(table), *(number + 1 for number in numbers)), table.shape[1]).to(table)
    longer[: len(table)] = table
    longer[numbers] = vectors.to(table)
    encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(longer))


def _token_table(encoder: "PreTrainedModel") -> "torch.Tensor":
    """A text encoder's vectors of all tokens: (tokens, width)."""
    return encoder.get_input_embeddings().weight.data
