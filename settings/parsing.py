"""Settings from plain values, YAML or JSON, and back; every mistake becomes one line that says what to change."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from errors import InvalidSettings, first_line
from settings.base import GenerationSettings, Settings
from settings.fields import field_facts
from settings.plain_yaml import load_plain
from settings.schema import SETTINGS_BY_MODE, TextToVideoSettings

Validated = TypeVar("Validated", bound=Settings)

DECIMAL_COMMA = re.compile(r"\s*[+-]?\d{0,9},\d{1,9}\s*", re.ASCII)
MAX_SHOWN = 6  # of what a restored file loses
MAX_NAME_CHARS = 60  # of an unknown setting, as a message repeats it


def parse(values: Mapping[str, Any], mode: str = TextToVideoSettings.mode) -> GenerationSettings:
    """Validate plain values as settings; a ``mode`` among them wins over the argument.

    Raises InvalidSettings with one line that names the setting, the trouble and the bounds.
    """
    fields = dict(values)
    kind = SETTINGS_BY_MODE.get(str(fields.pop("mode", mode)))
    if kind is None:
        raise InvalidSettings(f"mode: must be one of {', '.join(SETTINGS_BY_MODE)}")
    return validate(kind, fields)


def validate(kind: type[Validated], fields: Mapping[str, Any]) -> Validated:
    """Validate fields as settings of a kind, where "7,5" is a number as "7.5" is; raises InvalidSettings with one
    line."""
    facts = field_facts(kind)
    plain = {
        name: float(value.replace(",", "."))
        if isinstance(value, str) and facts.get(name, {}).get("type") == "number" and DECIMAL_COMMA.fullmatch(value)
        else value
        for name, value in fields.items()
    }
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise InvalidSettings("; ".join(_sentence(part) for part in error.errors()[:3])) from None


def restorable(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what this version can take of settings inside a file, of another version perhaps, and a line for each kind
    of what is left out. A setting that has no default stays, to be refused by ``parse``."""
    kept = dict(values)
    kind = SETTINGS_BY_MODE.get(str(values.get("mode", TextToVideoSettings.mode)))
    unknown: list[str] = []
    lost: list[str] = []
    while kind is not None:
        try:
            kind.model_validate({name: value for name, value in kept.items() if name != "mode"})
            break
        except ValidationError as error:
            costs = [(_culprits(kind, part, kept), part) for part in error.errors()]
            if not any(names for names, _ in costs):
                break
            for names, part in costs:
                unknown += [name for name in names if name not in kind.model_fields]
                lost += [_sentence(part)] if set(names) & kind.model_fields.keys() else []
                kept = {name: value for name, value in kept.items() if name not in names}
    shown = ", ".join(name[:MAX_NAME_CHARS] for name in unknown[:MAX_SHOWN])
    more = f" and {len(unknown) - MAX_SHOWN} more" if len(unknown) > MAX_SHOWN else ""
    return kept, [*([f"{shown}{more}: not in this version"] if unknown else []), *lost[:MAX_SHOWN]]


def _culprits(kind: type[Settings], error: ErrorDetails, values: Mapping[str, Any]) -> list[str]:
    """The settings that an error costs: the one it is about, or those that it names."""
    if error["loc"]:
        named = [str(error["loc"][0])]
    else:
        named = [name for name in values if re.search(rf"\b{re.escape(name)}\b", error["msg"])]
    fields = kind.model_fields
    return [name for name in named if name in values and not (name in fields and fields[name].is_required())]


def read_mapping(text: str, *, only_json: bool = False) -> dict[str, Any]:
    """Read the mapping in a YAML or JSON text; raises InvalidSettings where it is something else.

    ``only_json`` is for texts of strangers: YAML's aliases can make a few bytes into gigabytes. JSON is always tried
    first, because YAML reads the two halves of an emoji that JSON escapes as two broken characters.
    """
    text = text.removeprefix("\ufeff")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None if only_json else _read_yaml(text)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InvalidSettings("settings must be a mapping of names to values, such as 'prompt: a red circle'")
    return values


def _read_yaml(text: str) -> Any:
    try:
        return load_plain(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidSettings(f"not YAML or JSON: {yaml_mistake(error, text)}") from None


def yaml_mistake(error: Exception, text: str) -> str:
    """Return the line of a mistake in YAML, and the trouble in plain words."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return first_line(error)[:MAX_NAME_CHARS]
    line = [*text.split("\n"), ""][mark.line]
    sign = line[mark.column : mark.column + 1]
    trouble = str(error.problem or "cannot be read").removeprefix("found ")  # type: ignore[attr-defined] # as marked
    if "escape" in trouble:
        trouble = f"\\{sign.lstrip(chr(92)) or line[mark.column + 1 : mark.column + 2]} is no escape in double quotes: "
        trouble += "use / or single quotes"
    elif sign == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        trouble = "a tab: indent with spaces"
    return f"line {mark.line + 1}: {trouble}"


def to_json(settings: Settings) -> str:
    """Return settings as one line of JSON, the form in which they travel inside a video."""
    return json.dumps(settings.to_dict(), ensure_ascii=True, allow_nan=False)


def from_json(text: str) -> GenerationSettings:
    """Read the output of ``to_json``; raises InvalidSettings for anything else."""
    return parse(read_mapping(text, only_json=True))


def _sentence(error: ErrorDetails) -> str:
    """One readable line for one pydantic error."""
    given = str(error["loc"][0])[:MAX_NAME_CHARS] if error["loc"] else ""
    name = "".join(sign if sign.isprintable() else "?" for sign in given)  # a name may hold a line that looks like ours
    context, kind = error.get("ctx", {}), error["type"]
    match kind:
        case "missing":
            message = "is missing"
        case "extra_forbidden":
            message = "is not a setting"
        case "finite_number":
            message = "must be a finite number"
        case "value_error":
            message = str(context["error"])
        case "string_too_long":
            message = f"is too long: at most {context['max_length']} characters"
        case "string_unicode":
            message = "is not valid text: it cannot be written as UTF-8"
        case "greater_than_equal":
            message = f"must be at least {context['ge']}, not {_shown(error['input'])}"
        case "less_than_equal":
            message = f"must be at most {context['le']}, not {_shown(error['input'])}"
        case "too_short":
            message = f"must have at least {context['min_length']}"
        case "too_long":
            message = f"must have at most {context['max_length']}"
        case "multiple_of":
            message = f"must be a multiple of {context['multiple_of']}, not {_shown(error['input'])}"
        case "literal_error":
            message = f"must be one of {context['expected']}"
        case "int_type" | "int_from_float" | "int_parsing":
            message = f"must be a whole number, not {_shown(error['input'])}"
        case "float_type":
            message = f"must be a number, not {_shown(error['input'])}"
        case "bool_type":
            message = f"must be true or false, not {_shown(error['input'])}"
        case "string_type":
            message = f"must be text, not {_shown(error['input'])}"
        case _:
            message = error["msg"][0].lower() + error["msg"][1:]
    return f"{name}: {message}" if name else message


def _shown(value: object) -> str:
    """A value from outside in a few characters, however large or nested it is."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__}"
    return "nothing" if value is None else ascii(value[:40] if isinstance(value, str) else value)
