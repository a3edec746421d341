"""What each mode is made of: its pipeline, what it needs besides settings, and the arguments it is called with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import registry
import video_io
from annotators.canny import Canny
from annotators.depth import Depth
from annotators.pose import Pose
from director import load_storyboard
from errors import InvalidSettings, ModelUnavailable
from loading import Loader
from reporting import stop_if
from settings import (
    ControlSettings,
    DirectorSettings,
    EditSettings,
    GenerationSettings,
    MotionSettings,
    Settings,
    SourceSettings,
    TextToVideoSettings,
    check_pixels,
)

Source = str | Path | np.ndarray
# Beginnings of layers' names; the middle belongs to the encoder, as in a ControlNet, which has no decoder.
ATTENTION_BLOCKS = {"all": ("",), "encoder": ("down_blocks", "mid_block"), "decoder": ("up_blocks",)}


@dataclass(frozen=True)
class Inputs:
    """What a mode draws from besides its settings: ``video`` uint8 (frames, height, width, 3), the control or the video
    to edit; ``first_frame`` uint8 (height, width, 3); remarks for the user."""

    video: np.ndarray | None = None
    first_frame: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    frame_prompts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Mode:
    """One kind of settings: its pipeline, the arguments that only this pipeline takes, and what may be given."""

    pipeline: Callable[[Loader, registry.ModelRow, Any], Any]
    arguments: Callable[[Any, Inputs], dict[str, Any]]
    takes_source: bool
    takes_first_frame: bool
    edits: bool = False


def text_to_video_pipeline(loader: Loader, row: registry.ModelRow, settings: TextToVideoSettings) -> Any:
    """The pipeline of this row's parts; raises ModelUnavailable for a kind of checkpoint that there is none for."""
    parts = loader.components(row)
    wanted = parts["unet"].config.addition_embed_type
    if wanted not in (kinds := painters()):
        raise ModelUnavailable(f"{row.name} is drawn from more than a text ({wanted}): choose another checkpoint")
    return kinds[wanted](**parts)


def painters() -> Mapping[str | None, Callable[..., Any]]:
    """What paints a text as a video with a checkpoint's parts, by what its UNet is told besides the text."""
    from pipelines.text_to_video import TextToVideoPipeline
    from pipelines.text_to_video_xl import TextToVideoXLPipeline

    return {
        None: partial(TextToVideoPipeline, safety_checker=None, requires_safety_checker=False),
        "text_time": TextToVideoXLPipeline,
    }


def control_pipeline(loader: Loader, row: registry.ModelRow, settings: ControlSettings) -> Any:
    """The pipeline of this row's parts and its ControlNet; raises ModelUnavailable where there is none."""
    from pipelines.controlnet import ControlledVideoPipeline

    if settings.control not in row.controlnets:
        raise ModelUnavailable(f"there is no ControlNet for {settings.control} that fits {row.label}")
    parts = parts_told_text_alone(loader, row, "control")
    controlnet = loader.controlnet(row, settings.control, parts["unet"])
    return ControlledVideoPipeline(**parts, controlnet=controlnet, safety_checker=None, requires_safety_checker=False)


def edit_pipeline(loader: Loader, row: registry.ModelRow, settings: EditSettings) -> Any:
    """The pipeline of this row's parts."""
    from pipelines.pix2pix import EditedVideoPipeline

    parts = parts_told_text_alone(loader, row, "editing")
    return EditedVideoPipeline(**parts, safety_checker=None, requires_safety_checker=False)


def parts_told_text_alone(loader: Loader, row: registry.ModelRow, purpose: str) -> dict[str, Any]:
    """The row's parts; raises ModelUnavailable for a Stable Diffusion XL checkpoint."""
    parts = loader.components(row)
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
        enabled=settings.cross_frame_attention,
        anchors=settings.anchors,
        period=settings.anchor_period,
        filtered=settings.match_filter,
        blocks=ATTENTION_BLOCKS[settings.attention_blocks],
    )


def frame_prompts(settings: MotionSettings, frames: int) -> tuple[str, ...] | None:
    """Each frame's own prompt, empty where it is a blend, or None where the prompt serves all; raises UserError."""
    text = settings.storyboard
    if not text.strip():
        if not isinstance(settings, DirectorSettings):
            return None
        text = settings.prompt
    prompts = load_storyboard(text, frames)
    if len(prompts) != frames:
        raise InvalidSettings(f"storyboard: has {len(prompts)} frames, the video {frames}: make them the same number")
    return prompts


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


MODES: Mapping[type[Settings], Mode] = {
    TextToVideoSettings: Mode(text_to_video_pipeline, text_to_video_arguments, False, True),
    DirectorSettings: Mode(text_to_video_pipeline, text_to_video_arguments, False, True),
    ControlSettings: Mode(control_pipeline, control_arguments, True, True),
    EditSettings: Mode(edit_pipeline, edit_arguments, True, False, edits=True),
}


# What draws each control, from its settings and a device; what it is made from tells one annotator from another.
ANNOTATORS: Mapping[str, Callable[[ControlSettings, str], tuple[Any, ...]]] = {
    "canny": lambda settings, device: (Canny, settings.canny_low, settings.canny_high),
    "depth": lambda settings, device: (Depth, registry.DEPTH_ESTIMATORS[settings.depth_estimator], device),
    "pose": lambda settings, device: (Pose, *registry.POSE_NETWORKS, device),
}


class Annotators:
    """What turns a video into control frames; the last one is kept with its networks until ``release``."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._last: tuple[tuple[Any, ...], Any] | None = None

    def annotate(self, settings: ControlSettings, frames: np.ndarray, cancel: threading.Event | None) -> np.ndarray:
        """The control frames of a video under complete settings, or the video itself where it already is one."""
        if settings.source_is_control:
            return frames
        made_from = ANNOTATORS[settings.control](settings, self.device)
        if self._last is None or self._last[0] != made_from:
            self.release()
            self._last = made_from, made_from[0](*made_from[1:])
        return self._last[1](frames, lambda _: stop_if(cancel))

    def release(self) -> None:
        """Let go of its networks."""
        if self._last is not None:
            self._last[1].release()
        self._last = None


def complete(settings: Any, row: registry.ModelRow, pipeline: Any, frames: np.ndarray | None) -> Any:
    """Settings with every open value filled in from the checkpoint and the source, all but the chunk size.

    Raises InvalidSettings for more than one job may ask for.
    """
    own_px = own_side_px(pipeline)
    if frames is None:
        width, height, count = settings.width or own_px, settings.height or own_px, settings.num_frames
        filled = {"width": width, "height": height}
    else:
        count, height, width = frames.shape[:3]
        filled = {"num_frames": count, "resolution": min(width, height)}
    affordable(count, width, height)
    filled["model"] = row.name
    if isinstance(settings, MotionSettings):
        filled["motion_window"] = settings.motion_window or row.motion_window
    if isinstance(settings, SourceSettings) and settings.guidance_scale is None:
        filled["guidance_scale"] = row.steered_guidance_scale
    if isinstance(settings, ControlSettings) and settings.depth_estimator == "auto":
        filled["depth_estimator"] = row.depth_estimator
    return settings.model_copy(update=filled)


def size_px(settings: Any, video: np.ndarray | None) -> tuple[int, int]:
    """Width and height of the frames, from complete settings or the video that they follow."""
    return (settings.width, settings.height) if video is None else (video.shape[2], video.shape[1])


def own_side_px(pipeline: Any) -> int:
    """The side of the pictures that the checkpoint was trained on."""
    return pipeline.unet.config.sample_size * pipeline.vae_scale_factor


def affordable(num_frames: int, width: int, height: int) -> None:
    """Raise InvalidSettings for more pixels than one job may ask for."""
    try:
        check_pixels(num_frames, width, height)
    except ValueError as error:
        raise InvalidSettings(str(error)) from None


def check_source(source: Source) -> None:
    """Refuse what is no video, before a checkpoint is loaded for it; raises UserError."""
    if not isinstance(source, np.ndarray):
        video_io.probe(Path(source))
        return
    if source.dtype != np.uint8 or source.ndim != 4 or source.shape[-1] != 3 or 0 in source.shape:
        raise InvalidSettings("source: must be uint8 (frames, height, width, 3)")
    height, width = source.shape[1:3]
    if height % 8 or width % 8 or not 64 <= min(height, width) <= max(height, width) <= video_io.MAX_FITTED_PX:
        raise InvalidSettings(
            f"source: sides must be multiples of 8 from 64 to {video_io.MAX_FITTED_PX}, not {width}x{height}"
        )


def read_source(settings: SourceSettings, source: Source, own_px: int) -> Inputs:
    """The frames of a source that the settings ask for, at the size they ask for.

    An array is taken as it is, at most ``num_frames`` of it; a file is resampled and resized.
    """
    if isinstance(source, np.ndarray):
        return Inputs(np.ascontiguousarray(source[: settings.num_frames]))
    path = Path(source)
    facts = video_io.probe(path)
    shorter = settings.resolution or own_px
    longest = shorter * max(facts.width, facts.height) / min(facts.width, facts.height)
    size = video_io.fit_size(facts.width, facts.height, side=min(round(longest), video_io.MAX_FITTED_PX))
    affordable(settings.num_frames, *size)
    frames = video_io.read_video(
        path, size=size, fps=settings.fps, num_frames=settings.num_frames, start_seconds=settings.source_start
    )
    if len(frames) == settings.num_frames:
        return Inputs(frames)
    return Inputs(frames, notes=(f"The source has {len(frames)} frames from there on, at {settings.fps} a second.",))


def as_picture(picture: Source) -> np.ndarray:
    """The pixels of a picture file, or of an array that is one: uint8 (height, width, 3)."""
    pixels = picture if isinstance(picture, np.ndarray) else video_io.read_picture(Path(picture))
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or 0 in pixels.shape:
        raise InvalidSettings("first_frame: must be uint8 (height, width, 3)")
    return pixels


def fit_picture(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture cut to the shape of the video, around its middle, and resized: uint8 (height, width, 3)."""
    import cv2

    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    cut_width, cut_height = max(1, round(width / scale)), max(1, round(height / scale))
    left, top = max(0, pixels.shape[1] - cut_width) // 2, max(0, pixels.shape[0] - cut_height) // 2
    cut = np.ascontiguousarray(pixels[top : top + cut_height, left : left + cut_width])
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


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


def truncation_notes(
    tokenizer: Any, settings: GenerationSettings, frame_prompts: Sequence[str] | None = None
) -> Iterator[str]:
    """A remark for each text that is longer than the checkpoint reads."""
    limit = tokenizer.model_max_length
    shown = [("prompt", settings.prompt)]
    if frame_prompts is not None:
        shown = [(f"prompt of frame {frame}", prompt) for frame, prompt in enumerate(frame_prompts)]
    for label, text in (*shown, ("negative prompt", settings.negative_prompt)):
        count = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        if count > limit:
            yield f"The {label} is {count} tokens long; this checkpoint reads the first {limit} and ignores the rest."
