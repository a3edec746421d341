"""UNets that were distilled with guidance take the scale as an embedding: frame 0 is what diffusers draws with them."""

import numpy as np
import pytest
import torch
from diffusers import (
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet3DConditionModel,
)

from pipelines.controlnet import ControlledVideoPipeline
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.text_to_video_xl import TextToVideoXLPipeline
from pipelines.trained_video import TrainedVideoPipeline

CHANNELS = 32  # of the embedding
SCALES = [0.5, 1.0, 7.5, 8.5]


def distilled(parts):
    """The parts with a UNet that heeds the embedding of the scale, and the scheduler of latent consistency models."""
    torch.manual_seed(9)
    unet = type(parts["unet"]).from_config(parts["unet"].config, time_cond_proj_dim=CHANNELS).eval()
    return {**parts, "unet": unet, "scheduler": LCMScheduler.from_config(parts["scheduler"].config)}


def draw(pipeline, guidance_scale, **options):
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(7)} | options
    return pipeline("a red circle", guidance_scale=guidance_scale, output_type="latent", **options).images


def share(ours, theirs):
    """How far frame 0 is from a picture, as a share of the picture's largest value."""
    return ((ours[:1] - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize("guidance_scale", SCALES)
@pytest.mark.parametrize("kind", [StableDiffusionPipeline, LatentConsistencyModelPipeline])
def test_frame_0_is_the_still_image(components, kind, guidance_scale):
    """The embedding was never given: frame 0 was more than a tenth off."""
    parts = distilled(components)
    parts = {name: part for name, part in parts.items() if part is not None}
    theirs = draw(kind(**(parts | {"safety_checker": None, "feature_extractor": None})), guidance_scale)
    ours = draw(TextToVideoPipeline(**distilled(components)), guidance_scale, video_length=3, motion_window=(600, 800))
    assert share(ours, theirs) < 1e-4


@pytest.mark.parametrize("guidance_scale", SCALES)
def test_frame_0_is_the_still_image_of_stable_diffusion_xl(xl_components, guidance_scale):
    parts = distilled(xl_components)
    theirs = draw(StableDiffusionXLPipeline(**parts), guidance_scale)
    ours = draw(TextToVideoXLPipeline(**parts), guidance_scale, video_length=3, motion_window=(600, 800))
    assert share(ours, theirs) < 1e-4


@pytest.mark.parametrize("guidance_scale", SCALES)
def test_frame_0_is_the_still_image_under_control(control_components, guidance_scale):
    parts = distilled(control_components)
    video = np.zeros((2, 128, 128, 3), np.uint8)
    video[:, 40:80, 40:80] = 255
    theirs = draw(
        StableDiffusionControlNetPipeline(**parts),
        guidance_scale,
        image=torch.from_numpy(video[:1]).permute(0, 3, 1, 2).float() / 255,
    )
    ours = draw(ControlledVideoPipeline(**parts), guidance_scale, image=video)
    assert share(ours, theirs) < 1e-4


def test_the_scale_matters_without_a_second_branch(components):
    """The network draws otherwise at another scale, from one pass of it."""
    pipeline = TextToVideoPipeline(**distilled(components))
    weak, strong = (draw(pipeline, scale, video_length=2, motion_window=(600, 800)) for scale in (2.0, 8.0))
    assert share(weak, strong[:1]) > 1e-3
    assert len(pipeline.encode_branches("a red circle", "green", 8.0, weighted=False)) == 1


def test_a_network_trained_on_videos_gets_it_too(components):
    """Distilled video models have the same input."""
    torch.manual_seed(2)
    unet = UNet3DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
        time_cond_proj_dim=CHANNELS,
    ).eval()
    pipeline = TrainedVideoPipeline(**{**components, "unet": unet})
    weak, strong = (draw(pipeline, scale, video_length=2) for scale in (0.5, 1.0))
    assert share(weak, strong[:1]) > 1e-3
