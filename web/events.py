"""Events of the page: the options they are registered with, their errors, and the buttons of a job."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr
from gradio.blocks import Block

from errors import UserError
from library.worker import BROKEN

logger = logging.getLogger(__name__)
PAGE_ONLY: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
Updates = dict[Block, Any]  # new values, or new properties, of components on the page
ProgramUpdates = AsyncGenerator[tuple[str | None, dict[str, Any]], None]  # a file at last, and facts or progress


def run_buttons(label: str) -> tuple[gr.Button, gr.Button, gr.HTML]:
    """Build the button that starts a job, the one that cancels it, and under them the place for what is refused."""
    with gr.Row():
        run = gr.Button(label, variant="primary", scale=3, min_width=120, elem_classes="t2v-run")
        cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80)
    return run, cancel, gr.HTML()


def error_line(error: Exception) -> str:
    """Return the user's mistake as it stands; of a bug one fixed line, while the log gets its traceback."""
    if isinstance(error, UserError):
        return str(error)
    logger.error("a job broke down", exc_info=error)
    return BROKEN
