"""One frozen, typed settings class per mode; every front validates by them and nowhere else.

A field's type, bounds, default, label, description and unit are declared once; the page's controls, the command
line's options, the API's parameters, the YAML keys and the metadata inside a video are all made from them.
"""

from typing import ClassVar, Self, TypeGuard

from pydantic import Field, model_validator

from settings.base import GenerationSettings, MotionSettings, Settings
from settings.fields import (
    MAX_FRAMES,
    MAX_PROMPT_CHARS,
    Anchors,
    Control,
    DepthEstimator,
    Size,
    Whole,
    check_pixels,
    shown,
)


class TextToVideoSettings(MotionSettings):
    """Text2Video-Zero (arXiv 2303.13439): one sentence, one image checkpoint, several frames."""

    mode: ClassVar[str] = "text_to_video"

    width: Size | None = Field(
        None,
        title="Width",
        description="A multiple of 8; empty takes the checkpoint's own.",
        json_schema_extra=shown("pixels", advanced=True),
    )
    height: Size | None = Field(
        None,
        title="Height",
        description="A multiple of 8; empty takes the checkpoint's own.",
        json_schema_extra=shown("pixels", advanced=True),
    )

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if self.width is not None and self.height is not None:
            check_pixels(self.num_frames, self.width, self.height)
        return self


class DirectorSettings(TextToVideoSettings):
    """DirecT2V (arXiv 2305.14330): a prompt for every frame, written by hand, from moments, or by a language model."""

    mode: ClassVar[str] = "direct"

    prompt: str = Field(
        max_length=MAX_PROMPT_CHARS,
        title="What happens",
        description="Moments, such as 'a red circle -> a blue circle', or a sentence for a language model.",
    )
    anchors: Anchors | None = Field(  # type: ignore[assignment] # wider than in other modes: rows have their own
        None,
        title="Anchor frames",
        description="Whom every frame attends to. Empty takes what suits the checkpoint, or with an anchor period or a "
        "match filter the first.",
        json_schema_extra=shown(advanced=True),
    )
    motion_field: bool = Field(
        False,
        title="Motion in latents",
        description="Frames start from the first one's moved latents; off, from its noise.",
        json_schema_extra=shown(advanced=True),
    )


class SourceSettings(GenerationSettings):
    """Modes that follow or change a video."""

    num_frames: Whole = Field(
        8,
        ge=1,
        le=MAX_FRAMES,
        title="Frames",
        description="At most so many frames of the source.",
        json_schema_extra=shown("frames"),
    )
    fps: Whole = Field(
        4,
        ge=1,
        le=60,
        title="Frame rate",
        description="How many frames are taken from each second of the source, and played.",
        json_schema_extra=shown("frames per second"),
    )
    source_start: float = Field(
        0.0,
        ge=0,
        le=86_400,
        title="Start",
        description="Where in the source to begin.",
        json_schema_extra=shown("seconds", advanced=True),
    )
    resolution: Size | None = Field(
        None,
        title="Resolution",
        description="The shorter side, a multiple of 8; the other keeps the source's shape. Empty takes the "
        "checkpoint's own.",
        json_schema_extra=shown("pixels", advanced=True),
    )


class ControlSettings(SourceSettings, MotionSettings):
    """Edges, depth or skeletons of a video steer every frame (arXiv 2303.13439, section 3.4)."""

    mode: ClassVar[str] = "control"

    control: Control = Field(
        title="Control",
        description="What is taken from the source: its edges, its depth, or the skeletons of its people.",
    )
    source_is_control: bool = Field(
        False,
        title="My video already is a control video",
        description="The source already is a control video: it is used as it is.",
    )
    conditioning_scale: float = Field(
        1.0,
        ge=0,
        le=2,
        title="Conditioning scale",
        description="How strongly the control steers.",
    )
    control_start: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Control start",
        description="At which share of the steps the control begins.",
        json_schema_extra=shown("share of the steps", advanced=True),
    )
    control_end: float = Field(
        1.0,
        ge=0,
        le=1,
        title="Control end",
        description="At which share of the steps the control ends.",
        json_schema_extra=shown("share of the steps", advanced=True),
    )
    canny_low: Whole = Field(
        100,
        ge=0,
        le=255,
        title="Low threshold",
        description="Edges: brightness steps above this carry a line on.",
        json_schema_extra=shown("levels of 255", advanced=True),
    )
    canny_high: Whole = Field(
        200,
        ge=0,
        le=255,
        title="High threshold",
        description="Edges: brightness steps above this begin a line.",
        json_schema_extra=shown("levels of 255", advanced=True),
    )
    depth_estimator: DepthEstimator = Field(
        "auto",
        title="Depth estimator",
        description="Depth: the network that estimates it; auto takes what suits the checkpoint.",
        json_schema_extra=shown(advanced=True),
    )
    motion_field: bool = Field(
        False,
        title="Motion in latents",
        description="Moves the latents as well, on top of what the control does.",
        json_schema_extra=shown(advanced=True),
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.control_start < self.control_end:
            raise ValueError(f"control_start ({self.control_start}) must be below control_end ({self.control_end})")
        steps = self.num_inference_steps
        if not any(
            self.control_start <= step / steps and (step + 1) / steps <= self.control_end for step in range(steps)
        ):
            raise ValueError(f"control_start to control_end holds none of the {steps} steps: widen it")
        if not self.canny_low < self.canny_high:
            raise ValueError(f"canny_low ({self.canny_low}) must be below canny_high ({self.canny_high})")
        return self


class EditSettings(SourceSettings):
    """Video Instruct-Pix2Pix (arXiv 2303.13439, section 3.5): an instruction edits a video."""

    mode: ClassVar[str] = "pix2pix"

    prompt: str = Field(
        max_length=MAX_PROMPT_CHARS,
        title="Instruction",
        description="What to change, as an instruction, such as: make it night.",
    )
    image_guidance_scale: float = Field(
        1.5,
        ge=0,
        le=10,
        title="Image guidance scale",
        description="How closely the pictures keep to the source; below 1 they leave it.",
    )


# Every mode there is; a tagged union over ``mode``.
SETTINGS_BY_MODE: dict[str, type[GenerationSettings]] = {
    kind.mode: kind for kind in (TextToVideoSettings, DirectorSettings, ControlSettings, EditSettings)
}


def is_directed(settings: Settings) -> TypeGuard[DirectorSettings]:
    """Return whether the prompt is for a director: moments, or a sentence for a language model."""
    return settings.mode == DirectorSettings.mode
