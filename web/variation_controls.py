"""Many jobs from one press: the components for several seeds, several prompts and a grid, and what they hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from errors import InvalidSettings
from library.variations import MOST_JOBS
from settings import MAX_PROMPT_CHARS, Settings, field_facts

NOT_VARIED = {"seeds": 1, "prompts": "", "grid": ""}
VARYING = tuple(NOT_VARIED)
MAX_GRID_CHARS = 2000
MOST_GRID_SETTINGS = 2
HINT = """Every combination becomes a job of its own. In a prompt, {red|blue} stands for one of its words, which the
seed chooses."""


@dataclass(frozen=True)
class Asked:
    """Variations that were asked for: prompts in place of the prompt, seeds in a row, values of settings by name."""

    prompts: tuple[str, ...] = ()
    seeds: int = 1
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def variation_controls() -> dict[str, Component]:
    """Build the components inside the current Gradio block, by the names in VARYING."""
    with gr.Accordion("Several at once", open=False):
        with gr.Row():
            seeds = gr.Number(1, label="Seeds", info="That many clips, seed after seed.", minimum=1, precision=0)
            grid = gr.Textbox(
                label="Grid",
                info="Values to try of one or two settings.",
                placeholder="guidance_scale = 5, 7.5, 10",
                max_length=MAX_GRID_CHARS,
            )
        prompts = gr.Textbox(
            label="Prompts",
            info="In place of the prompt above: one in each line.",
            lines=2,
            max_length=MOST_JOBS * (MAX_PROMPT_CHARS + 1),
        )
        load = gr.UploadButton("Load prompts from a text file", file_types=[".txt"], type="binary", size="sm")
        load.upload(_lines_of_file, load, prompts, queue=False, api_visibility="private", show_progress="hidden")
        gr.HTML(f'<div class="t2v-hint"><p>{HINT}</p></div>')
    return {"seeds": seeds, "prompts": prompts, "grid": grid}


def _lines_of_file(content: bytes | None) -> str:
    text = (content or b"")[: MOST_JOBS * (MAX_PROMPT_CHARS + 1)].decode("utf-8-sig", errors="replace")
    return "\n".join(text.splitlines())


def read_variations(kind: type[Settings], sent: Mapping[str, object]) -> Asked:
    """Return what the components, or a client in their place, sent; raises InvalidSettings."""
    seeds, prompts, grid = (sent.get(name) for name in VARYING)
    whole = seeds.is_integer() if isinstance(seeds, float) else isinstance(seeds, int) and not isinstance(seeds, bool)
    if seeds is not None and not whole:
        raise InvalidSettings("seeds: must be a whole number")
    count = int(seeds) if isinstance(seeds, (int, float)) else 1
    if not 1 <= count <= MOST_JOBS:
        raise InvalidSettings(f"seeds: must be 1 to {MOST_JOBS}")
    for name, text in (("prompts", prompts), ("grid", grid)):
        if text is not None and not isinstance(text, str):
            raise InvalidSettings(f"{name}: must be text")
    lines = (line.strip() for line in str(prompts or "").splitlines())
    return Asked(tuple(line for line in lines if line), count, parse_grid(kind, str(grid or "")))


def parse_grid(kind: type[Settings], text: str) -> dict[str, list[Any]]:
    """Return values to try by setting, of a text such as "guidance_scale = 5, 7.5; fps = 4, 8"; raises InvalidSettings.

    A setting is named as in files, or by its label on the page.
    """
    facts = field_facts(kind)
    names = {**{one["label"].lower(): name for name, one in facts.items()}, **{name: name for name in facts}}
    found: dict[str, list[Any]] = {}
    for part in re.split(r"[;\n]", text[:MAX_GRID_CHARS]):
        if not part.strip():
            continue
        label, equals, values = part.partition("=")
        name = names.get(label.strip().lower())
        if name is None or not equals:
            raise InvalidSettings(f"grid: write a setting, = and its values, such as fps = 4, 8, not {part.strip()!r}")
        found[name] = [_value(one.strip(), facts[name]) for one in values.split(",") if one.strip()]
    if len(found) > MOST_GRID_SETTINGS:
        raise InvalidSettings(f"grid: at most {MOST_GRID_SETTINGS} settings")
    return found


def _value(text: str, facts: Mapping[str, Any]) -> Any:
    """Return a number or truth where the setting wants one, and the text itself otherwise, which validation judges."""
    if facts["type"] == "boolean" and text.lower() in ("true", "false", "yes", "no"):
        return text.lower() in ("true", "yes")
    if facts["type"] in ("integer", "number"):
        try:
            return float(text) if "." in text else int(text)
        except ValueError:
            return text
    return text
