"""Weights in prompts, as A1111 writes them: ``(text)`` 1.1 times as strong, ``(text:1.3)``, ``[text]`` weaker by 1.1.

Signs that nest multiply; ``\\(`` is a bracket. The embedding of each token is multiplied by its weight, and the mean of
all is then brought back to what it was, as A1111 does, so that plain words and weights of 1 give the very same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

ROUND, SQUARE = 1.1, 1 / 1.1
_SIGNS = re.compile(r"\\[()\[\]\\]|[()\[\]]|:\s*([+-]?\d*\.?\d+)\s*\)|.", re.DOTALL)


@dataclass(frozen=True)
class WeightedText:
    """Text without its signs, and the weight of each character; no weights where all are 1. A list of texts, and no
    text, stand for themselves."""

    text: Any
    weights: tuple[float, ...] = ()


def as_weighted(text: str | list[str] | None, *, weighted: bool) -> WeightedText:
    """Return what to encode of one text or of a list; only one has weights, and only if they are asked for."""
    return read_weights(text) if weighted and isinstance(text, str) else WeightedText(text)


def read_weights(text: str) -> WeightedText:
    """Read the weights in a text; a bracket that nothing opens is one, one that nothing closes counts to the end."""
    signs: list[str] = []
    weights: list[float] = []
    opened: list[tuple[str, int]] = []
    for match in _SIGNS.finditer(text):
        sign = match.group()
        if sign in ("(", "["):
            opened.append((sign, len(signs)))
        elif sign[-1] in ")]" and sign[0] != "\\" and opened and opened[-1][0] == {")": "(", "]": "["}[sign[-1]]:
            kind, start = opened.pop()
            strength = float(match[1]) if match[1] else ROUND if kind == "(" else SQUARE
            weights[start:] = [weight * strength for weight in weights[start:]]
        else:
            signs += sign[1:] if sign[0] == "\\" and len(sign) > 1 else sign
            weights += [1.0] * (len(signs) - len(weights))
    for kind, start in opened:
        weights[start:] = [weight * (ROUND if kind == "(" else SQUARE) for weight in weights[start:]]
    plain = all(weight == 1 for weight in weights)
    return WeightedText("".join(signs), () if plain else tuple(weights))


def plain_text(text: str) -> str:
    """Return a text without the signs of weights."""
    return read_weights(text).text


def weigh(embeddings: torch.Tensor, text: WeightedText, tokenizer: Any) -> torch.Tensor:
    """Return the embeddings of a text, (tokens, channels), with its weights."""
    if not text.weights:
        return embeddings
    options = {"truncation": True, "max_length": len(embeddings), "verbose": False, "return_offsets_mapping": True}
    places = tokenizer(text.text, **options).offset_mapping
    of_tokens = torch.ones(len(embeddings), 1)
    for token, (start, end) in enumerate(places):
        if end > start:  # others mark the beginning and the end
            of_tokens[token] = text.weights[start]
    weighted = embeddings.float() * of_tokens.to(embeddings.device)
    before, after = embeddings.float().mean(), weighted.mean()
    return (weighted * (before / after) if after.abs() > 1e-6 else weighted).to(embeddings.dtype)


def weigh_branches(embeddings: torch.Tensor, texts: Sequence[WeightedText], tokenizer: Any) -> torch.Tensor:
    """Return the embeddings of several texts, (branches, tokens, channels), each with its weights."""
    if not any(text.weights for text in texts):
        return embeddings
    return torch.stack([weigh(each, text, tokenizer) for each, text in zip(embeddings, texts, strict=True)])
