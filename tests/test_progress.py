"""A running job as its watchers see it: the picture that a step predicts, and the time that is left."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from generation import progress
from generation.progress import Pace, Reporter, fit_preview, to_preview
from generation.schedulers import build_scheduler
from pipelines.denoising import Sampler, step_starts
from tests.conftest import SCHEDULER

PREDICTIONS = [
    (name, prediction)
    for name in ("ddim", "dpm++ 2m", "euler", "euler a", "unipc", "lcm")
    for prediction in ("epsilon", "v_prediction", "sample")
    if (name, prediction) != ("euler a", "sample")  # which diffusers has not implemented
]
CALL_S, FRAME_S, DECODE_S = 0.2, 0.1, 0.3


@pytest.mark.parametrize(("name", "prediction"), PREDICTIONS)
def test_a_preview_shows_the_picture_that_a_step_predicts(name, prediction):
    """A network that is right predicts the picture itself at every step, however noisy the latents still are."""
    config = DDIMScheduler(**SCHEDULER, prediction_type=prediction).config
    sampler = Sampler(build_scheduler(name, config), 10, "cpu", [torch.Generator().manual_seed(1)])
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2))
    for index in step_starts(sampler.anchor):
        latents = sampler.noised(clean, noise, index)
        scaled = sampler.scale(latents, sampler.timesteps[index])
        picture, rest = shares(sampler, index)
        outputs = {"epsilon": noise, "sample": clean, "v_prediction": picture * noise - rest * clean}
        sampler.step(outputs[prediction], index, latents)
        assert scaled.shape == latents.shape
        assert torch.allclose(sampler.clean(), clean, atol=1e-3)


def shares(sampler: Sampler, index: int) -> tuple[float, float]:
    """The shares of picture and noise at a step, as of a scheduler that preserves variance."""
    kept = DDIMScheduler(**SCHEDULER).alphas_cumprod[sampler.timesteps[index].long()].double()
    if hasattr(sampler.initial, "sigmas"):
        kept = 1 / (1 + sampler.initial.sigmas[index].double() ** 2)
    return float(kept.sqrt()), float((1 - kept).sqrt())


def test_colours_of_a_preview_are_those_of_the_pictures():
    """Where the autoencoder is linear, exactly: here each cell of the latents is the mean of its pixels."""

    class Linear:
        def encode_for_unet(self, pictures):
            means = torch.from_numpy(pictures.copy()).float().permute(0, 3, 1, 2).unfold(2, 8, 8).unfold(3, 8, 8)
            return means.mean((-1, -2)) @ torch.eye(8) / 50

    picture = np.full((1, 64, 64, 3), (200, 40, 10), np.uint8)
    shown = to_preview(Linear().encode_for_unet(picture), fit_preview(Linear()))
    assert np.abs(shown.astype(int) - (200, 40, 10)).max() <= 1


def test_whoever_looks_now_and_then_sees_the_newest_preview():
    """The page looks ten times a second, and seldom at the moment at which a step ends."""
    seen: list = []
    watch = Reporter(seen.append, None, 0.0, 2, 1, matrix=np.zeros((5, 3), np.float32))
    for step, done in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0)):
        watch(step, done, torch.zeros(1, 4, 2, 2))
    assert [one.preview is None for one in seen] == [True, False, False, False, False]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def run_job(clock: Clock, pace: Pace, frames: int, steps: int = 20, alone: int = 2, chunk: int = 4) -> list:
    """A job whose calls cost what they cost: the anchor alone, then all frames in chunks, then decoding."""
    seen: list = []
    watch = Reporter(seen.append, None, clock.now, steps, frames, pace=pace, looked=clock.now)
    for step in range(steps):
        count = 1 if step < alone else frames
        latents = torch.zeros(count, 4, 2, 2)
        watch(step, 0, latents)
        for first in range(0, count, chunk):
            size = min(chunk, count - first)
            clock.now += CALL_S + FRAME_S * size
            watch(step, first + size, latents)
    for frame in range(frames):
        watch(steps, frame, torch.zeros(frames, 4, 2, 2))
        clock.now += DECODE_S
    watch.end()
    return seen


@pytest.mark.parametrize("frames", [1, 8, 30])
def test_the_time_left_is_right_after_a_tenth(monkeypatch, frames):
    """Within a fifth, in the first job and in later ones; the bar never goes back and ends full."""
    clock, pace = Clock(), Pace()
    monkeypatch.setattr(progress, "time", clock)
    for _ in range(2):
        began = clock.now
        seen = run_job(clock, pace, frames)
        total = clock.now - began
        late = [one for one in seen if one.seconds >= 0.1 * total + CALL_S + 4 * FRAME_S]
        assert all(abs(one.seconds + one.seconds_left - total) < 0.2 * total for one in late)
        assert [one.fraction for one in seen] == sorted(one.fraction for one in seen)
        assert (seen[-1].fraction, seen[-1].seconds_left) == (1.0, 0.0)
