"""Stable Diffusion XL on tiny random networks: equal to diffusers' classes where those are right, and in half precision
never black."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionXLPipeline,
)

from pipelines.text_to_video_xl import TextToVideoXLPipeline

SCHEDULERS = [
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
]
# What the deprecated class gets right, by its own argument names.
CASES = {
    "not square": {"height": 96, "width": 160, "num_inference_steps": 20, "t0": 14, "t1": 17},
    "other sizes told": {"original_size": (64, 48), "target_size": (256, 200), "crops_coords_top_left": (8, 16)},
    "two prompts": {"prompt_2": "a blue star at night", "negative_prompt": "green", "negative_prompt_2": "grass"},
    "an empty negative prompt is not none": {"negative_prompt": ""},
    "motion back": {"motion_field_strength_x": -20, "motion_field_strength_y": 7.3, "video_length": 4},
    "frames out of order": {"frame_ids": [0, 4, 2], "video_length": 3},
    "the last noise left in": {"denoising_end": 0.8},
}
DEFAULTS = {"num_inference_steps": 10, "t0": 6, "t1": 8}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def latents(pipeline, **options) -> torch.Tensor:
    options = DEFAULTS | {"output_type": "latent", "generator": seeded()} | options
    return pipeline("a red circle", **options).images


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    assert first.isfinite().all()
    return (first - second).abs().max().item() / max(1.0, second.abs().max().item())


@pytest.fixture
def deprecated(xl_components):
    """A fresh one each time: it does not put back what it changes."""
    module = pytest.importorskip(
        "diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero_sdxl",
        reason="removed from diffusers",
    )
    before = dict(xl_components["unet"].attn_processors)
    pipeline = module.TextToVideoZeroSDXLPipeline(**xl_components)
    pipeline.set_progress_bar_config(disable=True)
    yield pipeline
    xl_components["unet"].set_attn_processor(before)


@pytest.fixture
def still(xl_components):
    pipeline = StableDiffusionXLPipeline(**xl_components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_deprecated_pipeline(xl_pipeline, deprecated, case):
    """Same weights, same generator: equal latents for every meaning an argument has there."""
    ours = latents(xl_pipeline, **CASES[case])
    assert distance(ours, latents(deprecated, **CASES[case])) < 1e-4


def test_equal_with_its_own_defaults(xl_pipeline, deprecated):
    """Eight frames, fifty steps, the paper's window."""
    options = {"num_inference_steps": 50, "t0": 44, "t1": 47}
    assert distance(latents(xl_pipeline, **options), latents(deprecated, **options)) < 1e-4


def test_embeddings_can_take_the_place_of_texts(xl_pipeline):
    """As encode_prompt gives them."""
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    given = dict(zip(names, xl_pipeline.encode_prompt("a red circle"), strict=True))
    options = DEFAULTS | {"output_type": "latent", "generator": seeded()}
    assert distance(xl_pipeline(**given, **options).images, latents(xl_pipeline)) < 1e-6


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_frame_0_is_the_still_image(xl_pipeline, still, kind):
    """Same seed, scheduler, steps and guidance as StableDiffusionXLPipeline, latents and pixels."""
    xl_pipeline.scheduler = still.scheduler = kind.from_config(still.scheduler.config)
    options = {"num_inference_steps": 9, "guidance_scale": 5.0, "negative_prompt": "a blue star"}
    video = latents(xl_pipeline, motion_window=(600, 800), video_length=3, **options)
    image = still("a red circle", generator=seeded(), output_type="latent", **options).images
    assert distance(video[:1], image) < 1e-4
    pixels = still("a red circle", generator=seeded(), output_type="np", **options).images
    frames, _ = xl_pipeline.decode_frames(video[:1])
    assert np.abs(frames - pixels).max() < 1e-3


def test_guidance_rescale_works_where_the_deprecated_class_forgets_it(xl_pipeline, still, deprecated):
    """Frame 0 is the still image with it; theirs draws the same with and without."""
    options = {"guidance_rescale": 0.7}
    ours = latents(xl_pipeline, **options)
    image = still("a red circle", num_inference_steps=10, guidance_scale=7.5, generator=seeded(), output_type="latent")
    rescaled = still(
        "a red circle", num_inference_steps=10, guidance_scale=7.5, generator=seeded(), output_type="latent", **options
    )
    assert distance(ours[:1], rescaled.images) < 1e-4
    assert distance(ours[:1], image.images) > 0.01
    assert distance(latents(deprecated, **options)[:1], image.images) < 1e-4


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("chunk_size", [1, 2, 3])
def test_neither_chunk_nor_length_changes_a_frame(xl_pipeline, chunk_size, guidance_scale):
    """Each chunk is told the sizes and the pooled text of its own frames; with guidance off, where the deprecated
    class takes a wrong anchor, as with it on."""
    options = {"guidance_scale": guidance_scale}
    whole = latents(xl_pipeline, video_length=5, **options)
    assert distance(latents(xl_pipeline, video_length=5, chunk_size=chunk_size, **options), whole) < 1e-4
    assert distance(latents(xl_pipeline, video_length=3, **options), whole[:3]) < 1e-4


def test_what_the_unet_is_told_matters(xl_pipeline):
    """The pooled text and the sizes reach it: without either the picture is another one."""
    plain = latents(xl_pipeline)
    assert distance(latents(xl_pipeline, original_size=(512, 512)), plain) > 1e-3
    assert distance(latents(xl_pipeline, prompt_2="a blue star at night"), plain) > 1e-3


def test_nothing_stays_patched(xl_pipeline):
    """The deprecated class returns latents with its attention and a copied scheduler still in place."""
    before, scheduler = dict(xl_pipeline.unet.attn_processors), xl_pipeline.scheduler
    latents(xl_pipeline)
    assert xl_pipeline.unet.attn_processors == before
    assert xl_pipeline.scheduler is scheduler


def test_a_first_frame_is_frame_0(xl_pipeline):
    """Pinned at every step, as with other checkpoints."""
    picture = np.full((128, 128, 3), 90, np.uint8)
    picture[30:70, 30:70] = (250, 220, 50)
    video = latents(xl_pipeline, first_frame=picture, motion_window=(500, 700))
    assert distance(video[:1], xl_pipeline.encode_first_frame(picture, 128, 128)) < 1e-5
    assert distance(video[:1], latents(xl_pipeline)[:1]) > 0.01


@pytest.mark.parametrize(("force_upcast", "computed_in"), [(True, torch.float32), (False, torch.float16)])
def test_an_autoencoder_that_overflows_in_half_precision_computes_in_float32(
    xl_components, monkeypatch, force_upcast, computed_in
):
    """SDXL's own says so in its configuration; one that was mended for half precision says the contrary. Afterwards it
    is as it was, also when something goes wrong."""
    vae = type(xl_components["vae"]).from_config(xl_components["vae"].config, force_upcast=force_upcast).half()
    pipeline = TextToVideoXLPipeline(**{**xl_components, "vae": vae})
    seen = []
    monkeypatch.setattr(vae, "decode", lambda latents, **_: seen.append(latents.dtype) or (torch.zeros(1, 3, 8, 8),))
    pipeline.decode_frames(torch.zeros(2, 4, 16, 16))
    assert seen == [computed_in] * 2
    assert vae.dtype == torch.float16
    encoded = pipeline.encode_pictures(np.zeros((1, 64, 64, 3), np.uint8), "cpu")
    assert encoded.isfinite().all()
    monkeypatch.setattr(vae, "decode", lambda latents, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pipeline.decode_frames(torch.zeros(1, 4, 16, 16))
    assert vae.dtype == torch.float16


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 15},
        {"video_length": 0},
        {"t0": 9, "t1": 6},
        {"num_videos_per_prompt": 2},
        {"frame_ids": [0, 1]},
        {"latents": torch.zeros(1, 4, 3, 3)},
        {"denoising_end": 0.1},
        {"denoising_end": 0.8, "first_frame": np.zeros((128, 128, 3), np.uint8)},
        {"cross_attention_kwargs": {"scale": 0.5}},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_arguments_out_of_bounds_are_refused(xl_pipeline, wrong):
    """Before anything is denoised."""
    with pytest.raises(ValueError, match=r"\d|one prompt|set_adapters|denoising_end"):
        latents(xl_pipeline, **wrong)
