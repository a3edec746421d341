"""Folders that our pipeline classes write are read by diffusers, by the classes themselves, and by this program."""

import json

import numpy as np
import pytest
import torch
from conftest import quiet
from diffusers import DiffusionPipeline, UNet3DConditionModel

from model_manager import builtin_models
from model_manager.checkpoint_formats import FORMATS, format_of_folder
from model_manager.loader import load_components
from pipelines.controlnet import ControlledVideoPipeline
from pipelines.pix2pix import EditedVideoPipeline
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.text_to_video_xl import TextToVideoXLPipeline
from pipelines.trained_video import TrainedVideoPipeline

ANCESTORS = {
    TextToVideoPipeline: "StableDiffusionPipeline",
    TextToVideoXLPipeline: "StableDiffusionXLPipeline",
    ControlledVideoPipeline: "StableDiffusionControlNetPipeline",
    EditedVideoPipeline: "StableDiffusionInstructPix2PixPipeline",
    TrainedVideoPipeline: "TextToVideoSDPipeline",
}
PICTURE = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)


@pytest.fixture
def parts(components, xl_components, control_components, edit_components):
    """The tiny parts of each class."""
    torch.manual_seed(3)
    unet = UNet3DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
    ).eval()
    return {
        TextToVideoPipeline: components,
        TextToVideoXLPipeline: xl_components,
        ControlledVideoPipeline: control_components,
        EditedVideoPipeline: edit_components,
        TrainedVideoPipeline: {**components, "unet": unet},
    }


def draw(pipeline):
    """The first frame's latents in few steps, or the still image's."""
    given = {"num_inference_steps": 2, "output_type": "latent", "generator": torch.Generator().manual_seed(7)}
    ours = type(pipeline) in ANCESTORS
    if isinstance(pipeline, ControlledVideoPipeline | EditedVideoPipeline):
        given["image"] = PICTURE
    elif hasattr(pipeline, "controlnet") or pipeline.unet.config.in_channels == 8:
        given["image"] = torch.from_numpy(PICTURE).permute(0, 3, 1, 2) / 255
    elif isinstance(pipeline, TrainedVideoPipeline):
        given |= {"video_length": 1, "height": 64, "width": 64}
    elif type(pipeline).__name__ == "TextToVideoSDPipeline":
        given |= {"num_frames": 1, "height": 64, "width": 64}
    else:
        given |= {"height": 64, "width": 64} | ({"video_length": 1} if ours else {})
    output = quiet(pipeline)("a red circle", guidance_scale=3.0, **given)
    latents = output.images if hasattr(output, "images") else output.frames
    return latents if latents.ndim == 4 else latents[:, :, 0]


@pytest.mark.parametrize("kind", ANCESTORS)
def test_a_folder_is_read_back_by_diffusers_and_by_its_class(parts, tmp_path, kind):
    """diffusers refused what the controlled and the editing class wrote: it knows no class of that name."""
    pipeline = kind(**parts[kind])
    pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == ANCESTORS[kind]
    expected = draw(pipeline)
    theirs = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(theirs).__name__ == ANCESTORS[kind]
    assert (draw(theirs) - expected).abs().max() < 1e-4
    again = kind.from_pretrained(tmp_path)
    assert type(again) is kind
    assert (draw(again) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("kind", ANCESTORS)
@pytest.mark.parametrize("before", [False, True])
def test_this_program_reads_what_its_classes_write_and_wrote(parts, tmp_path, kind, before):
    """The loader refused folders of the controlled, the editing and the trained class; those of before too."""
    kind(**parts[kind]).save_pretrained(tmp_path)
    if before:
        index = json.loads((tmp_path / "model_index.json").read_text())
        (tmp_path / "model_index.json").write_text(json.dumps(index | {"_class_name": kind.__name__}))
    format_ = format_of_folder(str(tmp_path))
    assert format_ is FORMATS[kind.__name__ if before else ANCESTORS[kind]]
    assert (format_.edits, format_.trained_on_videos) == (kind is EditedVideoPipeline, kind is TrainedVideoPipeline)
    read = load_components(builtin_models.ModelRow("saved", "saved", str(tmp_path), ""), "cpu")
    for name, value in read["unet"].state_dict().items():
        assert torch.equal(value, parts[kind]["unet"].state_dict()[name])


def test_several_controlnets_are_saved_with_their_pipeline(control_components, tmp_path):
    """And read back by this program as the checkpoint that they steer."""
    first = control_components["controlnet"]
    nets = [first, type(first).from_config(first.config)]
    ControlledVideoPipeline(**{**control_components, "controlnet": nets}).save_pretrained(tmp_path)
    assert "unet" in load_components(builtin_models.ModelRow("saved", "saved", str(tmp_path), ""), "cpu")
