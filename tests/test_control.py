"""Control and editing on tiny random networks: equal to diffusers' own recipes, whatever the chunk and the length."""

import numpy as np
import pytest
import torch
from conftest import quiet
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
)

from pipelines.controlnet import ControlledVideoPipeline
from pipelines.video import RunOptions

HEIGHT, WIDTH = 96, 128


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def video(frames: int) -> np.ndarray:
    """A white bar that moves to the right, uint8 (frames, HEIGHT, WIDTH, 3); every frame differs."""
    pictures = np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8)
    for frame, picture in enumerate(pictures):
        picture[20:80, 10 + 8 * frame : 30 + 8 * frame] = (255, 200, 90)
    return pictures


def run(pipeline, frames: int = 4, **options) -> torch.Tensor:
    """Latents for the moving bar; options as the pipeline's."""
    options = {"num_inference_steps": 6, "generator": seeded()} | options
    return pipeline("a red circle", video(frames), output_type="latent", **options).images


def recipe(kind, components, frames: int, **options) -> torch.Tensor:
    """What diffusers' still-image pipeline draws of all frames at once, its attention patched by its own processor."""
    module = pytest.importorskip(
        "diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero",
        reason="removed from diffusers",
    )
    pipeline = kind(**components)
    pipeline.set_progress_bar_config(disable=True)
    networks = [part for part in (pipeline.unet, getattr(pipeline, "controlnet", None)) if part is not None]
    branches = options.pop("branches", 2)
    before = [dict(network.attn_processors) for network in networks]
    for network in networks:
        network.set_attn_processor(module.CrossFrameAttnProcessor(batch_size=branches))
    pictures = torch.from_numpy(video(frames)).permute(0, 3, 1, 2) / 255
    try:
        return pipeline(
            prompt=["a red circle"] * frames, image=pictures, output_type="latent", num_inference_steps=6, **options
        ).images
    finally:
        for network, processors in zip(networks, before, strict=True):
            network.set_attn_processor(processors)


def noise(pipeline, frames: int, *, alike: bool) -> torch.Tensor:
    """The noise of a seeded video as the design orders it: the anchor's, then each frame's."""
    factor = pipeline.vae_scale_factor
    shape = (1, 4, HEIGHT // factor, WIDTH // factor)
    generator = seeded()
    drawn = [torch.randn(shape, generator=generator) for _ in range(1 if alike else frames)]
    return torch.cat(drawn * frames if alike else drawn)


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.isfinite().all()
    assert (ours - theirs).abs().max() < 1e-4 * max(1.0, theirs.abs().max().item())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"controlnet_conditioning_scale": 0.4},
        {"control_guidance_start": 0.3, "control_guidance_end": 0.7},
        {"guidance_scale": 1.0},
    ],
    ids=str,
)
def test_control_equals_the_documented_recipe(control_pipeline, control_components, options):
    """One noise for all frames, both networks attending to the first: the recipe of diffusers' documentation."""
    branches = 1 if options.get("guidance_scale") == 1 else 2
    latents = noise(control_pipeline, 4, alike=True)
    theirs = recipe(
        StableDiffusionControlNetPipeline, control_components, 4, latents=latents, branches=branches, **options
    )
    assert_equal(run(control_pipeline, **options), theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_guidance_scale": 3.0, "guidance_scale": 4.0},
        {"guidance_scale": 1.0},
        {"image_guidance_scale": 0.7},
    ],
    ids=str,
)
def test_editing_equals_the_recipe(edit_pipeline, edit_components, options):
    """Three guidance branches, each frame with noise of its own and its own picture beside it; below 1 none."""
    branches = 3 if options.get("guidance_scale", 7.5) > 1 <= options.get("image_guidance_scale", 1.5) else 1
    latents = noise(edit_pipeline, 4, alike=False)
    theirs = recipe(
        StableDiffusionInstructPix2PixPipeline, edit_components, 4, latents=latents, branches=branches, **options
    )
    assert_equal(run(edit_pipeline, **options), theirs)


def test_guidance_below_one_goes_on_where_that_is_asked_for(edit_pipeline):
    """It is equation 3 of InstructPix2Pix there too: nearly the same just below 1, and without the source at 0."""
    one = run(edit_pipeline, 2, image_guidance_scale=1.0)
    below, nothing = (run(edit_pipeline, 2, image_guidance_scale=scale, guide_below_one=True) for scale in (0.999, 0.0))
    unguided = run(edit_pipeline, 2, image_guidance_scale=0.999)
    assert (below - one).abs().max() < 0.01 * (unguided - one).abs().max()
    assert (nothing - one).abs().max() > 10 * (below - one).abs().max()


@pytest.mark.parametrize("mode", ["control_pipeline", "edit_pipeline"])
@pytest.mark.parametrize("kind", [None, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler])
def test_neither_chunk_nor_length_changes_a_frame(request, mode, kind):
    """Chunks cost less memory, more frames follow: what is there stays as it is, also with a stochastic sampler."""
    pipeline = request.getfixturevalue(mode)
    if kind is not None:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    whole = run(pipeline, 5)
    for chunk_size in (1, 2, 3):
        assert_equal(run(pipeline, 5, options=RunOptions(chunk_size=chunk_size)), whole)
    assert_equal(run(pipeline, 3), whole[:3])


def test_frames_with_the_same_control_are_the_same(control_pipeline):
    """Every frame starts from one noise, so only its control can tell it from the first; also where chance plays."""
    control_pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(control_pipeline.scheduler.config)
    still = np.repeat(video(1), 3, axis=0)
    latents = control_pipeline(
        "a red circle", still, num_inference_steps=6, generator=seeded(), output_type="latent"
    ).images
    assert_equal(latents, latents[:1].expand_as(latents))


def test_motion_comes_on_top_of_control(control_pipeline):
    """With a motion window the frames after the first change, the first does not."""
    still, moved = run(control_pipeline), run(control_pipeline, motion_window=(500, 700), motion_field_strength_x=40)
    assert_equal(moved[:1], still[:1])
    assert (moved[1:] - still[1:]).abs().max() > 0.1


def test_random_steps_do_not_repeat_the_noise_that_set_frames_apart(control_pipeline, monkeypatch):
    """With motion each frame is re-noised; a stochastic sampler that drew the same numbers again would undo it."""
    import diffusers.schedulers.scheduling_euler_ancestral_discrete as ancestral

    from pipelines.denoising import Sampler

    control_pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(control_pipeline.scheduler.config)
    stepped, renoised = [], []
    draw, renoise = ancestral.randn_tensor, Sampler.renoise

    def watched_draw(*arguments, **options):
        stepped.append(draw(*arguments, **options))
        return stepped[-1]

    def watched_renoise(self, latents, noise, *steps):
        renoised.append(noise)
        return renoise(self, latents, noise, *steps)

    monkeypatch.setattr(ancestral, "randn_tensor", watched_draw)
    monkeypatch.setattr(Sampler, "renoise", watched_renoise)
    run(control_pipeline, motion_window=(500, 700), motion_field_strength_x=40)
    others = [drawn for drawn in stepped if len(drawn) == 3]
    assert others
    for frame, noise in enumerate(renoised[0]):
        assert not any(torch.equal(noise, drawn[frame]) for drawn in others)


def test_nothing_stays_patched_after_an_error(control_pipeline):
    """An exception half-way leaves both networks with the processors they had."""
    networks = (control_pipeline.unet, control_pipeline.controlnet)
    before = [network.attn_processors for network in networks]

    def stop(step, frames_done, latents):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(control_pipeline, options=RunOptions(watch=stop))
    assert [network.attn_processors for network in networks] == before


@pytest.mark.parametrize("kind", [None, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler])
def test_a_given_first_frame_stays_what_it_is(video_pipeline, control_pipeline, kind):
    """Frame 0 comes out as the autoencoder alone draws it, and the others look at it."""
    picture = video(1)[0]
    for pipeline in (video_pipeline, control_pipeline):
        if kind is not None:
            pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
        options = {"motion_window": (500, 700), "num_inference_steps": 6, "output_type": "latent"}
        if pipeline is video_pipeline:
            options |= {"height": HEIGHT, "width": WIDTH, "video_length": 3}
            ours = pipeline("a star", first_frame=picture, generator=seeded(), **options).images
            free = pipeline("a star", generator=seeded(), **options).images
        else:
            ours = pipeline("a star", video(3), first_frame=picture, generator=seeded(), **options).images
            free = pipeline("a star", video(3), generator=seeded(), **options).images
        clean = pipeline.encode_first_frame(picture, HEIGHT, WIDTH)
        assert_equal(ours[:1], clean)
        assert (ours[1:] - free[1:]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": video(2).astype(np.float32)}, "uint8"),
        ({"image": video(2)[:, :90]}, "multiples of 8"),
        ({"control_guidance_start": 0.8, "control_guidance_end": 0.2}, "control_guidance_start <="),
        ({"first_frame": video(1)[0]}, "motion_window"),
        ({"prompt": ["a", "b"]}, "one prompt"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments_are_refused_before_anything_is_computed(control_pipeline, wrong, message):
    with pytest.raises(ValueError, match=message):
        control_pipeline(**({"prompt": "a star", "image": video(2)} | wrong))


# --- several ControlNets ----------------------------------------------------------------------------------------------


@pytest.fixture
def two_networks(control_components):
    """The tiny parts with two ControlNets that say different things."""
    first = control_components["controlnet"]
    second = type(first).from_config(first.config)
    second.load_state_dict({name: 0.7 * value for name, value in first.state_dict().items()})
    return {**control_components, "controlnet": [first, second.eval()]}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"controlnet_conditioning_scale": [0.4, 1.3]},
        {
            "controlnet_conditioning_scale": 0.5,
            "control_guidance_start": [0.0, 0.4],
            "control_guidance_end": [0.6, 1.0],
        },
    ],
)
def test_several_controlnets_steer_as_in_diffusers(two_networks, options):
    """They were an AttributeError; what each says is added up, whatever the chunk."""
    pipeline = quiet(ControlledVideoPipeline(**two_networks))
    still = quiet(StableDiffusionControlNetPipeline(**two_networks))
    videos = [video(4), video(4)[:, :, ::-1]]
    pictures = [torch.from_numpy(each[:1].copy()).permute(0, 3, 1, 2) / 255 for each in videos]
    given = {"num_inference_steps": 6, "output_type": "latent"} | options
    expected = still("a red circle", pictures, generator=seeded(), **given).images
    ours = pipeline("a red circle", videos, generator=seeded(), **given).images
    assert_equal(ours[:1], expected)
    chunked = pipeline("a red circle", videos, generator=seeded(), options=RunOptions(chunk_size=2), **given).images
    assert_equal(chunked, ours)
    first = {name: value[0] if isinstance(value, list) else value for name, value in given.items()}
    alone = quiet(ControlledVideoPipeline(**{**two_networks, "controlnet": two_networks["controlnet"][0]}))
    assert (alone("a red circle", videos[0], generator=seeded(), **first).images - ours).abs().max() > 0.01


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (video(2), {}, "2 ControlNets want a list"),
        ([video(2)], {}, "image has 1 values for 2"),
        ([video(2), video(3)], {}, "one shape"),
        ([video(2), video(2)], {"controlnet_conditioning_scale": [1.0]}, "controlnet_conditioning_scale has 1"),
        ([video(2), "edges.mp4"], {}, "image must be an array"),
    ],
)
def test_what_several_controlnets_cannot_take_is_said(two_networks, image, options, said):
    with pytest.raises(ValueError, match=said):
        ControlledVideoPipeline(**two_networks)("a red circle", image, **options)


def test_one_controlnet_cannot_steer_twice(control_components):
    """Its anchor's keys would be those of the other control video."""
    network = control_components["controlnet"]
    pipeline = ControlledVideoPipeline(**{**control_components, "controlnet": [network, network]})
    with pytest.raises(ValueError, match="cannot steer twice"):
        pipeline("a red circle", [video(2), video(2)])
