"""What each mode is made of: its pipeline, what it needs besides settings, and the arguments it is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from errors import InvalidSettings, ModelUnavailable
from generation.sources import Inputs
from model_manager import builtin_models
from model_manager.loader import Loader
from settings import (
    ControlSettings,
    DirectorSettings,
    EditSettings,
    GenerationSettings,
    MotionSettings,
    Settings,
    TextToVideoSettings,
)

# Beginnings of layers' names; the middle belongs to the encoder, as in a ControlNet, which has no decoder.
ATTENTION_BLOCKS = {"all": ("",), "encoder": ("down_blocks", "mid_block"), "decoder": ("up_blocks",)}


@dataclass(frozen=True)
class Mode:
    """One kind of settings: its pipeline, the arguments that only this pipeline takes, and what may be given."""

    pipeline: Callable[[Loader, builtin_models.ModelRow, Any], Any]
    arguments: Callable[[Any, Inputs], dict[str, Any]]
    takes_source: bool
    takes_first_frame: bool
    edits: bool = False


def text_to_video_pipeline(loader: Loader, row: builtin_models.ModelRow, settings: TextToVideoSettings) -> Any:
    """The pipeline of this row's parts; raises ModelUnavailable for a kind of checkpoint that there is none for."""
    parts = loader.components(row)
    if is_trained_on_videos(parts["unet"]):
        return trained_video_pipeline(parts, row, settings)
    wanted = parts["unet"].config.addition_embed_type
    if wanted not in (kinds := painters()):
        raise ModelUnavailable(f"{row.name} is drawn from more than a text ({wanted}): choose another checkpoint")
    return kinds[wanted](**parts)


def is_trained_on_videos(unet: Any) -> bool:
    """Whether it is a 3D UNet."""
    return hasattr(unet, "transformer_in")


def trained_video_pipeline(parts: dict[str, Any], row: builtin_models.ModelRow, settings: TextToVideoSettings) -> Any:
    """The pipeline of a checkpoint that was trained on videos; raises InvalidSettings for what only others can."""
    from pipelines.trained_video import TrainedVideoPipeline

    if isinstance(settings, DirectorSettings) or settings.storyboard.strip():
        raise InvalidSettings(f"storyboard: {row.label} was trained on videos and draws all frames from one prompt")
    return TrainedVideoPipeline(**parts, safety_checker=None, requires_safety_checker=False)


def painters() -> Mapping[str | None, Callable[..., Any]]:
    """What paints a text as a video with a checkpoint's parts, by what its UNet is told besides the text."""
    from pipelines.text_to_video import TextToVideoPipeline
    from pipelines.text_to_video_xl import TextToVideoXLPipeline

    return {
        None: partial(TextToVideoPipeline, safety_checker=None, requires_safety_checker=False),
        "text_time": TextToVideoXLPipeline,
    }


def control_pipeline(loader: Loader, row: builtin_models.ModelRow, settings: ControlSettings) -> Any:
    """The pipeline of this row's parts and its ControlNet; raises ModelUnavailable where there is none."""
    from pipelines.controlnet import ControlledVideoPipeline

    if settings.control not in row.controlnets:
        raise ModelUnavailable(f"there is no ControlNet for {settings.control} that fits {row.label}")
    parts = sd1_components(loader, row, "control")
    controlnet = loader.controlnet(row, settings.control, parts["unet"])
    return ControlledVideoPipeline(**parts, controlnet=controlnet, safety_checker=None, requires_safety_checker=False)


def edit_pipeline(loader: Loader, row: builtin_models.ModelRow, settings: EditSettings) -> Any:
    """The pipeline of this row's parts."""
    from pipelines.pix2pix import EditedVideoPipeline

    parts = sd1_components(loader, row, "editing")
    return EditedVideoPipeline(**parts, safety_checker=None, requires_safety_checker=False)


def sd1_components(loader: Loader, row: builtin_models.ModelRow, purpose: str) -> dict[str, Any]:
    """Load the row's components; raises ModelUnavailable unless its UNet is conditioned on text alone, as SD 1.x is."""
    parts = loader.components(row)
    if is_trained_on_videos(parts["unet"]):
        raise ModelUnavailable(f"{row.name} was trained on videos, and there is no {purpose} with those here")
    if parts["unet"].config.addition_embed_type is not None:
        raise ModelUnavailable(
            f"{row.name} is a Stable Diffusion XL checkpoint, and there is no {purpose} with those here: choose a "
            "Stable Diffusion 1.x checkpoint"
        )
    return parts


def common_arguments(settings: GenerationSettings) -> dict[str, Any]:
    """What every pipeline is called with, from complete settings."""
    import torch

    return {
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt or None,
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(settings.seed),
        "output_type": "uint8",
        "return_dict": False,
    }


def attention_of(settings: GenerationSettings) -> Any:
    """How frames attend to each other, as the pipelines take it."""
    from pipelines.attention import CrossFrame

    return CrossFrame(
        enabled=settings.cross_frame_attention and settings.anchors != "itself",
        anchors="first" if settings.anchors == "itself" else settings.anchors,
        period=settings.anchor_period,
        filtered=settings.match_filter,
        blocks=ATTENTION_BLOCKS[settings.attention_blocks],
    )


def motion_arguments(settings: MotionSettings) -> dict[str, Any]:
    """The pipelines' arguments move the camera, as in diffusers; the settings move what is seen."""
    return {
        "motion_field_strength_x": -settings.motion_field_strength_x,
        "motion_field_strength_y": -settings.motion_field_strength_y,
        "motion_window": settings.motion_window,
    }


def text_to_video_arguments(settings: TextToVideoSettings, inputs: Inputs) -> dict[str, Any]:
    """Of ``TextToVideoPipeline``."""
    return motion_arguments(settings) | {
        "video_length": settings.num_frames,
        "height": settings.height,
        "width": settings.width,
        "motion_field": settings.motion_field,
        "first_frame": inputs.first_frame,
        "frame_prompts": inputs.frame_prompts,
        "shared_noise": isinstance(settings, DirectorSettings),
    }


def control_arguments(settings: ControlSettings, inputs: Inputs) -> dict[str, Any]:
    """Of ``ControlledVideoPipeline``; without motion in the latents, a given first frame only stays where it is."""
    motion = motion_arguments(settings)
    if not settings.motion_field:
        still = {} if inputs.first_frame is None else {"motion_window": settings.motion_window}
        motion = {"motion_window": None} | still
    return motion | {
        "image": inputs.video,
        "controlnet_conditioning_scale": settings.conditioning_scale,
        "control_guidance_start": settings.control_start,
        "control_guidance_end": settings.control_end,
        "first_frame": inputs.first_frame,
        "frame_prompts": inputs.frame_prompts,
    }


def edit_arguments(settings: EditSettings, inputs: Inputs) -> dict[str, Any]:
    """Of ``EditedVideoPipeline``."""
    return {"image": inputs.video, "image_guidance_scale": settings.image_guidance_scale}


# What has no meaning where all frames are drawn together.
OF_ANCHORS = ("motion_field_strength_x", "motion_field_strength_y", "motion_window", "motion_field", "shared_noise")


def call_arguments(mode: Mode, pipeline: Any, settings: Any, inputs: Inputs) -> dict[str, Any]:
    """What the mode's pipeline is called with, but for how the run is carried out."""
    arguments = common_arguments(settings) | mode.arguments(settings, inputs)
    left_out = OF_ANCHORS if pipeline.draws_together else ()
    return {name: value for name, value in arguments.items() if name not in left_out}


MODES: Mapping[type[Settings], Mode] = {
    TextToVideoSettings: Mode(text_to_video_pipeline, text_to_video_arguments, False, True),
    DirectorSettings: Mode(text_to_video_pipeline, text_to_video_arguments, False, True),
    ControlSettings: Mode(control_pipeline, control_arguments, True, True),
    EditSettings: Mode(edit_pipeline, edit_arguments, True, False, edits=True),
}


def build_scheduler(name: str, config: Any) -> Any:
    """The scheduler of a setting's name, on a checkpoint's own noise schedule."""
    import diffusers

    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "ddim": (diffusers.DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
        "dpm++ 2m": (diffusers.DPMSolverMultistepScheduler, {}),
        "dpm++ 2m karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        "euler": (diffusers.EulerDiscreteScheduler, {}),
        "euler a": (diffusers.EulerAncestralDiscreteScheduler, {}),
        "unipc": (diffusers.UniPCMultistepScheduler, {}),
        "lcm": (diffusers.LCMScheduler, {}),
    }
    kind, options = kinds[name]
    return kind.from_config(config, **options)
