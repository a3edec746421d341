"""Types and facts that settings are declared with: bounds, units, checks of text and size."""

import unicodedata
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from annotators.controls import CONTROLS

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARS = 2000
MAX_FRAMES = 1024
MAX_STORYBOARD_CHARS = 40_000
# Frames x height x width: 64 frames of 1024x1024, or 1024 of 256x256. More does not fit a browser or a patience.
MAX_PIXELS = 64 * 1024 * 1024
TRAINING_TIMESTEPS = 1000

Scheduler = Literal["ddim", "dpm++ 2m", "dpm++ 2m karras", "euler", "euler a", "unipc", "lcm"]
Anchors = Literal["first", "previous", "first + previous", "all", "itself"]
AttentionBlocks = Literal["all", "encoder", "decoder"]
DepthEstimator = Literal["auto", "depth-anything-v2-small", "dpt-hybrid-midas", "toyworld"]


def _whole(value: object) -> object:
    """Return 8 for 8.0, as JSON and sliders write it; anything with a fraction stays a float and is refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Size = Annotated[int, BeforeValidator(_whole), Field(ge=64, le=2048, multiple_of=8)]


def _registered(value: object) -> object:
    """Refuse any value but the name of a control kind, as pydantic refuses what a Literal has not."""
    if value not in tuple(CONTROLS):
        *others, last = (repr(name) for name in CONTROLS)
        expected = " or ".join([", ".join(others), last] if others else [last])
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return value


class _ControlSchema:
    """Adds the control kinds that there are now to the JSON schema of a text."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": list(CONTROLS)}


Control = Annotated[str, BeforeValidator(_registered), _ControlSchema()]


def shown(unit: str | None = None, *, advanced: bool = False, lines: int = 1) -> dict[str, Any]:
    """Return facts of a field's control that JSON schema has no key for, for ``json_schema_extra``.

    Args:
        unit: of a number.
        advanced: the control is under Advanced on the page.
        lines: of a text box.
    """
    return {"unit": unit, "advanced": advanced, "lines": lines}


def field_facts(kind: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the facts that a settings class declares about each field, as one flat JSON schema by the field's name.

    Keys: ``type``, ``minimum``, ``maximum``, ``enum``, ``default``, ``description``, ``label``, ``unit``, ``advanced``,
    ``lines``; and ``optional``, true where None is a value. Controls, options and documentation are made from them.
    """
    return _field_facts(kind, tuple(CONTROLS))


@cache
def _field_facts(kind: type[BaseModel], _controls: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Read the facts from the JSON schema, once for each state of the table of control kinds."""
    facts = {}
    for name, declared in kind.model_json_schema()["properties"].items():
        variants = declared.get("anyOf", [declared])
        concrete = next(variant for variant in variants if variant["type"] != "null")
        flat = {**shown(), **declared, **concrete, "label": declared["title"], "optional": len(variants) > 1}
        # Of an optional number pydantic gives the bounds under its own names.
        bounds = {new: flat[old] for old, new in (("ge", "minimum"), ("le", "maximum")) if old in flat}
        facts[name] = flat | bounds
    return facts


def check_printable(text: str) -> None:
    """Raise ValueError where a text has invisible characters that hide or turn what is written."""
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
