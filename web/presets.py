"""Presets on the page: the settings of a tab under a name, and the prompts that were used before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from errors import InvalidSettings
from library.presets import MAX_NAME_CHARS
from library.service import Library
from settings.parsing import parse, restorable
from web.controls import read_values
from web.events import PAGE_ONLY, Updates, error_line
from web.generate import GenerationJobs, restored_values
from web.html import status_html
from web.recent import EarlierPrompts
from web.storyboard import text_of_table
from web.watching import owner_of

NO_PROMPT = "a prompt"  # stands where a preset is of settings alone


@dataclass(frozen=True)
class PresetPanel:
    """The components for presets of one tab; it follows what else the visitor does."""

    library: Library
    jobs: GenerationJobs
    choice: gr.Dropdown
    name: gr.Textbox
    earlier: EarlierPrompts

    @property
    def shown(self) -> list[Component]:
        """All components that change with what is kept."""
        return [self.choice, *self.earlier.shown]

    def update(self, owner: str) -> Updates:
        """Show the names and prompts that there are now."""
        return {self.choice: gr.Dropdown(choices=self.names(owner)), **self.earlier.update(owner)}

    def names(self, owner: str) -> list[str]:
        """Return the names of the presets that suit this tab."""
        presets = self.library.presets
        return [name for name in presets.names(owner, self.jobs.settings.mode) if self.suits(owner, name)]

    def suits(self, owner: str, name: str) -> bool:
        """Return whether a preset is one of this tab, and not of another with the same mode."""
        return self.jobs.makes(self.library.presets.get(owner, name))


def add_presets(
    library: Library, jobs: GenerationJobs, controls: Mapping[str, Component], status: gr.HTML
) -> PresetPanel:
    """Build the components inside the current Gradio block and wire them."""
    with gr.Accordion("Presets and earlier prompts", open=False):
        earlier = gr.Dropdown([], label="Earlier prompts", visible=False)
        with gr.Row():
            choice = gr.Dropdown([], label="Preset", min_width=140)
            name = gr.Textbox(label="Name", max_length=MAX_NAME_CHARS, min_width=140)
        with gr.Row():
            load, keep, delete = (gr.Button(label, size="sm", min_width=80) for label in ("Load", "Save", "Delete"))
    panel = PresetPanel(library, jobs, choice, name, EarlierPrompts(library, jobs.settings.mode, earlier))
    earlier.input(lambda text: text if isinstance(text, str) else gr.skip(), earlier, controls["prompt"], **PAGE_ONLY)
    shown, filled = [status, choice], [status, *controls.values()]
    load.click(_loading(panel, controls, status), choice, filled, **PAGE_ONLY)
    keep.click(
        _keeping(panel, status), None, shown, inputs_kwargs={"preset": name, **controls}, preprocess=False, **PAGE_ONLY
    )
    delete.click(_deleting(panel, status), choice, shown, **PAGE_ONLY)
    return panel


def _loading(panel: PresetPanel, controls: Mapping[str, Component], status: gr.HTML) -> Callable[..., Updates]:
    def load(name: object, request: gr.Request) -> Updates:
        try:
            plain = panel.library.presets.get(owner_of(panel.library, request), _chosen(name))
            values, lost = restorable({**plain, "prompt": plain.get("prompt") or NO_PROMPT})
            shown = restored_values(parse(values), controls, status, lost)
            if not plain.get("prompt"):
                del shown[controls["prompt"]]
            return shown if lost else {**shown, status: status_html(f"Preset {name} is filled in.")}
        except Exception as error:
            return {status: status_html(error_line(error), "error")}

    return load


def _keeping(panel: PresetPanel, status: gr.HTML) -> Callable[..., Updates]:
    def keep(request: gr.Request, preset: object, **values: object) -> Updates:
        owner = owner_of(panel.library, request)
        try:
            if not isinstance(preset, str):
                raise InvalidSettings("preset: give it a name")
            if "storyboard" in values:
                values["storyboard"] = text_of_table(values["storyboard"])
            prompt = values.get("prompt") or NO_PROMPT
            settings = read_values(panel.jobs.settings, {**values, **panel.jobs.fixed, "prompt": prompt}).to_dict()
            name = panel.library.presets.keep(owner, preset, {**settings, "prompt": values.get("prompt") or ""})
        except Exception as error:
            return {status: status_html(error_line(error), "error")}
        said = status_html(f"Preset {name} is kept.")
        return {status: said, panel.choice: gr.Dropdown(choices=panel.names(owner), value=name)}

    return keep


def _deleting(panel: PresetPanel, status: gr.HTML) -> Callable[..., Updates]:
    def delete(name: object, request: gr.Request) -> Updates:
        owner = owner_of(panel.library, request)
        try:
            panel.library.presets.delete(owner, _chosen(name))
        except Exception as error:
            return {status: status_html(error_line(error), "error")}
        return {
            status: status_html(f"Preset {name} is deleted."),
            panel.choice: gr.Dropdown(choices=panel.names(owner), value=None),
        }

    return delete


def _chosen(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidSettings("preset: choose one first")
    return name
