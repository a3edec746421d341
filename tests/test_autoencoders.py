"""Any autoencoder that diffusers' image-to-image takes works, and what a call returns is what its ancestor returns."""

import numpy as np
import pytest
import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderTiny,
    ConsistencyDecoderVAE,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from PIL.Image import Image

from model import Model
from pipelines.autoencoding import denormalized, normalized
from pipelines.controlnet import ControlledVideoPipeline
from pipelines.pix2pix import EditedVideoPipeline
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.text_to_video_xl import TextToVideoXLPipeline
from settings.parsing import parse

STATISTICS = {"latents_mean": [0.3, -0.2, 0.1, 0.4], "latents_std": [0.9, 1.7, 0.6, 1.3]}
WIDTHS = (4, 4, 4, 4)
AUTOENCODERS = {
    "tiny": lambda: AutoencoderTiny(
        encoder_block_out_channels=WIDTHS, decoder_block_out_channels=WIDTHS, num_decoder_blocks=(1, 1, 1, 1)
    ),
    "asymmetric": lambda: AsymmetricAutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        down_block_out_channels=WIDTHS,
        up_block_types=("UpDecoderBlock2D",) * 4,
        up_block_out_channels=WIDTHS,
        norm_num_groups=2,
    ),
    "consistency decoder": lambda: ConsistencyDecoderVAE(
        encoder_block_out_channels=WIDTHS,
        encoder_norm_num_groups=2,
        decoder_block_out_channels=WIDTHS,
        decoder_norm_num_groups=2,
        decoder_layers_per_block=1,
    ),
}
SHORT = {"num_inference_steps": 3, "motion_window": (500, 700)}


def seeded():
    return torch.Generator().manual_seed(7)


def autoencoder(name):
    torch.manual_seed(4)
    return AUTOENCODERS[name]().eval()


def draw(pipeline, **options):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        "a red circle", **({"generator": seeded(), "num_inference_steps": 3, "guidance_scale": 5.0} | options)
    )


def picture(frames=1):
    pixels = np.full((frames, 128, 128, 3), 60, np.uint8)
    pixels[:, 30:80, 30:80] = (250, 120, 20)
    return pixels


# --- any autoencoder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_pictures_are_encoded_and_decoded_by_any_autoencoder(components, name):
    """A first frame is encoded; ``AutoencoderTiny`` has no distribution of latents, which was an AttributeError."""
    pipeline = TextToVideoPipeline(**{**components, "vae": autoencoder(name)})
    first = draw(pipeline, video_length=2, first_frame=picture()[0], output_type="latent", **SHORT).images[:1]
    assert (first - pipeline.encode_first_frame(picture()[0], 128, 128)).abs().max() < 1e-5
    video, again = (draw(pipeline, video_length=2, first_frame=picture()[0], **SHORT).images for _ in range(2))
    assert video.shape == (2, 128, 128, 3)
    assert np.array_equal(video, again)  # also where the decoder draws random numbers


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_latents_of_a_picture_are_those_of_diffusers_image_to_image(components, name):
    """Of its step before noise is added; where latents have a distribution, its most likely value."""
    vae = autoencoder(name)
    theirs = StableDiffusionImg2ImgPipeline(**{**components, "vae": vae})
    pixels = theirs.image_processor.preprocess(torch.from_numpy(picture()).permute(0, 3, 1, 2) / 255)
    encoded = vae.encode(pixels)
    expected = (encoded.latents if name == "tiny" else encoded.latent_dist.mean) * vae.config.scaling_factor
    ours = TextToVideoPipeline(**{**components, "vae": vae}).encode_first_frame(picture()[0], 128, 128)
    assert (ours - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_frame_0_is_the_still_image_through_any_autoencoder(components, name):
    """Pixels as well."""
    parts = {**components, "vae": autoencoder(name)}
    still = draw(StableDiffusionPipeline(**parts), output_type="np").images
    video = draw(TextToVideoPipeline(**parts), video_length=2, output_type="np", **SHORT).images
    assert np.abs(video[:1] - still).max() < 1e-4


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_editing_and_control_work_with_any_autoencoder(edit_components, control_components, name):
    vae = autoencoder(name)
    edited = draw(EditedVideoPipeline(**{**edit_components, "vae": vae}), image=picture(2)).images
    steered = draw(
        ControlledVideoPipeline(**{**control_components, "vae": vae}),
        image=picture(2),
        first_frame=picture()[0],
        motion_window=(500, 700),
    ).images
    assert edited.shape == steered.shape == (2, 128, 128, 3)
    assert np.isfinite(edited).all()


# --- latents with a mean and a deviation ------------------------------------------------------------------------------


@pytest.fixture
def shifted_components(xl_components):
    """Stable Diffusion XL whose latents have a mean and a deviation of their own."""
    vae = type(xl_components["vae"]).from_config(xl_components["vae"].config, **STATISTICS)
    vae.load_state_dict(xl_components["vae"].state_dict())
    return {**xl_components, "vae": vae.eval()}


def test_frame_0_is_the_still_image_where_latents_have_a_mean_of_their_own(shifted_components, xl_components):
    """They were decoded as if they had none."""
    still = draw(StableDiffusionXLPipeline(**shifted_components), output_type="np").images
    video = draw(TextToVideoXLPipeline(**shifted_components), video_length=2, **SHORT).images
    plain = draw(StableDiffusionXLPipeline(**xl_components), output_type="np").images
    assert np.abs(video[:1] - still).max() < 1e-4
    assert np.abs(plain - still).max() > 0.01


def test_a_first_frame_is_encoded_as_image_to_image_does_it(shifted_components):
    """With the mean and the deviation taken out; through an autoencoder without a random part, so that both agree."""
    vae = autoencoder("tiny")
    vae.register_to_config(**STATISTICS)
    parts = {**shifted_components, "vae": vae}
    theirs = StableDiffusionXLImg2ImgPipeline(**parts)
    pixels = theirs.image_processor.preprocess(torch.from_numpy(picture()).permute(0, 3, 1, 2) / 255)
    expected = theirs.prepare_latents(pixels, None, 1, 1, torch.float32, "cpu", seeded(), add_noise=False)
    ours = TextToVideoXLPipeline(**parts).encode_first_frame(picture()[0], 128, 128)
    assert (ours - expected).abs().max() < 1e-4


def test_denormalizing_undoes_normalizing(shifted_components, components):
    latents = torch.randn(2, 4, 3, 3, generator=seeded())
    for parts in (shifted_components, components):
        assert (denormalized(parts["vae"], normalized(parts["vae"], latents)) - latents).abs().max() < 1e-6


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_type", ["pil", "np", "pt", "latent", "tensor", None])
@pytest.mark.parametrize("xl", [False, True])
def test_pictures_come_out_as_the_ancestor_gives_them(components, xl_components, xl, output_type):
    """The same class, shape, numbers and length of the tuple."""
    ours, theirs = (
        (TextToVideoXLPipeline(**xl_components), StableDiffusionXLPipeline(**xl_components))
        if xl
        else (TextToVideoPipeline(**components), StableDiffusionPipeline(**components))
    )
    still = draw(theirs, output_type=output_type, return_dict=False)
    video = draw(ours, video_length=2, output_type=output_type, return_dict=False, **SHORT)
    assert len(video) == len(still)
    assert len(video[0]) == 2
    assert type(video[0]) is type(still[0])
    if output_type == "pil":
        assert all(isinstance(frame, Image) for frame in video[0])
    far = np.abs(np.asarray(video[0][0], float) - np.asarray(still[0][0], float)).max()
    assert far < (1.5 if output_type == "pil" else 1e-4)
    named = draw(ours, video_length=2, output_type=output_type, **SHORT)
    assert type(named.images) is type(named.frames) is type(video[0])


def test_editing_and_control_give_lists_of_pictures_too(edit_pipeline, control_pipeline):
    for pipeline in (edit_pipeline, control_pipeline):
        frames, flags = draw(pipeline, image=picture(2), output_type="pil", return_dict=False)
        assert all(isinstance(frame, Image) and frame.size == (128, 128) for frame in frames)
        assert flags is None


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_a_checkpoint_with_any_autoencoder_makes_a_clip(components, tmp_path, name):
    """From a folder, with a given first frame, a preview and the plan for little memory, which not all can keep."""
    TextToVideoPipeline(**{**components, "vae": autoencoder(name)}).save_pretrained(tmp_path / "other")
    model = Model([str(tmp_path / "other")], device="cpu")
    asked = {"prompt": "a red circle", "model": "other", "num_frames": 2, "num_inference_steps": 3, "seed": 5}
    previews = []
    clip = model.generate(parse(asked), first_frame=picture()[0], on_step=lambda progress: previews.append(progress))
    assert clip.frames.shape == (2, 128, 128, 3)
    assert any(progress.preview is not None for progress in previews)
