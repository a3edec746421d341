"""From a settings class to Gradio components, and from what they send back to settings.

This module knows settings and uploads, and no models or jobs.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from errors import InvalidSettings
from model_manager.offered_names import NAMING_SETTINGS
from settings import Settings, field_facts
from settings.parsing import Validated, validate

WIDEST_SLIDER = 256  # values; a thumb cannot hit one of more
FINE_SLIDER = 2  # up to this width a slider moves by hundredths, five at a time
MAX_NUMBER_CHARS = 100
Item = TypeVar("Item")
Choices = Sequence[tuple[str, str]]  # label and value


def control(kind: type[Settings], name: str, choices: Choices = (), **options: Any) -> Component:
    """Build the component for one field of a settings class; its help line is the field's unit and description.

    Its bounds only guide the hand: a client can send anything, so what arrives is read by ``read_values``.
    """
    facts = field_facts(kind)[name]
    if choices or "enum" in facts:
        return choice_control(kind, name, choices, **options)
    if facts["type"] == "boolean":
        return gr.Checkbox(**_labelled(facts, options))
    if facts["optional"] or facts["type"] == "string":
        return text_control(kind, name, **options)
    return number_control(kind, name, **options)


def choice_control(kind: type[Settings], name: str, choices: Choices = (), **options: Any) -> gr.Dropdown:
    """Build the list for a field with an enumeration, or with ``choices`` from the operator."""
    facts = field_facts(kind)[name]
    values = list(choices or facts["enum"])
    if not facts["optional"]:
        return gr.Dropdown(choices=values, **_labelled(facts, options))
    automatic = [] if choices else [("Automatic", "")]
    return gr.Dropdown(choices=[*automatic, *values], **{**_labelled(facts, options), "value": ""})


def text_control(kind: type[Settings], name: str, **options: Any) -> gr.Textbox:
    """Build the field for a text, or for an optional number, because Gradio's number field shows 0 for none."""
    facts = field_facts(kind)[name]
    if facts["optional"]:
        empty = {**_labelled(facts, options), "value": ""}
        return gr.Textbox(placeholder="automatic", max_length=MAX_NUMBER_CHARS, **empty)
    return gr.Textbox(max_length=facts["maxLength"], **{"lines": facts["lines"], **_labelled(facts, options)})


def number_control(kind: type[Settings], name: str, **options: Any) -> gr.Slider | gr.Number:
    """Build the slider or, for a wide range, the field for a number."""
    facts = field_facts(kind)[name]
    low, high, whole = facts["minimum"], facts["maximum"], facts["type"] == "integer"
    shared = {"minimum": low, "maximum": high, "precision": 0 if whole else None, **_labelled(facts, options)}
    if high - low > WIDEST_SLIDER:
        return gr.Number(**shared)
    return gr.Slider(step=1 if whole else 0.5 if high - low > FINE_SLIDER else 0.05, **shared)


def _labelled(facts: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return label, help line and default of a field as Gradio takes them, and the options, which win."""
    unit = "" if facts["unit"] in (None, facts["label"].lower()) else f"{facts['unit'][0].upper()}{facts['unit'][1:]}. "
    described = {"label": facts["label"], "info": unit + facts["description"], "value": facts.get("default")}
    return {**described, **options}


def clickable_texts(texts: Sequence[str], label: str) -> gr.Dataset:
    """Build a row of texts to click on; a click sends the text's index, which ``item_at`` reads."""
    samples = [[text] for text in texts]
    return gr.Dataset(components=[gr.Textbox(visible=False)], samples=samples, type="index", label=label)


def item_at(index: object, items: Sequence[Item]) -> Item | None:
    """Return the item at an index that a client sent, or None if there is none."""
    return items[index] if isinstance(index, int) and 0 <= index < len(items) else None


def shown_values(settings: Settings) -> dict[str, Any]:
    """Return the settings by name as the components show them; ``read_values`` is the way back."""
    values = settings.to_dict()
    texts = {name: ", ".join(map(str, value)) for name, value in values.items() if isinstance(value, list)}
    texts |= {name: "" for name in NAMING_SETTINGS if values.get(name, "") is None}
    return {name: texts.get(name, values[name]) for name in values if name != "mode"}


def read_values(kind: type[Validated], values: Mapping[str, object]) -> Validated:
    """Return validated settings from what the components, or a client in their place, sent; raises InvalidSettings.

    The text field of an optional setting holds "" for None, and "881, 941" for a pair.
    """
    plain = dict(values)
    for name, facts in field_facts(kind).items():
        text = plain.get(name)
        if facts["optional"] and isinstance(text, str):
            plain[name] = _parse_optional(text, facts["type"])
    return validate(kind, plain)


def _parse_optional(text: str, wanted: str) -> str | float | list[float] | None:
    """Return the value of an optional setting's text, or the text itself, which validation then refuses."""
    parts = [part.strip() for part in text.split(",", 2)]
    if not text.strip():
        return None
    number = r"[0-9]+\.?[0-9]*|\.[0-9]+" if wanted == "number" else "[0-9]+"
    if wanted == "number" and "," in text:
        return text  # a decimal comma, which validation reads
    if wanted == "string" or len(text) > MAX_NUMBER_CHARS or not all(re.fullmatch(number, part) for part in parts):
        return text
    numbers = [float(part) if wanted == "number" else int(part) for part in parts]
    return numbers if wanted == "array" or len(numbers) > 1 else numbers[0]


def uploaded(name: str, value: object) -> Path | None:
    """Return the file in a file component, or None if it is empty; raises InvalidSettings for anything but an upload.

    Checked here because Gradio checks only values that call themselves files.
    """
    if value is None:
        return None
    path = value.get("path") if isinstance(value, dict) else None
    folder = Path(get_upload_folder()).resolve()
    if not isinstance(path, str) or "\0" in path or not Path(path).resolve().is_relative_to(folder):
        raise InvalidSettings(f"{name}: must be an uploaded file")
    return Path(path)
