"""Settings that several modes share."""

import secrets
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from settings.fields import (
    MAX_FRAMES,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STORYBOARD_CHARS,
    TRAINING_TIMESTEPS,
    Anchors,
    AttentionBlocks,
    Scheduler,
    Whole,
    check_printable,
    shown,
)


class Settings(BaseModel):
    """Base of all settings. ``None`` means "the checkpoint's own" or "what fits"; seed -1 is random."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    mode: ClassVar[str]

    def resolved(self) -> Self:
        """Return the same settings with a random seed in place of -1."""
        seed = getattr(self, "seed", 0)
        return self if seed >= 0 else self.model_copy(update={"seed": secrets.randbelow(MAX_SEED + 1)})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values with the mode as the tag; ``parse`` reads them back."""
        return {"mode": self.mode, **self.model_dump(mode="json")}


class GenerationSettings(Settings):
    """Settings of every mode that draws: a text, a model, and how its frames are denoised."""

    prompt: str = Field(
        max_length=MAX_PROMPT_CHARS,
        title="Prompt",
        description="What the video shows, in one sentence.",
    )
    negative_prompt: str = Field(
        "",
        max_length=MAX_PROMPT_CHARS,
        title="Negative prompt",
        description="What it should not show. Has no effect with guidance off.",
        json_schema_extra=shown(advanced=True),
    )
    style: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        title="Style",
        description="Words around the prompt and in the negative prompt, by the name of a list.",
        json_schema_extra=shown(advanced=True),
    )
    model: str = Field(
        "auto",
        min_length=1,
        max_length=300,
        title="Model",
        description="The checkpoint that paints the frames; auto takes the best one at hand.",
    )
    lora: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        title="LoRA",
        description="A small file that changes the model's style or teaches it a subject, for this video alone.",
        json_schema_extra=shown(advanced=True),
    )
    lora_scale: float = Field(
        1.0,
        ge=0,
        le=2,
        title="LoRA scale",
        description="How strongly the LoRA works; 0 is the model without it.",
        json_schema_extra=shown(advanced=True),
    )
    vae: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        title="VAE",
        description="What turns latents into pictures. Empty takes the checkpoint's own.",
        json_schema_extra=shown(advanced=True),
    )
    num_frames: Whole = Field(
        8,
        ge=1,
        le=MAX_FRAMES,
        title="Frames",
        description="Length of the video.",
        json_schema_extra=shown("frames"),
    )
    fps: Whole = Field(
        4,
        ge=1,
        le=60,
        title="Frame rate",
        description="Playback speed; changes nothing in the pictures.",
        json_schema_extra=shown("frames per second"),
    )
    seed: Whole = Field(
        -1,
        ge=-1,
        le=MAX_SEED,
        title="Seed",
        description="The same seed and settings give the same video; -1 draws a new one.",
    )
    num_inference_steps: Whole = Field(
        20,
        ge=2,
        le=100,
        title="Steps",
        description="More steps take longer and draw a little cleaner.",
        json_schema_extra=shown("steps", advanced=True),
    )
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=30,
        title="Guidance scale",
        description="How closely the pictures follow the prompt; 1 and below turns guidance off, twice as fast. Empty "
        "takes the checkpoint's own.",
        json_schema_extra=shown(advanced=True),
    )
    scheduler: Scheduler = Field(
        "dpm++ 2m",
        title="Scheduler",
        description="The sampler that walks from noise to picture; the paper used ddim with 50 steps.",
        json_schema_extra=shown(advanced=True),
    )
    chunk_size: Whole | None = Field(
        None,
        ge=1,
        le=MAX_FRAMES,
        title="Chunk size",
        description="Frames computed at once: changes memory and time, never the picture. Empty takes what fits.",
        json_schema_extra=shown("frames", advanced=True),
    )
    cross_frame_attention: bool = Field(
        True,
        title="Cross-frame attention",
        description="Frames attend to an anchor frame, which keeps appearance and identity.",
        json_schema_extra=shown(advanced=True),
    )
    anchors: Anchors = Field(
        "first",
        title="Anchor frames",
        description="Whom frames attend to; itself is no cross-frame attention, all takes the most time and memory.",
        json_schema_extra=shown(advanced=True),
    )
    anchor_period: Whole = Field(
        0,
        ge=0,
        le=100,
        title="Anchor period",
        description="Rotational value mapping: after so many steps the next frame is the anchor; 0 keeps the first.",
        json_schema_extra=shown("steps", advanced=True),
    )
    match_filter: float = Field(
        0.0,
        ge=0,
        le=0.95,
        title="Match filter",
        description="Dual-softmax filtering: this share of a frame, what matches the anchor worst, attends to itself.",
        json_schema_extra=shown("share of a frame", advanced=True),
    )
    attention_blocks: AttentionBlocks = Field(
        "all",
        title="Attention blocks",
        description="In which half of the network frames attend to each other.",
        json_schema_extra=shown(advanced=True),
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

    @field_validator("prompt", "negative_prompt", "style", "model", "lora", "vae", "storyboard", check_fields=False)
    @classmethod
    def _printable(cls, text: str | None) -> str | None:
        check_printable(text or "")
        return text


class MotionSettings(GenerationSettings):
    """Modes whose frames can have prompts of their own, and motion in the latents (section 3.3.1)."""

    storyboard: str = Field(
        "",
        max_length=MAX_STORYBOARD_CHARS,
        title="Storyboard",
        description="Moments in place of the prompt: one in each line, or A -> B, spread over the frames; or YAML with "
        "'prompts: {0: a dog, 7: a cat}'. Frames between two moments are a blend.",
        json_schema_extra=shown(advanced=True, lines=3),
    )
    motion_field_strength_x: float = Field(
        12.0,
        ge=-128,
        le=128,
        title="Motion x",
        description="Motion to the right (negative: to the left) in each frame.",
        json_schema_extra=shown("512ths of the width per frame"),
    )
    motion_field_strength_y: float = Field(
        12.0,
        ge=-128,
        le=128,
        title="Motion y",
        description="Motion downwards (negative: upwards) in each frame.",
        json_schema_extra=shown("512ths of the height per frame"),
    )
    motion_window: tuple[Whole, Whole] | None = Field(
        None,
        title="Motion window",
        description="Between which two timesteps motion is written, as 'from, to' with 0 < from < to < 1000: later "
        "is closer to the first frame, earlier is freer. Empty takes the checkpoint's own.",
        json_schema_extra=shown("timesteps of 1000", advanced=True),
    )
    motion_field: bool = Field(
        True,
        title="Motion in latents",
        description="Frames start from the first one's moved latents; off, each starts from noise of its own.",
        json_schema_extra=shown(advanced=True),
    )

    @field_validator("motion_window", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
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
