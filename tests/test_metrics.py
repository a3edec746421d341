"""Measures of any video, on made cases whose answer is known; and how sure a mean of them is."""

import math

import cv2
import numpy as np
import pytest

from evaluation import metrics
from evaluation.statistics import MIN_PROMPTS, mean_interval


def texture(height=160, width=200, seed=0):
    """Smooth noise over the full range: something to follow everywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def travelling(across, down=0, frames=4, side=128):
    """A window that moves over a texture, so that what it shows moves by (across, down) px per frame."""
    big = texture()
    corners = [(16 - down * frame, 40 - across * frame) for frame in range(frames)]
    return np.stack([big[top : top + side, left : left + side] for top, left in corners])


STILL = np.repeat(texture(128, 128)[None], 4, axis=0)


def noisy(frames, amount):
    """The frames with noise of their own each."""
    noise = np.random.default_rng(1).normal(0, amount, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("across", "down"), [(3, 0), (-3, 0), (0, 2), (3, -4)])
def test_a_translated_texture_has_the_flow_of_its_translation(across, down):
    """To the right and downwards are positive, and the backward flow is the other way round."""
    frames = travelling(across, down)
    flow, back = metrics.optical_flow(frames), metrics.optical_flow(frames, backward=True)
    assert flow.shape == back.shape == (3, 128, 128, 2)
    inner = np.s_[:, 16:-16, 16:-16]
    assert flow[inner].mean(axis=(0, 1, 2)) == pytest.approx((across, down), abs=0.05)
    assert back[inner].mean(axis=(0, 1, 2)) == pytest.approx((-across, -down), abs=0.05)
    length = math.hypot(across, down)
    assert metrics.motion_magnitude(flow) == pytest.approx(length, rel=0.05)
    assert metrics.fastest_motion(flow) == pytest.approx(2 * length, rel=0.15)  # 128 px, told at 256
    assert metrics.measures(frames)["motion_share"] == pytest.approx(length / math.hypot(128, 128), rel=0.05)


def test_a_still_video():
    """Nothing moves, nothing flickers, nothing is off; it would win every table of consistency."""
    found = metrics.measures(STILL)
    assert found["sharpness"] > 10
    assert {name: value for name, value in found.items() if name != "sharpness"} == {
        "motion_px": 0,
        "motion_share": 0,
        "is_dynamic": 0,
        "fastest_motion": 0,
        "warping_error": 0,
        "temporal_flicker": 1,
    }


def test_flicker_is_the_mean_absolute_difference():
    """From grey 100 to grey 151 and back: 51 of 255. Black and white in turn: 0. Noise lowers it, more noise more."""
    greys = np.array([100, 151, 100], np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    assert metrics.temporal_flicker(greys) == pytest.approx(0.8)
    assert (
        metrics.temporal_flicker(255 * (np.arange(4, dtype=np.uint8)[:, None, None, None] % 2).repeat(3, axis=3)) == 0
    )
    scores = [metrics.temporal_flicker(noisy(STILL, amount)) for amount in (0, 5, 20)]
    assert 1 == scores[0] > scores[1] > scores[2]


def test_flicker_may_leave_pixels_out():
    """What flickers under the mask of either frame does not count, and without any pixel there is no score."""
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1, :4] = 255
    without = np.zeros((3, 8, 8), bool)
    without[1, :4] = True
    assert metrics.temporal_flicker(frames) == pytest.approx(0.5)
    assert metrics.temporal_flicker(frames, without) == 1
    assert math.isnan(metrics.temporal_flicker(frames, np.ones((3, 8, 8), bool)))


def test_warping_error_forgives_motion_but_not_flicker():
    """A moving texture is itself again once warped back; brightness that jumps by 51 is not: 3 channels x 0.2^2."""

    def error(frames):
        return metrics.warping_error(frames, metrics.optical_flow(frames), metrics.optical_flow(frames, backward=True))

    moving = travelling(3)
    assert error(moving) < 1e-3
    assert np.square((moving[1:] - moving[:-1].astype(float)) / 255).sum(axis=3).mean() > 50 * error(moving)
    dimmed = np.stack([(0.8 * frame + 51 * (index % 2)).astype(np.uint8) for index, frame in enumerate(STILL)])
    no_flow = np.zeros((3, 128, 128, 2), np.float32)
    assert metrics.warping_error(dimmed, no_flow, no_flow) == pytest.approx(3 * 0.2**2, rel=1e-3)
    assert error(noisy(moving, 20)) > 5 * error(moving)


def test_what_is_hidden_is_not_compared():
    """A flow that is not undone by the flow back, or that leads out of the picture, says nothing of the next frame."""
    forward, backward = (np.zeros((8, 8, 2), np.float32) for _ in range(2))
    forward[..., 0] = 3
    backward[..., 0] = -3
    assert metrics.visible(forward, backward).all(axis=0).tolist() == [True] * 5 + [False] * 3
    backward[2] = 3
    assert metrics.visible(forward, backward).any(axis=1).tolist() == [index != 2 for index in range(8)]
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1, 2] = 255
    assert metrics.warping_error(frames, forward[None], backward[None]) == 0


def test_dynamic_as_vbench_has_it():
    """6 px at 256 and 8 frames a second, so 3 px at 128, and half of that per frame for twice as many frames a second.
    The fastest 5 % decide, and a quarter of the frames must be fast."""
    flow = np.zeros((15, 128, 128, 2), np.float32)
    flow[:4, :, :10, 0] = 3.2  # 8 % of the picture, in 4 of the 15 pairs of 16 frames
    assert metrics.fastest(flow)[:5].tolist() == pytest.approx([3.2] * 4 + [0])
    assert metrics.is_dynamic(flow) == 1
    assert metrics.is_dynamic(flow, fps=4) == 0
    assert metrics.is_dynamic(flow[1:]) == 0  # 3 fast pairs, and a quarter of 15 frames is nearly 4
    assert metrics.is_dynamic(flow[1:12]) == 1
    assert metrics.is_dynamic(0.9 * flow) == 0
    assert metrics.is_dynamic(0.9 * flow, fps=10) == 1
    assert metrics.fastest_motion(flow) == pytest.approx(2 * 3.2 * 4 / 15)


@pytest.mark.parametrize(
    ("count", "fps", "kept"),
    [(8, 8, 8), (8, 1, 8), (16, 10, 16), (81, 16, 41), (161, 24, 54), (60, 30, 15), (3, 24, 2), (2, 24, 2), (1, 24, 1)],
)
def test_about_eight_frames_a_second_are_left(count, fps, kept):
    """And never one of several, in which nothing could be seen to move."""
    assert len(range(count)[:: metrics.thinning(count, fps)]) == kept


def test_sharpness_falls_with_blur():
    """One bright pixel of 1 in 9 by hand: the Laplacian of a 3 x 3 picture with 90 in the middle. Blur lowers it."""
    dot = np.zeros((1, 3, 3, 3), np.uint8)
    dot[0, 1, 1] = 90
    mirrored = np.array([[0, 180, 0], [180, -360, 180], [0, 180, 0]])  # the edge pixels see the middle twice
    assert metrics.sharpness(dot) == pytest.approx(mirrored.var())
    blurred = [np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in STILL]) for sigma in (0.5, 1, 2)]
    scores = [metrics.sharpness(frames) for frames in (STILL, *blurred)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 2 * scores[-1]


def test_one_frame_has_sharpness_and_no_motion():
    """What needs two frames is NaN, without a warning, so that a table of stills and videos can be made."""
    found = metrics.measures(STILL[:1])
    assert found.pop("sharpness") == pytest.approx(metrics.sharpness(STILL))
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 16, 16, 3), np.float32), np.zeros((16, 16, 3), np.uint8), np.zeros((0, 16, 16, 3), np.uint8)],
)
def test_other_arrays_are_refused(frames):
    """Floats in 0..1 would give numbers that look right and are 255 times too small."""
    for measure in (metrics.optical_flow, metrics.temporal_flicker, metrics.sharpness):
        with pytest.raises(ValueError, match="uint8"):
            measure(frames)
    with pytest.raises(ValueError, match="12 x 12"):
        metrics.optical_flow(np.zeros((2, 8, 16, 3), np.uint8))


def test_an_interval_of_a_known_case():
    """50 prompts whose means are normal: the bootstrap agrees with mean +- t s / sqrt(50), and with itself."""
    random = np.random.default_rng(0)
    values = {f"prompt {index}": [value, value + 2] for index, value in enumerate(random.normal(10, 3, 50))}
    found = mean_interval(values)
    means = np.array([np.mean(row) for row in values.values()])
    half = 2.0096 * means.std(ddof=1) / math.sqrt(50)
    assert found.mean == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx((means.mean() - half, means.mean() + half), abs=0.08 * half)
    assert (found.prompts, found.values) == (50, 100)
    assert found == mean_interval(values)
    assert mean_interval(values, confidence=0.5).high < found.high


def test_seeds_of_one_prompt_are_not_independent():
    """Prompts differ, seeds hardly: eight seeds of ten prompts are not eighty values. Of 200 experiments 95 % should
    hold the truth; where the values are taken as independent, fewer than two thirds do."""
    random = np.random.default_rng(0)
    held = {"prompts": 0, "values": 0}
    for _ in range(200):
        difficulty = random.normal(0, 1, 10)
        rows = difficulty[:, None] + random.normal(0, 0.2, (10, 8))
        clustered = {str(index): row.tolist() for index, row in enumerate(rows)}
        independent = {str(index): [value] for index, value in enumerate(rows.ravel())}
        for name, values in (("prompts", clustered), ("values", independent)):
            found = mean_interval(values, resamples=1000)
            held[name] += found.low <= 0 <= found.high
    assert held["prompts"] >= 0.92 * 200
    assert held["values"] <= 0.66 * 200


def test_the_fewest_prompts_that_have_an_interval_are_enough_for_it():
    """Of 400 experiments with so many prompts nine in ten at least hold the truth. Two prompts once had an interval
    too, called 95 %, which held the truth in every second experiment."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        values = {str(index): [value] for index, value in enumerate(random.normal(0, 1, MIN_PROMPTS))}
        found = mean_interval(values, resamples=1000)
        held += found.low <= 0 <= found.high
    assert held >= 0.9 * 400


@pytest.mark.parametrize("count", [1, 2, MIN_PROMPTS - 1])
def test_fewer_prompts_have_a_mean_and_no_interval(count):
    found = mean_interval({str(index): [float(index)] for index in range(count)})
    assert (found.mean, found.prompts) == ((count - 1) / 2, count)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_what_is_not_known_is_left_out_and_said():
    """NaN values do not count; a prompt without any other does not either; without prompts there is no mean."""
    found = mean_interval({"a": [1.0, math.nan], "b": [math.nan], "c": [3.0, 5.0]})
    assert (found.mean, found.prompts, found.values) == (2.5, 2, 3)
    assert math.isnan(mean_interval({}).mean)
