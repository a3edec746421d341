"""Cross-frame attention: every frame attends to the anchor frame (arXiv 2303.13439, section 3.3.2).

    Cross-Frame-Attn(Q^k, K^1:m, V^1:m) = Softmax(Q^k (K^1)^T / sqrt(c)) V^1

All frames of a guidance branch share one set of keys and values, so they fold into the query axis: one attention
call with ``frames x tokens`` queries and the keys and values of a single frame, nothing copied. The anchor's keys
and values can be recorded while its chunk is computed and reused for the other chunks of the same denoising step,
which is exactly what one joint batch would compute. Text keys and values do not change over the steps and are
projected once.

A model is patched by attention processors alone, inside ``with``, and what was there is put back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from einops import rearrange
from torch.nn import functional


class Anchoring(Enum):
    """Where self-attention takes its keys and values from."""

    FIRST = "the first frame of the batch"
    RECORD = "the first frame of the batch, kept for the chunks that follow"
    REUSE = "the frame that was recorded"
    NONE = "every frame itself"


class AnchorCache:
    """The anchor frame's keys and values, per layer, and the text's; alive inside one ``cross_frame_attention``."""

    def __init__(self, branches: int, anchoring: Anchoring) -> None:
        self.branches = branches
        self.anchoring = anchoring
        self.recorded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.text: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    @contextmanager
    def record(self) -> Iterator[None]:
        """Inside: the first frame of every batch is the anchor, and its keys and values are kept."""
        with self._anchored(Anchoring.RECORD):
            yield

    @contextmanager
    def reuse(self) -> Iterator[None]:
        """Inside: no frame of the batch is the anchor; all attend to the one recorded last."""
        with self._anchored(Anchoring.REUSE):
            yield

    @contextmanager
    def _anchored(self, anchoring: Anchoring) -> Iterator[None]:
        before = self.anchoring
        if before is not Anchoring.NONE:
            self.anchoring = anchoring
        try:
            yield
        finally:
            self.anchoring = before

    def clear(self) -> None:
        """Forget everything."""
        self.recorded.clear()
        self.text.clear()


class CrossFrameAttnProcessor:
    """The attention processor of one layer; batches are ``(branch frame)``, as many branches as the cache says."""

    def __init__(self, cache: AnchorCache, layer: str) -> None:
        self.cache = cache
        self.layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of ``hidden_states`` (branch frame, tokens, channels) to the anchor frame, or, where given, to
        ``encoder_hidden_states`` (branch, text tokens, channels)."""
        if attention_mask is not None or hidden_states.ndim != 3:
            raise ValueError("cross-frame attention takes (batch, tokens, channels) and no attention mask")
        residual = hidden_states
        query = attn.to_q(hidden_states)
        if encoder_hidden_states is None:
            key, value = self.anchor_keys_values(attn, hidden_states)
        else:
            key, value = self.text_keys_values(attn, encoder_hidden_states)
        attended = attend(query, key, value, attn.heads)
        output = attn.to_out[1](attn.to_out[0](attended))
        if attn.residual_connection:
            output = output + residual
        return output / attn.rescale_output_factor

    def anchor_keys_values(self, attn: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Self-attention's keys and values, (groups, tokens, channels): a group of frames per branch, or per frame."""
        anchoring = self.cache.anchoring
        if anchoring is Anchoring.REUSE:
            return self.cache.recorded[self.layer]
        source = hidden_states
        if anchoring is not Anchoring.NONE:
            source = rearrange(hidden_states, "(b f) n c -> b f n c", b=self.cache.branches)[:, 0]
        keys_values = attn.to_k(source), attn.to_v(source)
        if anchoring is Anchoring.RECORD:
            self.cache.recorded[self.layer] = keys_values
        return keys_values

    def text_keys_values(self, attn: Any, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The text's keys and values, projected once for as long as the very same tensor is passed."""
        known = self.cache.text.get(self.layer)
        if known is None or known[0] is not text:
            states = attn.norm_encoder_hidden_states(text) if attn.norm_cross else text
            known = self.cache.text[self.layer] = (text, attn.to_k(states), attn.to_v(states))
        return known[1], known[2]


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of frames that share keys and values.

    Args:
        query: (groups frames, tokens, channels).
        key, value: (groups, key tokens, channels), one for all frames of a group.
        heads: attention heads; channels are divided among them.

    Returns:
        (groups frames, tokens, channels).
    """
    groups, tokens = key.shape[0], query.shape[1]
    query = rearrange(query, "(g f) n (h d) -> g h (f n) d", g=groups, h=heads)
    key, value = (rearrange(tensor, "g n (h d) -> g h n d", h=heads) for tensor in (key, value))
    attended = functional.scaled_dot_product_attention(query, key, value)
    return rearrange(attended, "g h (f n) d -> (g f) n (h d)", n=tokens)


@contextmanager
def cross_frame_attention(*networks: Any, branches: int, enabled: bool = True) -> Iterator[AnchorCache]:
    """Patch diffusers networks (a UNet, ControlNets) for as long as the ``with`` lasts.

    Args:
        networks: models with ``attn_processors`` and ``set_attn_processor``.
        branches: how many guidance branches a batch holds, ordered ``(branch frame)``.
        enabled: False leaves every frame to itself (the paper's ablation); text is handled alike.

    Yields:
        The cache, with ``record()`` and ``reuse()`` for work in chunks. Without them the first frame of each
        batch is its anchor.
    """
    cache = AnchorCache(branches, Anchoring.FIRST if enabled else Anchoring.NONE)
    before = [dict(network.attn_processors) for network in networks]
    try:
        for index, (network, processors) in enumerate(zip(networks, before, strict=True)):
            network.set_attn_processor({name: CrossFrameAttnProcessor(cache, f"{index}.{name}") for name in processors})
        yield cache
    finally:
        for network, processors in zip(networks, before, strict=True):
            network.set_attn_processor(dict(processors))
        cache.clear()
