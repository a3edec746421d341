"""One frozen, typed settings class per mode; every front validates by them and nowhere else.

A field's type, bounds, default, label, description and unit are declared once; the page's controls, the command
line's options, the API's parameters, the YAML keys and the metadata inside a video are all made from them.
"""

import secrets
import unicodedata
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARS = 2000
MAX_STORYBOARD_CHARS = 40_000
# Frames x height x width: 64 frames of 1024x1024, or 1024 of 256x256. More does not fit a browser or a patience.
MAX_PIXELS = 64 * 1024 * 1024
TRAINING_TIMESTEPS = 1000

Scheduler = Literal["ddim", "dpm++ 2m", "dpm++ 2m karras", "euler", "euler a", "unipc", "lcm"]
Control = Literal["canny", "depth", "pose"]
Anchors = Literal["first", "previous", "first + previous", "all", "itself"]
AttentionBlocks = Literal["all", "encoder", "decoder"]
DepthEstimator = Literal["auto", "depth-anything-v2-small", "dpt-hybrid-midas", "toyworld"]


def _whole(value: Any) -> Any:
    """JSON and sliders write 8 as 8.0; anything with a fraction stays a float and is refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Size = Annotated[int, BeforeValidator(_whole), Field(ge=64, le=2048, multiple_of=8)]


def about(label: str, unit: str | None = None, *, advanced: bool = False, lines: int = 1) -> dict[str, Any]:
    """What a field's schema says besides its type and bounds."""
    return {"label": label, "unit": unit, "advanced": advanced, "lines": lines}


class Settings(BaseModel):
    """What every mode has in common. ``None`` means "the checkpoint's own" or "what fits"; seed -1 is random."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    mode: ClassVar[str]

    def resolved(self) -> Self:
        """The same settings with a random seed drawn where it is -1."""
        seed = getattr(self, "seed", 0)
        return self if seed >= 0 else self.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values with the mode as its tag; ``parse`` reads it back."""
        return {"mode": self.mode, **self.model_dump(mode="json")}


class GenerationSettings(Settings):
    """What every mode that draws has: a text, a model, and how its frames are denoised."""

    prompt: str = Field(
        max_length=MAX_PROMPT_CHARS,
        description="What the video shows, in one sentence.",
        json_schema_extra=about("Prompt"),
    )
    negative_prompt: str = Field(
        "",
        max_length=MAX_PROMPT_CHARS,
        description="What it should not show. Has no effect with guidance off.",
        json_schema_extra=about("Negative prompt", advanced=True),
    )
    model: str = Field(
        "auto",
        min_length=1,
        max_length=300,
        description="The checkpoint that paints the frames; auto takes the best one at hand.",
        json_schema_extra=about("Model"),
    )
    lora: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description="A small file that changes the model's style or teaches it a subject, for this video alone.",
        json_schema_extra=about("LoRA", advanced=True),
    )
    lora_scale: float = Field(
        1.0,
        ge=0,
        le=2,
        description="How strongly the LoRA works; 0 is the model without it.",
        json_schema_extra=about("LoRA scale", advanced=True),
    )
    vae: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description="What turns latents into pictures. Empty takes the checkpoint's own.",
        json_schema_extra=about("VAE", advanced=True),
    )
    num_frames: Whole = Field(
        8,
        ge=1,
        le=1024,
        description="Length of the video.",
        json_schema_extra=about("Frames", "frames"),
    )
    fps: Whole = Field(
        4,
        ge=1,
        le=60,
        description="Playback speed; changes nothing in the pictures.",
        json_schema_extra=about("Frame rate", "frames per second"),
    )
    seed: Whole = Field(
        -1,
        ge=-1,
        le=MAX_SEED,
        description="The same seed and settings give the same video; -1 draws a new one.",
        json_schema_extra=about("Seed"),
    )
    num_inference_steps: Whole = Field(
        20,
        ge=2,
        le=100,
        description="More steps take longer and draw a little cleaner.",
        json_schema_extra=about("Steps", "steps", advanced=True),
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=30,
        description="How closely the pictures follow the prompt; 1 and below turns guidance off, twice as fast. Empty "
        "takes the checkpoint's own.",
        json_schema_extra=about("Guidance scale", advanced=True),
    )
    scheduler: Scheduler = Field(
        "dpm++ 2m",
        description="The sampler that walks from noise to picture; the paper used ddim with 50 steps.",
        json_schema_extra=about("Scheduler", advanced=True),
    )
    chunk_size: Whole | None = Field(
        None,
        ge=1,
        le=1024,
        description="Frames computed at once: changes memory and time, never the picture. Empty takes what fits.",
        json_schema_extra=about("Chunk size", "frames", advanced=True),
    )
    cross_frame_attention: bool = Field(
        True,
        description="Frames attend to an anchor frame, which keeps appearance and identity.",
        json_schema_extra=about("Cross-frame attention", advanced=True),
    )
    anchors: Anchors = Field(
        "first",
        description="Whom frames attend to; itself is no cross-frame attention, all takes the most time and memory.",
        json_schema_extra=about("Anchor frames", advanced=True),
    )
    anchor_period: Whole = Field(
        0,
        ge=0,
        le=100,
        description="Rotational value mapping: after so many steps the next frame is the anchor; 0 keeps the first.",
        json_schema_extra=about("Anchor period", "steps", advanced=True),
    )
    match_filter: float = Field(
        0.0,
        ge=0,
        le=0.95,
        description="Dual-softmax filtering: this share of a frame, what matches the anchor worst, attends to itself.",
        json_schema_extra=about("Match filter", "share of a frame", advanced=True),
    )
    attention_blocks: AttentionBlocks = Field(
        "all",
        description="In which half of the network frames attend to each other.",
        json_schema_extra=about("Attention blocks", advanced=True),
    )

    @model_validator(mode="after")
    def _one_anchor_rotates(self) -> Self:
        if self.anchor_period and self.anchors not in ("first", None):
            raise ValueError(f"anchor_period ({self.anchor_period}) needs anchors 'first', not '{self.anchors}'")
        if self.anchors == "all" and self.chunk_size is not None and self.chunk_size < self.num_frames:
            raise ValueError("anchors 'all' computes all frames at once: leave chunk_size empty")
        return self

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty: write a sentence, for example 'a red circle on green grass'")
        return text

    @field_validator("prompt", "negative_prompt", "model", "lora", "vae", "storyboard", check_fields=False)
    @classmethod
    def _printable(cls, text: str | None) -> str | None:
        check_printable(text or "")
        return text


class MotionSettings(GenerationSettings):
    """Modes whose frames can have prompts of their own, and motion in the latents (section 3.3.1)."""

    storyboard: str = Field(
        "",
        max_length=MAX_STORYBOARD_CHARS,
        description="Moments in place of the prompt: one in each line, or A -> B, spread over the frames; or YAML with "
        "'prompts: {0: a dog, 7: a cat}'. Frames between two moments are a blend.",
        json_schema_extra=about("Storyboard", advanced=True, lines=3),
    )
    motion_field_strength_x: float = Field(
        12.0,
        ge=-128,
        le=128,
        description="Motion to the right (negative: to the left) in each frame.",
        json_schema_extra=about("Motion x", "512ths of the width per frame"),
    )
    motion_field_strength_y: float = Field(
        12.0,
        ge=-128,
        le=128,
        description="Motion downwards (negative: upwards) in each frame.",
        json_schema_extra=about("Motion y", "512ths of the height per frame"),
    )
    motion_window: tuple[Whole, Whole] | None = Field(
        None,
        description="Between which two timesteps motion is written, as 'from, to' with 0 < from < to < 1000: later "
        "is closer to the first frame, earlier is freer. Empty takes the checkpoint's own.",
        json_schema_extra=about("Motion window", "timesteps of 1000", advanced=True),
    )
    motion_field: bool = Field(
        True,
        description="Frames start from the first one's moved latents; off, each starts from noise of its own.",
        json_schema_extra=about("Motion in latents", advanced=True),
    )

    @field_validator("motion_window", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        pair = tuple(value) if isinstance(value, list) else value
        if pair is not None and not (isinstance(pair, tuple) and len(pair) == 2):
            raise ValueError("must be two timesteps, such as 600, 700")
        return pair

    @field_validator("motion_window")
    @classmethod
    def _ordered(cls, window: tuple[int, int] | None) -> tuple[int, int] | None:
        if window is not None and not 0 < window[0] < window[1] < TRAINING_TIMESTEPS:
            raise ValueError(f"must be two timesteps with 0 < from < to < {TRAINING_TIMESTEPS}")
        return window


class TextToVideoSettings(MotionSettings):
    """Text2Video-Zero (arXiv 2303.13439): one sentence, one image checkpoint, several frames."""

    mode: ClassVar[str] = "text_to_video"

    width: Size | None = Field(
        None,
        description="A multiple of 8; empty takes the checkpoint's own.",
        json_schema_extra=about("Width", "pixels", advanced=True),
    )
    height: Size | None = Field(
        None,
        description="A multiple of 8; empty takes the checkpoint's own.",
        json_schema_extra=about("Height", "pixels", advanced=True),
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
        description="Moments, such as 'a red circle -> a blue circle', or a sentence for a language model.",
        json_schema_extra=about("What happens"),
    )
    anchors: Anchors | None = Field(  # type: ignore[assignment] # wider than in other modes: rows have their own
        None,
        description="Whom every frame attends to. Empty takes what suits the checkpoint, or with an anchor period or a "
        "match filter the first.",
        json_schema_extra=about("Anchor frames", advanced=True),
    )
    motion_field: bool = Field(
        False,
        description="Frames start from the first one's moved latents; off, from its noise.",
        json_schema_extra=about("Motion in latents", advanced=True),
    )


class SourceSettings(GenerationSettings):
    """Modes that follow or change a video."""

    num_frames: Whole = Field(
        8,
        ge=1,
        le=1024,
        description="At most so many frames of the source.",
        json_schema_extra=about("Frames", "frames"),
    )
    fps: Whole = Field(
        4,
        ge=1,
        le=60,
        description="How many frames are taken from each second of the source, and played.",
        json_schema_extra=about("Frame rate", "frames per second"),
    )
    source_start: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="Where in the source to begin.",
        json_schema_extra=about("Start", "seconds", advanced=True),
    )
    resolution: Size | None = Field(
        None,
        description="The shorter side, a multiple of 8; the other keeps the source's shape. Empty takes the "
        "checkpoint's own.",
        json_schema_extra=about("Resolution", "pixels", advanced=True),
    )


class ControlSettings(SourceSettings, MotionSettings):
    """Edges, depth or skeletons of a video steer every frame (arXiv 2303.13439, section 3.4)."""

    mode: ClassVar[str] = "control"

    control: Control = Field(
        description="What is taken from the source: its edges, its depth, or the skeletons of its people.",
        json_schema_extra=about("Control"),
    )
    source_is_control: bool = Field(
        False,
        description="The source already is a control video: it is used as it is.",
        json_schema_extra=about("My video already is a control video"),
    )
    conditioning_scale: float = Field(
        1.0,
        ge=0,
        le=2,
        description="How strongly the control steers.",
        json_schema_extra=about("Conditioning scale"),
    )
    control_start: float = Field(
        0.0,
        ge=0,
        le=1,
        description="At which share of the steps the control begins.",
        json_schema_extra=about("Control start", "share of the steps", advanced=True),
    )
    control_end: float = Field(
        1.0,
        ge=0,
        le=1,
        description="At which share of the steps the control ends.",
        json_schema_extra=about("Control end", "share of the steps", advanced=True),
    )
    canny_low: Whole = Field(
        100,
        ge=0,
        le=255,
        description="Edges: brightness steps above this carry a line on.",
        json_schema_extra=about("Low threshold", "levels of 255", advanced=True),
    )
    canny_high: Whole = Field(
        200,
        ge=0,
        le=255,
        description="Edges: brightness steps above this begin a line.",
        json_schema_extra=about("High threshold", "levels of 255", advanced=True),
    )
    depth_estimator: DepthEstimator = Field(
        "auto",
        description="Depth: the network that estimates it; auto takes what suits the checkpoint.",
        json_schema_extra=about("Depth estimator", advanced=True),
    )
    motion_field: bool = Field(
        False,
        description="Moves the latents as well, on top of what the control does.",
        json_schema_extra=about("Motion in latents", advanced=True),
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
        description="What to change, as an instruction, such as: make it night.",
        json_schema_extra=about("Instruction"),
    )
    image_guidance_scale: float = Field(
        1.5,
        ge=1,
        le=10,
        description="How closely the pictures keep to the source.",
        json_schema_extra=about("Image guidance scale"),
    )


# Every mode there is; a tagged union over ``mode``.
MODES: dict[str, type[Settings]] = {
    kind.mode: kind for kind in (TextToVideoSettings, DirectorSettings, ControlSettings, EditSettings)
}


@cache
def field_facts(kind: type[Settings]) -> dict[str, dict[str, Any]]:
    """What a settings class declares about each field, as one flat JSON schema each: ``type``, ``minimum``,
    ``maximum``, ``enum``, ``default``, ``label``, ``unit``, ``description``, ``advanced``; and ``optional``, whether
    None is a value. Controls, options and documentation are made from it."""
    facts = {}
    for name, declared in kind.model_json_schema()["properties"].items():
        variants = declared.get("anyOf", [declared])
        concrete = next(variant for variant in variants if variant["type"] != "null")
        flat = {**declared, **concrete, "optional": len(variants) > 1}
        # Of an optional number pydantic gives the bounds under its own names.
        bounds = {new: flat[old] for old, new in (("ge", "minimum"), ("le", "maximum")) if old in flat}
        facts[name] = flat | bounds
    return facts


def check_printable(text: str) -> None:
    """Raise ValueError where a text has signs that nobody sees, which hide or turn what is written."""
    for character in text:
        hidden = unicodedata.category(character) == "Cc" and character not in "\n\t"
        turns_text = character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        if hidden or turns_text:
            raise ValueError(f"has the invisible control character U+{ord(character):04X}: remove it")


def check_pixels(num_frames: int, width: int, height: int) -> None:
    """Raise ValueError where frames x width x height is past what one job may ask for."""
    if num_frames * width * height > MAX_PIXELS:
        raise ValueError(
            f"{num_frames} frames of {width}x{height} are too much at once: at most "
            f"{MAX_PIXELS // (width * height)} frames of this size"
        )
