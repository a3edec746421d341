"""Calls of diffusers' pipelines: lengths that they can draw, and frames from whatever they give."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from comparison.diffusers_call import as_video, fitting_length
from errors import GenerationFailed, InvalidSettings
from tests.foreign import COGVIDEOX, WAN


@pytest.mark.parametrize(
    ("wanted", "frames", "expected"),
    [(1, (1, 0), 1), (7, (1, 0), 7), (1, (4, 1), 1), (2, (4, 1), 5), (5, (4, 1), 5), (10, (8, 1), 17), (3, (2, 8), 8)],
)
def test_a_length_is_never_shorter_than_asked(wanted, frames, expected):
    """The nearest that the row can draw."""
    assert fitting_length(wanted, replace(WAN, frames=frames), "x") == expected


def test_a_length_that_cannot_be_drawn_is_refused():
    """With the longest one that can."""
    with pytest.raises(InvalidSettings, match="draws at most 9 frames, not 10: ask for fewer"):
        fitting_length(10, COGVIDEOX, "CogVideoX")


# What pipelines give

RAMP = np.linspace(0, 1, 2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
EXPECTED = (RAMP * 255).round().astype(np.uint8)
CHANNELS_FIRST = torch.tensor(RAMP).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    "given",
    [
        RAMP,
        RAMP[None],
        [RAMP],
        torch.tensor(RAMP),
        CHANNELS_FIRST,
        CHANNELS_FIRST[None],
        [CHANNELS_FIRST],
        EXPECTED,
        [[Image.fromarray(frame) for frame in EXPECTED]],
        [Image.fromarray(frame) for frame in EXPECTED],
    ],
    ids=["array", "batch", "list", "tensor", "cfirst", "cfirst batch", "cfirst list", "uint8", "pictures", "flat"],
)
def test_whatever_a_pipeline_gives_becomes_frames(given):
    """uint8 (f, h, w, 3)."""
    video = as_video(given, "x")
    assert video.dtype == np.uint8
    np.testing.assert_array_equal(video, EXPECTED)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read(dtype):
    """numpy has no bfloat16."""
    assert np.abs(as_video(CHANNELS_FIRST.to(dtype), "x").astype(int) - EXPECTED).max() <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_black_video(bad):
    """One is enough."""
    values = RAMP.copy()
    values[1, 2, 3, 0] = bad
    with pytest.raises(GenerationFailed, match="not finite"):
        as_video(values, "x")


@pytest.mark.parametrize("given", [[], np.zeros((1, 0, 8, 8, 3)), np.zeros((4, 8, 8)), np.zeros((4, 8, 8, 4)), None])
def test_what_is_no_video_is_said(given):
    """Latents, sounds, nothing."""
    with pytest.raises(GenerationFailed, match="gave no video"):
        as_video(given, "x")
