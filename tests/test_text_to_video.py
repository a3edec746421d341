"""The method, on tiny random networks: what must be equal is equal, what must not matter does not."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

SCHEDULERS = {
    "ddim": (DDIMScheduler, {}),
    "dpm++ 2m": (DPMSolverMultistepScheduler, {}),
    "dpm++ 2m karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "euler": (EulerDiscreteScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "euler ancestral": (EulerAncestralDiscreteScheduler, {}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def latents(pipeline, **options) -> torch.Tensor:
    """Latents of a short video; options as the pipeline's."""
    defaults = {"video_length": 4, "num_inference_steps": 10, "motion_window": (600, 800), "generator": seeded()}
    options = defaults | options
    return pipeline("a red circle", output_type="latent", **options).images


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    return (first - second).abs().max().item()


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 5, 100])
def test_chunk_size_changes_memory_and_never_the_picture(video_pipeline, chunk_size):
    """Anchor keys and values kept from the first chunk equal one joint batch."""
    whole = latents(video_pipeline, video_length=5)
    assert distance(whole, latents(video_pipeline, video_length=5, chunk_size=chunk_size)) < 1e-4


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [4, 9, 50])
def test_frame_0_is_the_still_image_with_every_sampler(video_pipeline, still_pipeline, name, steps):
    """The anchor runs on a scheduler of its own, so also multistep and stochastic samplers draw the still image."""
    kind, options = SCHEDULERS[name]
    scheduler = kind.from_config(still_pipeline.scheduler.config, **options)
    video_pipeline.scheduler, still_pipeline.scheduler = scheduler, kind.from_config(scheduler.config)
    video = latents(video_pipeline, num_inference_steps=steps, video_length=3)
    still = still_pipeline("a red circle", num_inference_steps=steps, generator=seeded(), output_type="latent").images
    assert video.isfinite().all()
    assert distance(video[:1], still) < 1e-4 * max(1.0, still.abs().max().item())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_frame_does_not_depend_on_how_many_follow_it(video_pipeline, name):
    """Noise is drawn frame by frame, and each frame's random steps come from its own generator."""
    kind, options = SCHEDULERS[name]
    video_pipeline.scheduler = kind.from_config(video_pipeline.scheduler.config, **options)
    long, short = (latents(video_pipeline, video_length=frames) for frames in (6, 3))
    assert distance(long[:3], short) < 1e-4 * max(1.0, long.abs().max().item())


def test_a_hundred_steps_work_with_the_few_step_sampler(video_pipeline):
    """LCM refuses more steps than it was distilled from, unless told to distil from more."""
    video_pipeline.scheduler = LCMScheduler.from_config(video_pipeline.scheduler.config)
    assert latents(video_pipeline, num_inference_steps=100, video_length=2).isfinite().all()


def test_zero_motion_and_no_fresh_noise_would_be_a_still(video_pipeline):
    """With strength 0 the warp is the identity: frames differ only by the noise they were taken back with."""
    shifted = latents(video_pipeline, motion_field_strength_x=40, motion_field_strength_y=0)
    still = latents(video_pipeline, motion_field_strength_x=0, motion_field_strength_y=0)
    assert distance(shifted[0], still[0]) == 0
    assert distance(shifted[1], still[1]) > 0.01


@pytest.mark.parametrize("guidance_scale", [0.0, 1.0])
def test_guidance_off_keeps_one_anchor_for_all_frames(video_pipeline, guidance_scale):
    """The diffusers copy reads the branches off the batch size and, unguided, lets frames 4 to 7 of 8 attend to
    frame 4. Ours must not depend on the chunk either."""
    whole = latents(video_pipeline, video_length=8, guidance_scale=guidance_scale)
    assert distance(whole, latents(video_pipeline, video_length=8, guidance_scale=guidance_scale, chunk_size=3)) < 1e-4
    assert distance(whole[:5], latents(video_pipeline, video_length=5, guidance_scale=guidance_scale)) < 1e-4


def test_each_half_of_the_method_can_be_switched_off(video_pipeline, still_pipeline):
    """Without motion and attention every frame is a still image of its own noise (the paper's baseline)."""
    video = latents(video_pipeline, motion_field=False, cross_frame_attention=False, video_length=3)
    generator = seeded()
    for frame in video:
        still = still_pipeline("a red circle", num_inference_steps=10, generator=generator, output_type="latent").images
        assert distance(frame[None], still) < 1e-4
    both = latents(video_pipeline, video_length=3)
    for options in ({"motion_field": False}, {"cross_frame_attention": False}):
        changed = latents(video_pipeline, video_length=3, **options)
        assert distance(changed[:1], both[:1]) < 1e-4
        assert distance(changed[1:], both[1:]) > 0.01


def test_without_motion_there_is_no_window_to_fit_into_the_steps(video_pipeline):
    """The window's defaults count 47 steps from the last one, and are of no use in a run of four."""
    assert latents(video_pipeline, motion_window=None, motion_field=False, num_inference_steps=4).isfinite().all()


def test_an_error_in_the_middle_leaves_the_pipeline_as_it_was(video_pipeline):
    """Processors are put back, the scheduler is never touched, and the next run is the same as before."""
    before = latents(video_pipeline)
    processors = dict(video_pipeline.unet.attn_processors)
    config, state = video_pipeline.scheduler, repr(vars(video_pipeline.scheduler))
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        latents(video_pipeline, watch=stop)
    assert video_pipeline.unet.attn_processors == processors
    assert video_pipeline.scheduler is config
    assert repr(vars(video_pipeline.scheduler)) == state
    assert distance(latents(video_pipeline), before) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"height": 15},
        {"video_length": 0},
        {"chunk_size": 0},
        {"motion_window": None, "t0": 47, "t1": 44},
        {"motion_window": None, "t0": 9999, "t1": 10000},
        {"motion_window": (800, 600)},
        {"frame_ids": [0, 1]},
        {"latents": torch.zeros(1, 4, 3, 3)},
    ],
)
def test_arguments_out_of_bounds_are_refused_before_anything_runs(video_pipeline, options):
    """The diffusers copy fails in the middle and leaves its processors behind."""
    with pytest.raises(ValueError, match=r"\d|height"):
        latents(video_pipeline, **options)


def test_callback_sees_every_step_once(video_pipeline):
    """Also though the anchor runs ahead for a few steps to find the latents that are moved."""
    seen = []
    latents(video_pipeline, callback=lambda step, timestep, _: seen.append((step, timestep)))
    assert [step for step, _ in seen] == list(range(10))
    assert [timestep for _, timestep in seen] == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]


def test_pictures_come_out_as_diffusers_gives_them(video_pipeline):
    """Floats in 0..1, frames first; and a tuple on request."""
    images, nsfw = video_pipeline(
        "a red circle", 2, num_inference_steps=4, motion_window=(600, 800), return_dict=False, generator=seeded()
    )
    assert images.shape == (2, 128, 128, 3)
    assert 0 <= images.min() <= images.max() <= 1
    assert nsfw is None
