"""Settings of a comparison: prompts, engines, seeds; in a file a mapping, on the page a control each."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from director.storyboard import moments_of
from evaluation.clip_scores import VIT_B_32
from settings import MAX_PROMPT_CHARS, MAX_SEED, Settings, Size, Whole, check_printable, shown

MAX_PROMPTS, MAX_SEEDS, MAX_ENGINES = 200, 20, 12
Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARS)]


class EngineChoice(BaseModel):
    """Engine to compare: a row of ``engine_specs.ENGINES``, or a Hub id or folder of a diffusers pipeline; its label in
    the report; and settings of its own, such as ``model`` or ``motion_field``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    engine: str = Field(min_length=1, max_length=300)
    label: str | None = Field(None, min_length=1, max_length=100)
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        """Accept a name alone, or a mapping with the settings beside the name."""
        if isinstance(value, str):
            return {"engine": value}
        if not isinstance(value, Mapping) or "engine" not in value:
            raise ValueError("each must be a name, or a mapping with 'engine: name' and settings of its own")
        check_printable(str(value.get("label", "")))
        own = {name: each for name, each in value.items() if name in ("engine", "label")}
        return own | {"settings": {str(name): each for name, each in value.items() if name not in own}}


class ComparisonSettings(Settings):
    """Prompts, seeds and sizes that are the same for every engine, so that nothing but the engine differs."""

    mode: ClassVar[str] = "compare"

    prompts: tuple[Prompt, ...] = Field(
        min_length=1,
        max_length=MAX_PROMPTS,
        title="Prompts",
        description="What the videos show; every engine draws each of them. In a file also toyworld, toyworld-motion "
        "or general, the lists in evaluation/.",
    )
    engines: tuple[EngineChoice, ...] = Field(
        min_length=1,
        max_length=MAX_ENGINES,
        title="Engines",
        description="What draws them, one after the other.",
    )
    seeds: tuple[Whole, ...] = Field(
        (0,),
        min_length=1,
        max_length=MAX_SEEDS,
        title="Seeds",
        description="Every prompt is drawn once with each.",
    )
    num_frames: Whole | None = Field(
        None,
        ge=1,
        le=256,
        title="Frames",
        description="Length of every video; an engine that cannot draw exactly so many draws the next it can. Empty "
        "takes each engine's own, of this program's 8.",
        json_schema_extra=shown("frames"),
    )
    fps: Whole = Field(
        8,
        ge=1,
        le=60,
        title="Frame rate",
        description="Playback speed of this program's videos; pipelines of diffusers have speeds of their own.",
        json_schema_extra=shown("frames per second"),
    )
    width: Size | None = Field(
        None,
        description="Empty takes each engine's own.",
        title="Width",
        json_schema_extra=shown("pixels", advanced=True),
    )
    height: Size | None = Field(
        None,
        description="Empty takes each engine's own.",
        title="Height",
        json_schema_extra=shown("pixels", advanced=True),
    )
    clip: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description="A CLIP network by Hub id or folder, to score how well videos fit their text; true in a file is "
        f"{VIT_B_32}. Empty leaves these scores out.",
        title="CLIP network",
        json_schema_extra=shown(advanced=True),
    )

    @field_validator("prompts")
    @classmethod
    def _texts(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        for prompt in prompts:
            if not moments_of(prompt):
                raise ValueError("one is empty: write a sentence, for example 'a red circle on green grass'")
            check_printable(prompt)
        return without_repeats(prompts)

    @field_validator("prompts", "engines", "seeds", mode="before")
    @classmethod
    def _several(cls, value: object) -> tuple[object, ...]:
        """Accept a single value as a list of one."""
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    @field_validator("seeds")
    @classmethod
    def _in_range(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 <= seed <= MAX_SEED for seed in seeds):
            raise ValueError(f"must be from 0 to {MAX_SEED}")
        return without_repeats(seeds)

    @field_validator("clip", mode="before")
    @classmethod
    def _default_network(cls, value: object) -> object:
        return {True: VIT_B_32, False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        labels = [choice.label for choice in self.engines if choice.label is not None]
        if len(set(labels)) < len(labels):
            raise ValueError("engines: two have the same label")
        return self


def without_repeats(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return each value once, in order."""
    return tuple(dict.fromkeys(values))
