"""The program as a tab sees it, and a built tab as the rest of the page sees it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import gradio as gr
from gradio.components import Component

from comparison.runner import Comparison
from comparison.settings import ComparisonSettings
from director.director import ChatModel
from library.service import Library
from model_manager.builtin_models import ModelRow
from web.controls import Choices
from web.generate import GenerationJobs, ReadMetadata
from web.recent import RecentClips
from web.result_panel import ResultPanel


@dataclass(frozen=True)
class BuiltTab:
    """A tab that makes clips: its components by the names of settings, ``files``, those that take a file, and
    ``varying``, those that ask for several jobs.

    ``upload`` takes a clip whose settings are wanted; ``editing`` holds the id of the waiting job that Generate
    changes, or "".
    """

    label: str
    jobs: GenerationJobs
    controls: Mapping[str, Component]
    files: Mapping[str, Component]
    panel: ResultPanel
    recent: RecentClips
    varying: Mapping[str, Component]
    upload: gr.UploadButton
    editing: gr.State


@dataclass(frozen=True)
class PageContext:
    """The program as a tab sees it.

    ``library`` keeps clips and works the list of jobs off; ``rows`` are the models a client may choose,
    ``default(edits=...)`` is the model that "auto" takes with the reason for it; ``loras``, ``vaes`` and ``embeddings``
    are names of further files the operator offers, ``styles`` those of prompt styles; ``chat_model`` is a language
    model, or None; ``compare`` prepares a comparison, of the program's own engines and of ``engines``, diffusers
    pipelines as ``engine_spec`` takes them. ``tabs`` holds the tabs, of which those that make clips are ``built``.
    """

    library: Library
    rows: Mapping[str, ModelRow]
    default: Callable[..., tuple[ModelRow, str]]
    read_metadata: ReadMetadata
    loras: Collection[str] = ()
    vaes: Collection[str] = ()
    embeddings: Collection[str] = ()
    styles: Collection[str] = ()
    chat_model: ChatModel | None = None
    compare: Callable[[ComparisonSettings], Comparison] | None = None
    engines: Collection[str] = ()
    tabs: gr.Tabs | None = None
    built: list[BuiltTab] = field(default_factory=list)

    def choices(self) -> dict[str, Choices]:
        """Return the choices of the settings that only the operator can fill."""
        return {
            "lora": [("None", ""), *((name, name) for name in self.loras)],
            "vae": [("The checkpoint's own", ""), *((name, name) for name in self.vaes)],
            "style": [("None", ""), *((name, name) for name in self.styles)],
        }

    def hidden(self) -> tuple[str, ...]:
        """Return the settings that are not asked for because nothing is offered."""
        loras = () if self.loras else ("lora", "lora_scale")
        return (*loras, *(() if self.vaes else ("vae",)), *(() if self.styles else ("style",)))


class PageTab(Protocol):
    """Any tab of the page."""

    @property
    def label(self) -> str:
        """Title of the tab."""

    def build(self, context: PageContext) -> None:
        """Build the tab inside the current Gradio block."""
