"""Equal to diffusers' deprecated TextToVideoZeroPipeline, while that exists; golden latents for afterwards."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler

GOLDEN = Path(__file__).parent / "golden_latents.npz"
CASES = {
    "defaults": {},
    "not square": {"height": 96, "width": 160, "num_inference_steps": 20, "t0": 14, "t1": 17},
    "motion back and fractional": {
        "num_inference_steps": 12,
        "t0": 8,
        "t1": 10,
        "motion_field_strength_x": -20,
        "motion_field_strength_y": 7.3,
    },
    "far motion, mirrored at the border": {
        "num_inference_steps": 8,
        "t0": 4,
        "t1": 6,
        "motion_field_strength_x": 90,
        "motion_field_strength_y": -75,
    },
    "negative prompt": {"num_inference_steps": 10, "t0": 5, "t1": 8, "negative_prompt": "a blue star"},
    "no motion": {
        "num_inference_steps": 10,
        "t0": 7,
        "t1": 9,
        "motion_field_strength_x": 0,
        "motion_field_strength_y": 0,
        "video_length": 3,
    },
    "wide window": {"num_inference_steps": 20, "t0": 3, "t1": 18, "video_length": 4},
    "the scheduler that Stable Diffusion 1.5 ships with": {
        "scheduler": "pndm",
        "num_inference_steps": 20,
        "t0": 14,
        "t1": 17,
    },
    "guidance low": {"num_inference_steps": 10, "t0": 7, "t1": 8, "guidance_scale": 1.5, "video_length": 2},
}


def video(pipeline, case: str) -> torch.Tensor:
    options = dict(CASES[case])
    if options.pop("scheduler", None):
        pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    generator = torch.Generator().manual_seed(11)
    return pipeline("a red circle", generator=generator, output_type="latent", **options).images


@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_deprecated_pipeline(video_pipeline, components, case):
    """Same weights, same generator: latents equal to 1e-4 for every meaning an argument has there."""
    module = pytest.importorskip(
        "diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero",
        reason="removed from diffusers; the golden latents below stand for it",
    )
    reference = module.TextToVideoZeroPipeline(**components)
    reference.set_progress_bar_config(disable=True)
    assert (video(video_pipeline, case) - video(reference, case)).abs().max() < 1e-4


@pytest.mark.parametrize("case", ["not square", "motion back and fractional", "negative prompt"])
def test_equal_to_golden_latents(video_pipeline, case):
    """What the deprecated class gave on these networks, kept in the repository."""
    golden = np.load(GOLDEN)[case]
    np.testing.assert_allclose(video(video_pipeline, case).numpy(), golden, atol=2e-4)
