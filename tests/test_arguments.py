"""What the pipeline classes refuse before anything runs, and shapes and places that they take as their ancestors do."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from pipelines.text_to_video import TextToVideoPipeline
from pipelines.text_to_video_xl import TextToVideoXLPipeline
from pipelines.trained_video import TrainedVideoPipeline
from pipelines.video import RunOptions

NOT_FINITE = [float("nan"), float("inf"), float("-inf")]
NUMBERS = {
    "video_pipeline": ["guidance_scale", "eta", "motion_field_strength_x", "motion_field_strength_y"],
    "xl_pipeline": ["guidance_scale", "guidance_rescale", "eta", "motion_field_strength_x", "denoising_end"],
    "control_pipeline": [
        *("guidance_scale", "eta", "controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end"),
        *("motion_field_strength_x", "motion_field_strength_y"),
    ],
    "edit_pipeline": ["guidance_scale", "image_guidance_scale", "eta"],
    "trained_pipeline": ["guidance_scale", "eta"],
}


@pytest.fixture
def trained_pipeline(components):
    """Refuses before it looks at its UNet."""
    return TrainedVideoPipeline(**components)


def call(pipeline, name, **options):
    """A short run; modes that follow a video get one."""
    given = {"num_inference_steps": 4, "output_type": "latent", "generator": torch.Generator().manual_seed(7)}
    if name in ("control_pipeline", "edit_pipeline"):
        given["image"] = np.zeros((2, 64, 64, 3), np.uint8)
    elif name == "trained_pipeline":
        given["video_length"] = 2
    else:
        given |= {"video_length": 3, "motion_window": (400, 700)}
    return pipeline("a red circle", **(given | options)).images


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, numbers in NUMBERS.items() for number in numbers]
)
def test_numbers_that_are_none_are_refused_by_name(request, monkeypatch, name, number, value):
    """They reached the loop: NaN made noise of every frame, an infinite strength an error about an index."""
    pipeline = request.getfixturevalue(name)
    for method in ("_encode_prompt", "encode_prompt"):
        monkeypatch.setattr(type(pipeline), method, lambda *_, **__: pytest.fail("it was computed"), raising=False)
    with pytest.raises(ValueError, match=number):
        call(pipeline, name, **{number: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("steps", [0, -3, 2.5, True, "4"])
def test_steps_are_a_whole_number(request, name, steps):
    with pytest.raises(ValueError, match="num_inference_steps"):
        call(request.getfixturevalue(name), name, num_inference_steps=steps)


@pytest.mark.parametrize("steps", [0, -1, 1.5, None])
def test_a_callback_is_called_every_so_many_steps(video_pipeline, steps):
    """0 divided by zero where the options came in one."""
    with pytest.raises(ValueError, match="callback_steps"):
        RunOptions(callback_steps=steps)
    with pytest.raises(ValueError, match="callback_steps"):
        call(video_pipeline, "video_pipeline", callback_steps=steps)


@pytest.mark.parametrize("frame_ids", [[0, -2, 3], [0, -1, -7], [5, 1, 2]])
def test_places_in_time_may_lie_before_the_first_frame(components, video_pipeline, frame_ids):
    """They wrapped around to the last ones; the deprecated class moves the other way, and its frame 0 stays."""
    module = pytest.importorskip(
        "diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero",
        reason="removed from diffusers",
    )
    deprecated = module.TextToVideoZeroPipeline(**components)
    before = dict(components["unet"].attn_processors)
    deprecated.set_progress_bar_config(disable=True)
    options = {
        "video_length": 3,
        "num_inference_steps": 10,
        "t0": 6,
        "t1": 8,
        "frame_ids": frame_ids,
        "motion_field_strength_x": 40,
        "output_type": "latent",
    }
    ours, theirs = (
        pipeline("a red circle", generator=torch.Generator().manual_seed(7), **options).images
        for pipeline in (video_pipeline, deprecated)
    )
    components["unet"].set_attn_processor(before)
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("frame_ids", [[0, float("nan"), 1], [0, 1, float("inf")]])
def test_places_in_time_are_numbers(video_pipeline, frame_ids):
    with pytest.raises(ValueError, match="frame_ids"):
        call(video_pipeline, "video_pipeline", frame_ids=frame_ids)


# --- sizes of the checkpoint ------------------------------------------------------------------------------------------


def resized(parts, sample_size):
    """The parts with a UNet that says another size of its latents."""
    unet = UNet2DConditionModel.from_config(parts["unet"].config, sample_size=sample_size)
    unet.load_state_dict(parts["unet"].state_dict())
    return {**parts, "unet": unet.eval()}


@pytest.mark.parametrize("sample_size", [(8, 12), [12, 8], 8])
@pytest.mark.parametrize("xl", [False, True])
def test_the_checkpoint_s_own_size_may_be_a_pair(components, xl_components, xl, sample_size):
    """Height and width in the configuration: this was a TypeError."""
    kind, parts = (TextToVideoXLPipeline, xl_components) if xl else (TextToVideoPipeline, components)
    pipeline = kind(**resized(parts, sample_size))
    height, width = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    video = call(pipeline, "video_pipeline", video_length=2)
    assert video.shape == (2, 4, height, width)
    assert pipeline.own_size_px() == (8 * width, 8 * height)
    assert pipeline.own_side_px() == 8 * min(width, height)


def test_the_size_is_the_still_image_s(components):
    parts = resized(components, (8, 12))
    still = StableDiffusionPipeline(**parts)
    still.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 4, "output_type": "latent"}
    expected = still("a red circle", generator=torch.Generator().manual_seed(7), **options).images
    video = call(TextToVideoPipeline(**parts), "video_pipeline")
    assert (video[:1] - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("xl", "side"), [(False, 512), (True, 1024)])
def test_a_unet_that_does_not_say_its_size_has_the_family_s(components, xl_components, xl, side):
    kind, parts = (TextToVideoXLPipeline, xl_components) if xl else (TextToVideoPipeline, components)
    assert kind(**resized(parts, None)).own_size_px() == (side, side)
