"""Folded, cached and chunked cross-frame attention equals the plain formula."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from pipelines.attention import AnchorCache, Anchoring, CrossFrameAttnProcessor, attend, cross_frame_attention

BRANCHES, FRAMES, TOKENS, CHANNELS, HEADS = 2, 5, 12, 16, 4


def plain(query, key, value, heads):
    """Softmax(Q K^T / sqrt(d)) V, head by head, with as many keys as queries in the batch."""
    outputs = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        weights = torch.softmax(torch.einsum("bnd,bmd->bnm", q, k) / q.shape[-1] ** 0.5, dim=-1)
        outputs.append(torch.einsum("bnm,bmd->bnd", weights, v))
    return torch.cat(outputs, -1)


@pytest.fixture
def layer():
    torch.manual_seed(1)
    return Attention(query_dim=CHANNELS, heads=HEADS, dim_head=CHANNELS // HEADS).eval()


@pytest.fixture
def states():
    return torch.randn(BRANCHES * FRAMES, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(2))


def test_folding_frames_into_the_query_axis_changes_nothing():
    """One key and value per branch against the same repeated for every frame."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(BRANCHES * FRAMES, TOKENS, CHANNELS, generator=generator)
    key, value = torch.randn(2, BRANCHES, 7, CHANNELS, generator=generator)
    repeated = [tensor.repeat_interleave(FRAMES, 0) for tensor in (key, value)]
    torch.testing.assert_close(attend(query, key, value, HEADS), plain(query, *repeated, HEADS))


def test_every_frame_attends_to_the_first(layer, states):
    """Section 3.3.2: queries of frame k, keys and values of frame 1, branches apart."""
    with torch.no_grad():
        result = CrossFrameAttnProcessor(AnchorCache(BRANCHES, Anchoring.FIRST), "layer")(layer, states)
        first = states.reshape(BRANCHES, FRAMES, TOKENS, CHANNELS)[:, 0].repeat_interleave(FRAMES, 0)
        expected = layer.to_out[0](plain(layer.to_q(states), layer.to_k(first), layer.to_v(first), HEADS))
    torch.testing.assert_close(result, expected)


def test_a_recorded_anchor_serves_the_other_chunks(layer, states):
    """Chunks of 2, 2 and 1 frames equal the joint batch."""
    cache = AnchorCache(BRANCHES, Anchoring.FIRST)
    processor = CrossFrameAttnProcessor(cache, "layer")
    by_frame = states.reshape(BRANCHES, FRAMES, TOKENS, CHANNELS)
    parts = []
    with torch.no_grad():
        whole = processor(layer, states)
        for start in (0, 2, 4):
            chunk = by_frame[:, start : start + 2].reshape(-1, TOKENS, CHANNELS)
            with cache.record() if start == 0 else cache.reuse():
                parts.append(processor(layer, chunk).reshape(BRANCHES, -1, TOKENS, CHANNELS))
    torch.testing.assert_close(torch.cat(parts, 1).reshape(whole.shape), whole)


def test_switched_off_it_is_ordinary_self_attention(layer, states):
    """The ablation: what diffusers' own processor computes."""
    with torch.no_grad():
        ours = CrossFrameAttnProcessor(AnchorCache(BRANCHES, Anchoring.NONE), "layer")(layer, states)
        torch.testing.assert_close(ours, layer(states))


def test_text_is_projected_once_and_again_when_it_changes(layer, states):
    """Text keys and values are kept for as long as the very same tensor comes."""
    calls = []
    layer.to_k.register_forward_hook(lambda *_: calls.append(1))
    processor = CrossFrameAttnProcessor(AnchorCache(BRANCHES, Anchoring.FIRST), "layer")
    text = torch.randn(BRANCHES, 6, CHANNELS, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        first = processor(layer, states, text)
        assert torch.equal(processor(layer, states, text), first)
        assert len(calls) == 1
        torch.testing.assert_close(first, layer(states, text.repeat_interleave(FRAMES, 0)))
        assert not torch.allclose(processor(layer, states, text + 1), first)
    assert len(calls) == 3


def test_leaving_restores_the_processors_even_after_an_error(components):
    """Patched inside ``with`` only; nothing recorded survives."""
    unet = components["unet"]
    before = dict(unet.attn_processors)
    caches = []

    def fail_inside():
        with cross_frame_attention(unet, branches=2) as anchor:
            assert all(isinstance(part, CrossFrameAttnProcessor) for part in unet.attn_processors.values())
            anchor.recorded["layer"] = (torch.zeros(1), torch.zeros(1))
            caches.append(anchor)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert unet.attn_processors == before
    assert not caches[0].recorded
