"""The table of modes: everything that sets one mode apart from the others, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from errors import InvalidSettings, ModelUnavailable
from generation.request import PreparedJob
from model_manager.builtin_models import ModelRow
from model_manager.loader import Loader
from settings import (
    ControlSettings,
    DirectorSettings,
    EditSettings,
    GenerationSettings,
    MotionSettings,
    TextToVideoSettings,
)

# Beginnings of layers' names; the middle belongs to the encoder, as in a ControlNet, which has no decoder.
ATTENTION_BLOCKS = {"all": ("",), "encoder": ("down_blocks", "mid_block"), "decoder": ("up_blocks",)}
# Arguments without a meaning where all frames are drawn together.
OF_ANCHORS = ("motion_field_strength_x", "motion_field_strength_y", "motion_window", "motion_field", "shared_noise")


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One row of the table.

    ``pipeline`` builds the pipeline from a loader, a model's row and settings. Of its call's arguments, ``arguments``
    maps some to settings, ``inputs`` some to fields of ``PreparedJob``, and ``constants`` are always the same.
    ``from_row`` maps settings that may be left open to the fields of ``ModelRow`` that fill them in. ``storyboard``
    names the settings that can hold one; the first that is not empty does. ``has_motion``: latents can move.
    ``annotates``: the source becomes a control video. ``edits``: needs an editing checkpoint.
    """

    pipeline: Callable[[Loader, ModelRow, Any], Any]
    arguments: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    from_row: Mapping[str, str]
    storyboard: tuple[str, ...] = ()
    has_motion: bool = False
    annotates: bool = False
    edits: bool = False

    @property
    def takes_source(self) -> bool:
        """Return whether the mode needs a video."""
        return "image" in self.inputs

    @property
    def takes_first_frame(self) -> bool:
        """Return whether frame 0 can be given."""
        return "first_frame" in self.inputs


def text_to_video_pipeline(
    loader: Loader, row: ModelRow, settings: TextToVideoSettings, *, directed: bool = False
) -> Any:
    """Build the pipeline of a row's components.

    Raises ModelUnavailable for a kind of checkpoint that has none, and InvalidSettings for a storyboard, or a prompt
    that is one (``directed``), where the checkpoint was trained on videos.
    """
    components = loader.components(row)
    if is_trained_on_videos(components["unet"]):
        if directed or settings.storyboard.strip():
            raise InvalidSettings(f"storyboard: {row.label} was trained on videos and draws all frames from one prompt")
        return trained_video_pipeline(components)
    wanted = components["unet"].config.addition_embed_type
    if wanted not in (kinds := text_pipelines()):
        raise ModelUnavailable(f"{row.name} is drawn from more than a text ({wanted}): choose another checkpoint")
    return kinds[wanted](**components)


def is_trained_on_videos(unet: Any) -> bool:
    """Return whether it is a 3D UNet."""
    return hasattr(unet, "transformer_in")


def trained_video_pipeline(components: dict[str, Any]) -> Any:
    """Build the pipeline of a checkpoint that was trained on videos."""
    from pipelines.trained_video import TrainedVideoPipeline

    return TrainedVideoPipeline(**components, safety_checker=None, requires_safety_checker=False)


def text_pipelines() -> Mapping[str | None, Callable[..., Any]]:
    """Text-to-video pipelines by the UNet's ``addition_embed_type``: None, or "text_time" for Stable Diffusion XL."""
    from pipelines.text_to_video import TextToVideoPipeline
    from pipelines.text_to_video_xl import TextToVideoXLPipeline

    return {
        None: partial(TextToVideoPipeline, safety_checker=None, requires_safety_checker=False),
        "text_time": TextToVideoXLPipeline,
    }


def control_pipeline(loader: Loader, row: ModelRow, settings: ControlSettings) -> Any:
    """Build the pipeline of a row's components and its ControlNet; raises ModelUnavailable where there is none."""
    from pipelines.controlnet import ControlledVideoPipeline

    if settings.control not in row.controlnets:
        raise ModelUnavailable(f"there is no ControlNet for {settings.control} that fits {row.label}")
    components = sd1_components(loader, row, "control")
    controlnet = loader.controlnet(row, settings.control, components["unet"])
    return ControlledVideoPipeline(
        **components, controlnet=controlnet, safety_checker=None, requires_safety_checker=False
    )


def edit_pipeline(loader: Loader, row: ModelRow, settings: EditSettings) -> Any:
    """Build the pipeline of a row's components."""
    from pipelines.pix2pix import EditedVideoPipeline

    components = sd1_components(loader, row, "editing")
    return EditedVideoPipeline(**components, safety_checker=None, requires_safety_checker=False)


def sd1_components(loader: Loader, row: ModelRow, purpose: str) -> dict[str, Any]:
    """Components of a checkpoint whose UNet is conditioned on text alone, as Stable Diffusion 1.x; raises
    ModelUnavailable, naming the ``purpose``, for one trained on videos or of Stable Diffusion XL."""
    components = loader.components(row)
    if is_trained_on_videos(components["unet"]):
        raise ModelUnavailable(f"{row.name} was trained on videos, and there is no {purpose} with those here")
    if components["unet"].config.addition_embed_type is not None:
        raise ModelUnavailable(
            f"{row.name} is a Stable Diffusion XL checkpoint, and there is no {purpose} with those here: choose a "
            "Stable Diffusion 1.x checkpoint"
        )
    return components


_TEXT_TO_VIDEO = Mode(
    pipeline=text_to_video_pipeline,
    arguments={"video_length": "num_frames", "height": "height", "width": "width", "motion_field": "motion_field"},
    inputs={"first_frame": "first_frame"},
    constants={"shared_noise": False},
    from_row={"motion_window": "motion_window", "guidance_scale": "guidance_scale"},
    storyboard=("storyboard",),
    has_motion=True,
)
MODES: Mapping[str, Mode] = {
    TextToVideoSettings.mode: _TEXT_TO_VIDEO,
    DirectorSettings.mode: replace(
        _TEXT_TO_VIDEO,
        pipeline=partial(text_to_video_pipeline, directed=True),
        constants={"shared_noise": True},
        from_row={**_TEXT_TO_VIDEO.from_row, "anchors": "directed_anchors"},
        storyboard=("storyboard", "prompt"),
    ),
    ControlSettings.mode: Mode(
        pipeline=control_pipeline,
        arguments={
            "controlnet_conditioning_scale": "conditioning_scale",
            "control_guidance_start": "control_start",
            "control_guidance_end": "control_end",
        },
        inputs={"image": "video", "first_frame": "first_frame"},
        from_row={
            "motion_window": "motion_window",
            "guidance_scale": "steered_guidance_scale",
            "depth_estimator": "depth_estimator",
        },
        storyboard=("storyboard",),
        has_motion=True,
        annotates=True,
    ),
    EditSettings.mode: Mode(
        pipeline=edit_pipeline,
        arguments={"image_guidance_scale": "image_guidance_scale"},
        constants={"guide_below_one": True},
        inputs={"image": "video"},
        from_row={"guidance_scale": "steered_guidance_scale"},
        edits=True,
    ),
}


def call_arguments(job: PreparedJob) -> dict[str, Any]:
    """Arguments of the pipeline's call, all but its ``RunOptions``; the generator is new in each."""
    import torch

    mode, settings = MODES[job.settings.mode], job.settings
    arguments = {
        "prompt": job.prompts.prompt,
        "negative_prompt": job.prompts.negative_prompt or None,
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "generator": torch.Generator("cpu").manual_seed(settings.seed),
        "output_type": "uint8",
        "return_dict": False,
        **{argument: getattr(settings, name) for argument, name in mode.arguments.items()},
        **{argument: getattr(job, name) for argument, name in mode.inputs.items()},
        **mode.constants,
    }
    if mode.storyboard:
        arguments["frame_prompts"] = job.prompts.frame_prompts
    if mode.has_motion:
        arguments |= motion_arguments(settings, anchored=job.first_frame is not None)
    left_out = OF_ANCHORS if job.pipeline.draws_together else ()
    return {name: value for name, value in arguments.items() if name not in left_out}


def motion_arguments(settings: MotionSettings, *, anchored: bool) -> dict[str, Any]:
    """Arguments for motion in the latents; a given first frame (``anchored``) needs their window even without.

    The pipelines' strengths move the camera, as in diffusers; the settings move what is seen.
    """
    strength = -1.0 if settings.motion_field else 0.0
    return {
        "motion_field_strength_x": strength * settings.motion_field_strength_x,
        "motion_field_strength_y": strength * settings.motion_field_strength_y,
        "motion_window": settings.motion_window if settings.motion_field or anchored else None,
    }


def attention_of(settings: GenerationSettings) -> Any:
    """The pipelines' ``CrossFrame`` options: how frames attend to each other."""
    from pipelines.attention import CrossFrame

    return CrossFrame(
        enabled=settings.cross_frame_attention and settings.anchors != "itself",
        anchors="first" if settings.anchors == "itself" else settings.anchors,
        period=settings.anchor_period,
        filtered=settings.match_filter,
        blocks=ATTENTION_BLOCKS[settings.attention_blocks],
    )
