"""Folded, cached and chunked cross-frame attention equals the plain formula."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from pipelines.attention import (
    AnchorCache,
    CrossFrame,
    CrossFrameAttnProcessor,
    attend,
    cross_frame_attention,
)
from pipelines.match_filter import match_confidence

BRANCHES, FRAMES, TOKENS, CHANNELS, HEADS = 2, 5, 12, 16, 4


def plain(query, key, value, heads):
    """Softmax(Q K^T / sqrt(d)) V, head by head, with as many keys as queries in the batch."""
    outputs = []
    for q, k, v in zip(query.chunk(heads, -1), key.chunk(heads, -1), value.chunk(heads, -1), strict=True):
        weights = torch.softmax(torch.einsum("bnd,bmd->bnm", q, k) / q.shape[-1] ** 0.5, dim=-1)
        outputs.append(torch.einsum("bnm,bmd->bnd", weights, v))
    return torch.cat(outputs, -1)


def processor_of(crossing=True, **options):
    """A layer's processor under these options."""
    return CrossFrameAttnProcessor(AnchorCache(BRANCHES, CrossFrame(**options)), "layer", crossing=crossing)


def in_chunks(processor, layer, states, anchor_frame=0):
    """The same by chunks of 2, 2 and 1 frames, that with the anchor frame first."""
    by_frame = states.reshape(BRANCHES, FRAMES, TOKENS, CHANNELS)
    done = {}
    for start in sorted((0, 2, 4), key=lambda start: not start <= anchor_frame < start + 2):
        chunk = by_frame[:, start : start + 2].reshape(-1, TOKENS, CHANNELS)
        cache = processor.cache
        with torch.no_grad(), cache.reuse() if done else cache.record(anchor_frame - start):
            done[start] = processor(layer, chunk).reshape(BRANCHES, -1, TOKENS, CHANNELS)
    return torch.cat([done[start] for start in sorted(done)], 1).reshape(states.shape)


def expected_of(layer, states, frames_attended_to):
    """Attention of frame k to the tokens of the frames that are listed for it, one after another."""
    by_frame = states.reshape(BRANCHES, FRAMES, TOKENS, CHANNELS)
    results = []
    with torch.no_grad():
        for frame, attended_to in enumerate(frames_attended_to):
            source = by_frame[:, attended_to].flatten(1, 2)
            results.append(plain(layer.to_q(by_frame[:, frame]), layer.to_k(source), layer.to_v(source), HEADS))
        return layer.to_out[0](torch.stack(results, 1).reshape(states.shape))


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
    torch.testing.assert_close(attend(query, (key, value), HEADS), plain(query, *repeated, HEADS))


def test_every_frame_attends_to_the_first(layer, states):
    """Section 3.3.2: queries of frame k, keys and values of frame 1, branches apart."""
    with torch.no_grad():
        result = processor_of()(layer, states)
        first = states.reshape(BRANCHES, FRAMES, TOKENS, CHANNELS)[:, 0].repeat_interleave(FRAMES, 0)
        expected = layer.to_out[0](plain(layer.to_q(states), layer.to_k(first), layer.to_v(first), HEADS))
    torch.testing.assert_close(result, expected)


def test_a_recorded_anchor_serves_the_other_chunks(layer, states):
    """Chunks of 2, 2 and 1 frames equal the joint batch."""
    processor = processor_of()
    with torch.no_grad():
        whole = processor(layer, states)
    torch.testing.assert_close(in_chunks(processor, layer, states), whole)


def test_switched_off_it_is_ordinary_self_attention(layer, states):
    """The ablation: what diffusers' own processor computes."""
    with torch.no_grad():
        ours = processor_of(crossing=False)(layer, states)
        torch.testing.assert_close(ours, layer(states))


def test_text_is_projected_once_and_again_when_it_changes(layer, states):
    """Text keys and values are kept for as long as the very same tensor comes."""
    calls = []
    layer.to_k.register_forward_hook(lambda *_: calls.append(1))
    processor = processor_of()
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


@pytest.mark.parametrize(
    ("options", "attended_to"),
    [
        ({"anchors": "first"}, [[0], [0], [0], [0], [0]]),
        ({"anchors": "previous"}, [[0], [0], [1], [2], [3]]),
        ({"anchors": "first + previous"}, [[0, 0], [0, 0], [0, 1], [0, 2], [0, 3]]),
    ],
)
def test_frames_attend_to_whom_the_options_say_in_one_batch_and_in_chunks(layer, states, options, attended_to):
    """ControlVideo's choices (arXiv 2305.13077), each against the plain formula."""
    expected = expected_of(layer, states, attended_to)
    with torch.no_grad():
        torch.testing.assert_close(processor_of(**options)(layer, states), expected)
    torch.testing.assert_close(in_chunks(processor_of(**options), layer, states), expected)


def test_all_frames_attend_to_all_frames_in_one_batch_alone(layer, states):
    """Every layer needs the keys of all frames at once, which chunks do not have."""
    processor = processor_of(anchors="all")
    with torch.no_grad():
        torch.testing.assert_close(processor(layer, states), expected_of(layer, states, [list(range(FRAMES))] * FRAMES))
    with pytest.raises(ValueError, match="one batch"):
        in_chunks(processor, layer, states)


def test_the_anchor_rotates_over_the_steps(layer, states):
    """Rotational value mapping: for two steps frame 0, for two frame 1; frame 3 in chunks is computed first of all."""
    options = CrossFrame(period=2)
    assert [options.anchor_at(step, 3) for step in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert {CrossFrame().anchor_at(step, 3) for step in range(8)} == {0}
    processor = processor_of(period=2)
    expected = expected_of(layer, states, [[3]] * FRAMES)
    with torch.no_grad(), processor.cache.whole(3):
        torch.testing.assert_close(processor(layer, states), expected)
    torch.testing.assert_close(in_chunks(processor, layer, states, anchor_frame=3), expected)


@pytest.mark.parametrize("spread", [1, 3])
def test_confidence_is_row_softmax_times_column_softmax(spread):
    """Against the plain formula, though no scores are held, for flat matches as for sharp ones."""
    generator = torch.Generator().manual_seed(4)
    query = spread * torch.randn(FRAMES, HEADS, TOKENS, 8, generator=generator)
    key = spread * torch.randn(FRAMES, HEADS, 40, 8, generator=generator)
    scores = torch.einsum("fhnd,fhmd->fhnm", query, key) / 8**0.5
    expected = (scores.softmax(-1) * scores.softmax(-2)).sum(-1)
    torch.testing.assert_close(match_confidence(query, key).exp(), expected)


def test_tokens_that_match_badly_attend_to_their_own_frame(layer, states):
    """Dual-softmax filtering: a quarter of the tokens of every frame and head, those of which the last branch is the
    least sure."""
    by_frame = states.reshape(BRANCHES, FRAMES, TOKENS, CHANNELS)
    expected = torch.empty_like(by_frame)

    def heads(tensor):
        return tensor.reshape(TOKENS, HEADS, -1).transpose(0, 1)

    def scores(branch, frame, source):
        query, key = heads(layer.to_q(by_frame[branch, frame])), heads(layer.to_k(by_frame[branch, source]))
        return query @ key.mT / query.shape[-1] ** 0.5

    with torch.no_grad():
        for branch in range(BRANCHES):
            for frame in range(FRAMES):
                answers = [
                    scores(branch, frame, source).softmax(2) @ heads(layer.to_v(by_frame[branch, source]))
                    for source in (0, frame)
                ]
                matches = scores(BRANCHES - 1, frame, 0)
                confidence = (matches.softmax(2) * matches.softmax(1)).sum(2)
                threshold = confidence.sort(1).values[:, TOKENS // 4 - 1]
                chosen = torch.where((confidence > threshold[:, None])[..., None], *answers)
                expected[branch, frame] = layer.to_out[0](chosen.transpose(0, 1).reshape(TOKENS, CHANNELS))
        expected = expected.reshape(states.shape)
        torch.testing.assert_close(processor_of(filtered=0.25)(layer, states), expected)
        assert not torch.allclose(expected, processor_of()(layer, states))
    torch.testing.assert_close(in_chunks(processor_of(filtered=0.25), layer, states), expected)
    for anchors in ("previous", "first + previous"):
        filtered = processor_of(filtered=0.25, anchors=anchors)
        with torch.no_grad():
            whole = filtered(layer, states)
        torch.testing.assert_close(in_chunks(filtered, layer, states), whole)


def test_only_the_named_blocks_cross_frames(components):
    """The others leave every frame to itself."""
    unet = components["unet"]
    with cross_frame_attention(unet, branches=2, options=CrossFrame(blocks=("up_blocks",))):
        crossing = {name.split("_")[0]: part.crossing for name, part in unet.attn_processors.items()}
    assert crossing == {"down": False, "mid": False, "up": True}


@pytest.mark.parametrize("wrong", [{"period": -1}, {"filtered": 1.0}, {"period": 4, "anchors": "all"}])
def test_options_that_make_no_sense_are_refused(wrong):
    """At once, with what is wanted."""
    with pytest.raises(ValueError, match=r"period|rotate"):
        CrossFrame(**wrong)
