"""Cross-frame attention: every frame attends to the anchor frame (arXiv 2303.13439, section 3.3.2).

    Cross-Frame-Attn(Q^k, K^1:m, V^1:m) = Softmax(Q^k (K^1)^T / sqrt(c)) V^1

All frames of a guidance branch share one set of keys and values, so they fold into the query axis: one attention
call with ``frames x tokens`` queries and the keys and values of a single frame, nothing copied. The anchor's keys
and values can be recorded while its chunk is computed and reused for the other chunks of the same denoising step,
which is exactly what one joint batch would compute. Text keys and values do not change over the steps and are
projected once.

DirecT2V (arXiv 2305.14330) adds two things, here as options: the anchor frame rotates over the denoising steps, and
where a frame's tokens match the anchor's badly they attend to their own frame. Other choices of the anchor are
ControlVideo's (arXiv 2305.13077, section 3.2).

A model is patched by attention processors alone, inside ``with``, and what was there is put back.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import torch
from einops import rearrange
from torch.nn import functional

from pipelines.match_filter import KeysValues, match_confidence, replace_worst

Anchors = Literal["first", "previous", "first + previous", "all"]


@dataclass(frozen=True)
class CrossFrame:
    """Options of attention between frames.

    ``enabled``: False leaves every frame to itself (the paper's ablation).
    ``anchors``: which frames the keys and values are of: the first, the one before, both, or all of them. "all" needs
    the whole video in one batch.
    ``period``: rotational value mapping (DirecT2V): for so many steps one frame is the anchor, then the next one;
    0 keeps the first. Wants ``anchors`` "first".
    ``filtered``: dual-softmax filtering (DirecT2V): this share of each frame's tokens, those that match the anchor
    worst, attend to their own frame; 0 is off.
    ``blocks``: beginnings of the names of the layers that it applies to, such as "up_blocks"; all by default.
    """

    enabled: bool = True
    anchors: Anchors = "first"
    period: int = 0
    filtered: float = 0.0
    blocks: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        if self.period < 0 or not 0 <= self.filtered < 1:
            raise ValueError(f"need period >= 0 and 0 <= filtered < 1, not {self.period} and {self.filtered}")
        if self.period and self.anchors != "first":
            raise ValueError(f"only one anchor can rotate, not {self.anchors!r}")

    def anchor_at(self, step: int, frames: int) -> int:
        """Return the number of the frame that is the anchor at a step."""
        return step // self.period % frames if self.period else 0


class Chunking(Enum):
    """Part of a video that a batch is."""

    WHOLE = "all frames, or all that there are yet"
    FIRST = "the first chunk of a step: what the others need of it is kept"
    LATER = "a later chunk: what it needs was kept"


class AnchorCache:
    """Keys and values that layers keep of one chunk for the next, of the anchor and of the frame before, and the
    text's; alive inside one ``cross_frame_attention``."""

    def __init__(self, branches: int, options: CrossFrame, text_branch: int = -1) -> None:
        self.branches = branches
        self.text_branch = text_branch
        self.options = options
        self.chunking = Chunking.WHOLE
        self.position = 0
        self.recorded: dict[str, KeysValues] = {}
        self.before: dict[str, KeysValues] = {}
        self.text: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def whole(self, position: int = 0) -> AbstractContextManager[None]:
        """Inside: a batch is a whole video, and the frame at this position in it is the anchor."""
        return self._chunk(Chunking.WHOLE, position)

    def record(self, position: int = 0) -> AbstractContextManager[None]:
        """Inside: the frame at this position of every batch is the anchor, and its keys and values are kept."""
        return self._chunk(Chunking.FIRST, position)

    def reuse(self) -> AbstractContextManager[None]:
        """Inside: no frame of the batch is the anchor; all attend to the one recorded last."""
        return self._chunk(Chunking.LATER, 0)

    @contextmanager
    def _chunk(self, chunking: Chunking, position: int) -> Iterator[None]:
        if chunking is not Chunking.WHOLE and self.options.enabled and self.options.anchors == "all":
            raise ValueError("attention to all frames needs all frames in one batch")
        before = self.chunking, self.position
        self.chunking, self.position = chunking, position
        try:
            yield
        finally:
            self.chunking, self.position = before

    def clear(self) -> None:
        """Forget everything."""
        self.recorded.clear()
        self.before.clear()
        self.text.clear()


class CrossFrameAttnProcessor:
    """The attention processor of one layer; batches are ``(branch frame)``, as many branches as the cache says.
    ``crossing`` is False for a layer that leaves frames to themselves."""

    def __init__(self, cache: AnchorCache, layer: str, *, crossing: bool) -> None:
        self.cache = cache
        self.layer = layer
        self.crossing = crossing

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of ``hidden_states`` (branch frame, tokens, channels) to the anchor frame, or, where given, to
        ``encoder_hidden_states`` (branch, text tokens, channels), or (branch frame, ...) where frames have their own
        texts."""
        if attention_mask is not None or hidden_states.ndim != 3:
            raise ValueError("cross-frame attention takes (batch, tokens, channels) and no attention mask")
        residual = hidden_states
        query = attn.to_q(hidden_states)
        if encoder_hidden_states is not None:
            attended = attend(query, self.text_keys_values(attn, encoder_hidden_states), attn.heads)
        elif self.crossing:
            attended = self.across_frames(attn, query, hidden_states)
        else:
            attended = attend(query, (attn.to_k(hidden_states), attn.to_v(hidden_states)), attn.heads)
        output = attn.to_out[1](attn.to_out[0](attended))
        if attn.residual_connection:
            output = output + residual
        return output / attn.rescale_output_factor

    def across_frames(self, attn: Any, query: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attention to the anchors, but for what the filter leaves to its own frame."""
        frames = rearrange(hidden_states, "(b f) n c -> b f n c", b=self.cache.branches)

        def project(some: torch.Tensor) -> KeysValues:
            return attn.to_k(some), attn.to_v(some)

        anchors = self.anchor_keys_values(project, frames)
        attended = attend(query, anchors, attn.heads)
        if self.cache.options.filtered == 0:
            return attended
        answer, asking, anchor, key, value = (
            rearrange(tensor, "(b f) n (h d) -> b f h n d", b=self.cache.branches, h=attn.heads)
            for tensor in (attended, query, anchors[0], *project(hidden_states))
        )
        deciding = self.cache.text_branch
        matched = match_confidence(asking[deciding], anchor[deciding].expand(len(asking[deciding]), -1, -1, -1))
        filtered = replace_worst(answer, asking, (key, value), matched, self.cache.options.filtered)
        return rearrange(filtered, "b f h n d -> (b f) n (h d)")

    def anchor_keys_values(self, project: Callable[[torch.Tensor], KeysValues], frames: torch.Tensor) -> KeysValues:
        """Self-attention's keys and values, (groups, tokens, channels): a group of frames per branch, or per frame.

        Args:
            project: hidden states to keys and values.
            frames: hidden states (branches, frames, tokens, channels).
        """
        anchors = self.cache.options.anchors
        if anchors == "first":
            return self.first(project, frames)
        if anchors == "all":
            return project(rearrange(frames, "b f n c -> b (f n) c"))
        previous = self.previous(project, frames)
        if anchors == "previous":
            return previous
        key, value = (each.repeat_interleave(frames.shape[1], 0) for each in self.first(project, frames))
        return torch.cat([key, previous[0]], 1), torch.cat([value, previous[1]], 1)

    def first(self, project: Callable[[torch.Tensor], KeysValues], frames: torch.Tensor) -> KeysValues:
        """The anchor's, (branches, tokens, channels)."""
        if self.cache.chunking is Chunking.LATER:
            return self.cache.recorded[self.layer]
        keys_values = project(frames[:, self.cache.position])
        if self.cache.chunking is Chunking.FIRST:
            self.cache.recorded[self.layer] = keys_values
        return keys_values

    def previous(self, project: Callable[[torch.Tensor], KeysValues], frames: torch.Tensor) -> KeysValues:
        """Of each frame those of the one before, the very first's its own: (branches frames, tokens, channels)."""
        own = [rearrange(each, "(b f) n c -> b f n c", b=len(frames)) for each in project(frames.flatten(0, 1))]
        before = [each[:, :1] for each in own]
        if self.cache.chunking is Chunking.LATER:
            before = list(self.cache.before[self.layer])
        if self.cache.chunking is not Chunking.WHOLE:
            self.cache.before[self.layer] = own[0][:, -1:], own[1][:, -1:]
        key, value = (
            torch.cat([first, each[:, :-1]], 1).flatten(0, 1) for first, each in zip(before, own, strict=True)
        )
        return key, value

    def text_keys_values(self, attn: Any, text: torch.Tensor) -> KeysValues:
        """The text's keys and values, projected once for as long as the very same tensor is passed."""
        known = self.cache.text.get(self.layer)
        if known is None or known[0] is not text:
            states = attn.norm_encoder_hidden_states(text) if attn.norm_cross else text
            known = self.cache.text[self.layer] = (text, attn.to_k(states), attn.to_v(states))
        return known[1], known[2]


def attend(query: torch.Tensor, keys_values: KeysValues, heads: int) -> torch.Tensor:
    """Attention of frames that share keys and values.

    Args:
        query: (groups frames, tokens, channels).
        keys_values: (groups, key tokens, channels) each, one for all frames of a group.
        heads: attention heads; channels are divided among them.

    Returns:
        (groups frames, tokens, channels).
    """
    groups, tokens = keys_values[0].shape[0], query.shape[1]
    query = rearrange(query, "(g f) n (h d) -> g h (f n) d", g=groups, h=heads)
    key, value = (rearrange(tensor, "g n (h d) -> g h n d", h=heads) for tensor in keys_values)
    attended = functional.scaled_dot_product_attention(query, key, value)
    return rearrange(attended, "g h (f n) d -> (g f) n (h d)", n=tokens)


@contextmanager
def cross_frame_attention(
    *networks: Any, branches: int, options: CrossFrame | None = None, text_branch: int = -1
) -> Iterator[AnchorCache]:
    """Patch diffusers networks (a UNet, ControlNets) for as long as the ``with`` lasts.

    Args:
        networks: models with ``attn_processors`` and ``set_attn_processor``.
        branches: how many guidance branches a batch holds, ordered ``(branch frame)``.
        options: how frames attend to each other; text is handled alike whatever they say.
        text_branch: which branch has the text; by what matches there tokens are filtered.

    Yields:
        The cache, with ``record()`` and ``reuse()`` for work in chunks. Without them the first frame of each
        batch is its anchor.
    """
    options = options or CrossFrame()
    cache = AnchorCache(branches, options, text_branch)
    before = [dict(network.attn_processors) for network in networks]
    try:
        for index, (network, processors) in enumerate(zip(networks, before, strict=True)):
            network.set_attn_processor(
                {
                    name: CrossFrameAttnProcessor(
                        cache, f"{index}.{name}", crossing=options.enabled and name.startswith(options.blocks)
                    )
                    for name in processors
                }
            )
        yield cache
    finally:
        for network, processors in zip(networks, before, strict=True):
            network.set_attn_processor(dict(processors))
        cache.clear()
