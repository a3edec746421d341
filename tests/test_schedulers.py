"""Every scheduler that diffusers calls compatible with Stable Diffusion works, also those whose steps take two
predictions, those that draw random numbers, and those that remember."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers import KarrasDiffusionSchedulers

from pipelines.denoising import Plan, Sampler
from pipelines.noise import VideoNoise
from pipelines.video import Motion, denoise_with_motion

NAMES = [*(kind.name for kind in KarrasDiffusionSchedulers), "LCMScheduler", "TCDScheduler"]
KARRAS = {"use_karras_sigmas": True}
VARIANTS = (
    {name: (name, {}) for name in NAMES}
    | {
        f"{name} karras": (name, KARRAS)
        for name in (
            "DPMSolverMultistepScheduler",
            "HeunDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "UniPCMultistepScheduler",
        )
    }
    | {
        "KDPM2AncestralDiscreteScheduler karras": ("KDPM2AncestralDiscreteScheduler", KARRAS),
        "PNDMScheduler without Runge-Kutta": ("PNDMScheduler", {"skip_prk_steps": True}),
        "DPMSolverMultistepScheduler sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    }
)
SIDE = 48


def build(name, config):
    """A scheduler on a checkpoint's noise schedule; skips where it needs a package that is not there."""
    kind, options = VARIANTS[name]
    try:
        return getattr(diffusers, kind).from_config(config, **options)
    except ImportError as error:
        pytest.skip(str(error).strip().splitlines()[0])


def seeded():
    return torch.Generator().manual_seed(7)


def latents(pipeline, **options):
    options = {
        "video_length": 4,
        "num_inference_steps": 8,
        "motion_window": (500, 800),
        "generator": seeded(),
    } | options
    return pipeline("a red circle", output_type="latent", **options).images


def distance(first, second):
    return ((first - second).abs().max() / max(1.0, second.abs().max().item())).item()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("window", [(500, 800), (881, 941)])
def test_frame_0_is_the_still_image_and_all_frames_are_finite(video_pipeline, still_pipeline, name, window):
    """KDPM2 with ancestral noise gave frames that were not finite: they joined in the middle of a step."""
    config = still_pipeline.scheduler.config
    video_pipeline.scheduler, still_pipeline.scheduler = build(name, config), build(name, config)
    still = still_pipeline("a red circle", num_inference_steps=8, generator=seeded(), output_type="latent").images
    video = latents(video_pipeline, motion_window=window)
    assert video.isfinite().all()
    assert distance(video[:1], still) < 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_neither_chunk_nor_length_nor_the_way_to_say_the_window_changes_a_frame(video_pipeline, name):
    """Steps counted from the last, as in the deprecated class, are whole ones, whatever a step takes."""
    video_pipeline.scheduler = build(name, video_pipeline.scheduler.config)
    options = {"num_inference_steps": 5, "motion_window": None, "t0": 1, "t1": 3}
    whole = latents(video_pipeline, **options)
    assert whole.isfinite().all()
    assert distance(latents(video_pipeline, chunk_size=1, video_length=2, **options), whole[:2]) < 1e-4


@pytest.mark.parametrize("name", [name for name in VARIANTS if not name.startswith(("EDM", "PNDM"))])
@pytest.mark.parametrize("pinned", [False, True])
def test_frames_have_the_noise_that_each_step_expects(components, name, pinned):
    """With a network that is always right, what is left of the noise is what the schedule says, in every frame and at
    every prediction: when they join, in the middle of a step, and after steps that remember. (EDM has other noise; PNDM
    cannot begin late, and shares the anchor's past as in the authors' code.)"""
    scheduler = build(name, components["scheduler"].config)
    picture = torch.full((1, 4, SIDE, SIDE), 0.5)
    noise = VideoNoise((1, 4, SIDE, SIDE), seeded(), None, "cpu")
    sampler = Sampler(scheduler, 8, "cpu", noise.frame_generators(3))
    if pinned:
        sampler.pin(picture, noise.anchor)
    training = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt().double().log().numpy()
    shares = []

    def predict(scaled, timestep, frames):
        sigma = float(np.exp(np.interp(float(timestep), np.arange(len(training)), training)))
        left = scaled * (1 + sigma**2) ** 0.5 - picture
        shares.append(left.std(dim=(1, 2, 3)) / sigma)
        return left / sigma

    motion = Motion(torch.zeros(3, 2, dtype=torch.float64), *sampler.window((500, 800)))
    video = denoise_with_motion(predict, sampler, noise, motion, Plan())
    joined = [each for each in shares if len(each) == 3]
    assert torch.cat(shares).sub(1).abs().max() < 0.06
    assert len(joined) == len(sampler.timesteps) - motion.start
    assert distance(video, picture.expand_as(video)) < 0.2  # the last step of some leaves a little


def test_a_method_that_takes_its_order_from_its_place_begins_with_the_first():
    """Linear multistep in diffusers takes four past predictions from the fifth step on, also where a frame has none."""
    orders = []

    class Remembering(diffusers.EulerDiscreteScheduler):
        def step(self, noise, timestep, sample, order=4, return_dict=True):
            orders.append((len(sample), order))
            return super().step(noise, timestep, sample, return_dict=return_dict)

    sampler = Sampler(Remembering(), 8, "cpu")
    sampler.join(3)
    for index in range(8):
        frames = torch.zeros(3 if index >= 3 else 1, 4, 2, 2)
        sampler.scale(frames, sampler.timesteps[index])
        sampler.step(frames, index, frames)
    assert [order for count, order in orders if count == 2] == [1, 2, 3, 4, 4]
    assert {order for count, order in orders if count == 1} == {4}
