"""What a browser remembers of a tab: everything that was typed and set, in its own storage and nowhere else."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from web.events import PAGE_ONLY

# A browser may have no storage, or not let us: then nothing is remembered, and nothing breaks.
SAVE_JS = """(...values) => {
  const names = %(names)s;
  try {
    localStorage.setItem(%(key)s, JSON.stringify(Object.fromEntries(names.map((name, at) => [name, values[at]]))));
  } catch (error) {}
}"""
LOAD_JS = """(...current) => {
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem(%(key)s)) ?? {}; } catch (error) {}
  return %(names)s.map((name, at) => kept[name] ?? current[at]);
}"""


def remember(key: str, controls: Mapping[str, Component], triggers: Sequence[Callable[..., Any]]) -> None:
    """Keep the values of controls in the browser whenever somebody changes one, or at other ``triggers``; fill them in
    when the page comes back. ``key`` tells one tab from another."""
    names = {"key": json.dumps(f"t2v-{key}"), "names": json.dumps(list(controls))}
    values = list(controls.values())
    changed = [event for one in values if (event := getattr(one, "input", None)) is not None]
    gr.on([*changed, *triggers], None, values, None, js=SAVE_JS % names, **PAGE_ONLY)
    page = Context.root_block
    assert page is not None, "a tab is built inside a page"
    page.load(None, values, values, js=LOAD_JS % names, **PAGE_ONLY)
