"""A clip of this program opened on the page: its tab comes to the front with its settings and shows it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from errors import InvalidSettings
from settings.parsing import parse, restorable
from web.context import BuiltTab, PageContext
from web.controls import item_at
from web.events import PAGE_ONLY, Updates, error_line
from web.generate import read_settings, restored_values
from web.html import status_html
from web.variation_controls import NOT_VARIED
from web.watching import owner_of

DROP_ID = "t2v-drop"
RESTORED = (".mp4", ".gif", ".mov", ".m4v", ".mkv", ".webm")  # what other programs make of our videos as well


class ClipOpener:
    """Opens clips and settings in the tab that made them."""

    def __init__(self, context: PageContext) -> None:
        self.context = context

    @property
    def changed(self) -> list[Block]:
        """All components that opening a clip may change."""
        tabs: list[Block] = [] if self.context.tabs is None else [self.context.tabs]
        for tab in self.context.built:
            shown = [one for one in tab.panel.shown if one is not tab.panel.status]
            tabs += [tab.panel.status, *tab.controls.values(), *tab.varying.values(), *shown]
        return tabs

    def tab_of(self, plain: Mapping[str, Any]) -> BuiltTab:
        """Return the tab that makes what plain settings say; raises InvalidSettings."""
        for tab in self.context.built:
            if tab.jobs.makes(plain):
                return tab
        raise InvalidSettings("this page has no tab for this clip")

    def open(self, plain: Mapping[str, Any], file: Path | None = None) -> Updates:
        """Return the updates that bring the tab to the front with these settings, and show the clip, if any.

        Settings of another version are filled in as far as this one has them. Raises InvalidSettings.
        """
        values, lost = restorable(plain)
        settings = parse(values)
        tab = self.tab_of(settings.to_dict())
        shown: Updates = {} if file is None else tab.panel.show_file(file)
        if file is not None:
            shown[tab.panel.facts] = {"seed": settings.seed, "settings": settings.to_dict()}
        once: Updates = {component: NOT_VARIED[name] for name, component in tab.varying.items()}
        return {
            **shown,
            **once,
            **restored_values(settings, tab.controls, tab.panel.status, lost),
            **self.selected(tab),
        }

    def selected(self, tab: BuiltTab) -> Updates:
        """Return the update that brings a tab to the front."""
        return {} if self.context.tabs is None else {self.context.tabs: gr.Tabs(selected=tab.label)}


def connect_opening(context: PageContext) -> None:
    """Wire, when all tabs are built, whatever opens a clip: each tab's upload, its last clips, and its facts."""
    opener = ClipOpener(context)
    for tab in context.built:
        tab.upload.upload(
            _restoring(opener, tab.panel.status), tab.upload, opener.changed, preprocess=False, **PAGE_ONLY
        )
        tab.panel.reuse.click(_reusing(opener, tab), tab.panel.facts, opener.changed, preprocess=False, **PAGE_ONLY)
        tab.recent.gallery.select(_showing(context, tab), tab.recent.ids, tab.panel.shown, **PAGE_ONLY)


def connect_drops(context: PageContext, status: gr.HTML) -> None:
    """Let a clip be dropped anywhere on the page; a line about one that cannot be opened goes to ``status``. The
    page's script hands the file over."""
    opener = ClipOpener(context)
    dropped = gr.UploadButton("Open a clip", file_types=list(RESTORED), elem_id=DROP_ID, elem_classes="t2v-hidden")
    dropped.upload(_restoring(opener, status), dropped, [status, *opener.changed], preprocess=False, **PAGE_ONLY)


def _restoring(opener: ClipOpener, status: gr.HTML) -> Callable[[object], Updates]:
    def restore(upload: object) -> Updates:
        try:
            plain, path = read_settings(upload, opener.context.read_metadata)
            return opener.open(plain, path)
        except Exception as error:
            return {status: status_html(error_line(error), "error")}

    return restore


def _reusing(opener: ClipOpener, tab: BuiltTab) -> Callable[[object], Updates]:
    def reuse(facts: object) -> Updates:
        try:
            return opener.open(_settings_in(facts))
        except Exception as error:
            return {tab.panel.status: status_html(error_line(error), "error")}

    return reuse


def _settings_in(facts: object) -> Mapping[str, Any]:
    """Return the settings of facts that a page sent, as JSON or as its text; raises InvalidSettings."""
    try:
        plain = json.loads(facts) if isinstance(facts, str) else facts
    except (ValueError, RecursionError):
        plain = None
    found = plain.get("settings") if isinstance(plain, dict) else None
    if not isinstance(found, dict):
        raise InvalidSettings("there is no video yet whose settings could be taken")
    return found


def _showing(context: PageContext, tab: BuiltTab) -> Callable[..., Updates]:
    def show(ids: Sequence[str], event: gr.SelectData, request: gr.Request) -> Updates:
        try:
            record = context.library.clips.get(owner_of(context.library, request), item_at(event.index, ids) or "")
            return tab.panel.show_record(record)
        except Exception as error:
            return {tab.panel.status: status_html(error_line(error), "error")}

    return show
