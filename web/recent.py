"""What a visitor made last, beside the result: the newest clips as small pictures, and the newest prompts."""

from dataclasses import dataclass
from typing import Protocol

import gradio as gr
from gradio.components import Component

from library.clips import PAGE_SIZE
from library.recorder import with_pictures
from library.service import Library
from web.events import Updates

CAPTION_CHARS = 60


class Follower(Protocol):
    """Components that change when a job has ended."""

    @property
    def shown(self) -> list[Component]:
        """The components."""

    def update(self, owner: str) -> Updates:
        """Return what they show now."""


@dataclass(frozen=True)
class RecentClips:
    """The newest clips of a visitor, whatever tab made them."""

    library: Library
    gallery: gr.Gallery
    ids: gr.State

    @property
    def shown(self) -> list[Component]:
        """All components that change when a clip is finished."""
        return [self.gallery, self.ids]

    def update(self, owner: str) -> Updates:
        """Show the newest clips."""
        records = self.library.clips.find(owner, most=PAGE_SIZE)
        pictures = [(str(with_pictures(one).picture("thumbnail")), one.prompt[:CAPTION_CHARS]) for one in records]
        return {
            self.gallery: gr.Gallery(pictures, visible=bool(pictures), selected_index=None),
            self.ids: [one.id for one in records],
        }


def recent_clips(library: Library) -> RecentClips:
    """Build the strip of pictures inside the current Gradio block."""
    gallery = gr.Gallery(
        visible=False,
        show_label=False,
        label="Made last",
        columns=PAGE_SIZE,
        rows=1,
        height=96,
        allow_preview=False,
        buttons=[],
        elem_classes="t2v-recent",
    )
    return RecentClips(library, gallery, gr.State([]))


@dataclass(frozen=True)
class EarlierPrompts:
    """Prompts that a visitor has used in one mode, newest first."""

    library: Library
    mode: str
    choice: gr.Dropdown

    @property
    def shown(self) -> list[Component]:
        """The list."""
        return [self.choice]

    def update(self, owner: str) -> Updates:
        """Show the prompts that there are now."""
        prompts = self.library.clips.prompts(owner, self.mode)
        return {self.choice: gr.Dropdown(choices=prompts, value=None, visible=bool(prompts))}
