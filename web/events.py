"""Events of the page: the options they are registered with, their errors, and the wiring of a job."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from errors import UserError
from web.html import status_html

logger = logging.getLogger(__name__)

BROKEN = "Something broke on the server and this job was stopped; the server's log says what. The next job can start."
PAGE_ONLY: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
Updates = dict[Block, Any]  # new values, or new properties, of components on the page
ProgramUpdates = AsyncGenerator[tuple[str | None, dict[str, Any]], None]  # a file at last, and facts or progress


class JobPanel(Protocol):
    """Components that show a job: a line of status, what is made (``stage``), and Cancel."""

    @property
    def status(self) -> gr.HTML:
        """Line of status."""

    @property
    def stage(self) -> gr.HTML:
        """Place of the preview, over which Gradio shows that a job waits."""

    @property
    def cancel(self) -> gr.Button:
        """Button that ends the job."""

    @property
    def kept(self) -> gr.State | None:
        """Results that a cancelled job leaves for ``show_stopped``, if any."""

    @property
    def shown(self) -> list[Component]:
        """All components that a job changes."""

    @property
    def show_stopped(self) -> Callable[..., Updates]:
        """Function that shows a cancelled job; its argument is the value of ``kept``, if that is a component."""

    def show(self, status: str, *, busy: bool = False) -> Updates:
        """Show a status and no result yet."""


@dataclass(frozen=True)
class EndpointHandlers:
    """The two handlers of one kind of job, both generators: ``for_page`` yields Updates, ``for_program`` a file and
    facts; ``endpoint`` is the latter's name in the API, ``about`` its description."""

    for_page: Callable[..., AsyncGenerator[Updates, None]]
    for_program: Callable[..., ProgramUpdates]
    endpoint: str
    about: str | None


def connect_job(
    triggers: Sequence[Callable[..., Any]],
    inputs: Mapping[str, Component],
    *,
    panel: JobPanel,
    handlers: EndpointHandlers,
) -> None:
    """Wire the triggers of a job and its Cancel button, and open its endpoint.

    Page and programs share one place in the queue with all other jobs: one runs at a time.
    """

    def stopping() -> str:
        # The page ignores Generate until the server has said that the job before has ended; so "stopped" waits.
        return status_html("Stopping…", "running")

    def waiting() -> Updates:
        return panel.show(status_html("Waiting for the server…"), busy=True)

    shown = panel.shown
    place: dict[str, Any] = dict(
        inputs_kwargs=dict(inputs), preprocess=False, concurrency_id="generate", concurrency_limit=1
    )
    queued = {**PAGE_ONLY, "queue": True, "show_progress": "full", "show_progress_on": panel.stage}
    running = gr.on(triggers, waiting, None, shown, **PAGE_ONLY).then(handlers.for_page, None, shown, **queued, **place)
    running.failure(panel.show_stopped, panel.kept, shown, **PAGE_ONLY)  # cancelled, or the queue was full
    panel.cancel.click(stopping, None, panel.status, cancels=[running], **PAGE_ONLY)
    gr.Button(visible=False).click(
        handlers.for_program,
        outputs=[gr.File(visible=False, label="file"), gr.JSON(visible=False, label="info")],
        api_name=handlers.endpoint,
        api_description=handlers.about,
        **place,
    )


def run_buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """Build the button that starts a job and the one that cancels it."""
    with gr.Row():
        run = gr.Button(label, variant="primary", scale=3, min_width=120)
        cancel = gr.Button("Cancel", interactive=False, scale=1, min_width=80)
    return run, cancel


def error_line(error: Exception) -> str:
    """Return the user's mistake as it stands; of a bug one fixed line, while the log gets its traceback."""
    if isinstance(error, UserError):
        return str(error)
    logger.error("a job broke down", exc_info=error)
    return BROKEN
