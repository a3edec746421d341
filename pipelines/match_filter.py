"""Dual-softmax filtering (DirecT2V, arXiv 2305.14330, section 3): tokens that match the anchor's badly attend to their
own frame. All is done by calls of attention, which hold no scores."""

import torch
from torch.nn import functional

KeysValues = tuple[torch.Tensor, torch.Tensor]
KNOWN_KEYS = 16


def replace_worst(
    attended: torch.Tensor, query: torch.Tensor, own: KeysValues, confidence: torch.Tensor, share: float
) -> torch.Tensor:
    """Dual-softmax filtering (DirecT2V, arXiv 2305.14330, section 3): where tokens match the anchor's with little
    confidence, what they get from it is replaced by what they get from their own frame.

    As many tokens of each frame and head as ``share`` says are replaced, those of the least confidence, so that the
    result for a frame depends on no other's. (The authors' code takes one quantile over the whole batch.) All guidance
    branches filter the same tokens, because guidance would exaggerate what they filter differently.

    Args:
        attended: attention to the anchors, (branches, frames, heads, tokens, channels of a head); likewise:
        query: of every frame.
        own: keys and values of every frame.
        confidence: ``match_confidence`` in the branch that decides, (frames, heads, tokens).
        share: of the tokens, 0 to 1.

    Returns:
        As ``attended``.
    """
    count = round(share * query.shape[-2])
    if count == 0:
        return attended
    worst = confidence.topk(count, dim=-1, largest=False, sorted=False).indices
    places = worst[None, ..., None].expand(len(query), -1, -1, -1, query.shape[-1])
    query, key, value = (tensor.flatten(0, 1) for tensor in (query.gather(-2, places), *own))
    own_answer = functional.scaled_dot_product_attention(query, key, value)
    return attended.scatter(-2, places, own_answer.view(places.shape).to(attended.dtype))


def match_confidence(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Confidence of queries in the keys that they match: the logarithm of the sum over the keys of softmax over the
    keys times softmax over the queries.

    Of scores s_ij that is log sum_j exp(2 s_ij - log sum_i exp s_ij) - log sum_j exp s_ij: three calls of attention,
    and scores are never held.

    Args:
        query: (frames, heads, tokens, channels).
        key: (frames, heads, key tokens, channels).

    Returns:
        (frames, heads, tokens) in float32.
    """
    scale = query.shape[-1] ** -0.5
    columns = log_sum_exp(key * scale, query)
    return log_sum_exp(query * (2 * scale), key, -columns) - log_sum_exp(query * scale, key)


def log_sum_exp(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """log sum_j exp(query_i key_j + bias_j), by a call of attention, which does not hold the scores.

    One more key is given whose score is known, and its value alone is 1: the share that it gets says what the others
    have together. Known is the best score among a few keys; where that is far below the best of all, its share is too
    small for the precision, and the result is a lower bound.

    Args:
        query: (..., tokens, channels).
        key: (..., key tokens, channels).
        bias: (..., key tokens), none by default.

    Returns:
        (..., tokens) in float32.
    """
    bias = torch.zeros_like(key[..., 0], dtype=torch.float32) if bias is None else bias
    coarse = bias.to(key.dtype)
    fine = (bias - coarse.float()).to(key.dtype)
    few = slice(None, None, max(1, key.shape[-2] // KNOWN_KEYS))
    known = ((query @ key[..., few, :].mT).float() + bias[..., None, few]).amax(-1).to(query.dtype)

    # Channels besides the given ones: twice the bias, the known score, and five zeros, as fast kernels want eighths.
    one, none = torch.ones_like(known), torch.zeros_like(known)
    query = torch.cat([query, torch.stack([one, one, known, *[none] * 5], -1)], -1)
    nothing = torch.zeros_like(coarse)
    key = torch.cat([key, torch.stack([coarse, fine, *[nothing] * 6], -1)], -1)
    last = torch.zeros_like(key[..., :1, :])
    last[..., -6] = 1
    key = torch.cat([key, last], -2)
    value = torch.zeros_like(key)
    value[..., -1, 0] = 1
    share = functional.scaled_dot_product_attention(query, key, value, scale=1.0)[..., 0].float()
    limits = torch.finfo(query.dtype)
    smallest = max(limits.smallest_normal * limits.eps, torch.finfo(torch.float32).smallest_normal)
    return known.float() + (1 / share.clamp(smallest, 0.5) - 1).log()
