"""How every page of this program looks, and how it is put on a port."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_space

from comparison.report import page as report
from errors import UserError

logger = logging.getLogger(__name__)

CLEAN_EVERY_SECONDS, KEEP_SECONDS = 600, 6 * 3600  # Gradio's copies of videos and uploads
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_UPLOAD = "100mb"
UPLOADS = ("/upload", "/gradio_api/upload")
MAX_REQUEST_BYTES = 1_000_000  # of anything but an upload; Gradio keeps what each session last sent in memory
REMEMBERED_SESSIONS = 200
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # nothing is fetched
STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.gradio-container .html-container { padding: 0; }
.t2v-header h1 { font-size: 1.35rem; font-weight: 650; margin: 0; }
.t2v-header p, .t2v-hint p { color: var(--body-text-color-subdued); margin: 0; font-size: .85rem; line-height: 1.45; }
@media (min-width: 860px) {
  .t2v-layout { display: grid; grid-template: "ask answer" auto "settings answer" 1fr / 6fr 5fr; align-items: start; }
  .t2v-ask { grid-area: ask; } .t2v-answer { grid-area: answer; } .t2v-settings { grid-area: settings; }
}
.t2v-stage { aspect-ratio: 1; max-height: 480px; width: 100%; border-radius: var(--block-radius); overflow: hidden;
  display: flex; align-items: center; justify-content: center; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); }
.t2v-stage p { color: var(--body-text-color-subdued); margin: 0; }
.t2v-stage img { width: 100%; height: 100%; object-fit: contain; }
.t2v-result video, .t2v-result img { width: 100%; aspect-ratio: 1; max-height: 480px;
  object-fit: contain !important; }
.t2v-status p { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.t2v-status p + p { color: var(--body-text-color-subdued); font-size: .85rem; margin-top: .25rem; }
.t2v-status.error { color: var(--error-text-color); background: var(--error-background-fill);
  border: 1px solid var(--error-border-color); border-radius: var(--block-radius); padding: .6rem .8rem; }
.t2v-bar { height: 4px; margin-top: .5rem; border-radius: 2px; background: var(--border-color-primary); }
.t2v-bar div { height: 100%; border-radius: 2px; background: var(--color-accent); transition: width .3s; }
.t2v-settings .gallery-item, .t2v-settings .gallery-item * { white-space: normal; text-align: left; }
/* However long a line is, it does not ask for a wider page. */
.t2v-facts { contain: inline-size; overflow-x: auto; }
/* Tabs that do not fit a phone go into a menu, but not where the page has become as wide as all of them. */
.tabs, .tab-wrapper { max-width: calc(100vw - 2rem); }
.tab-wrapper { overflow: clip visible; }
footer .divider { display: none !important; }
"""


@dataclass(frozen=True)
class Address:
    """Where the page is served, to whom, and how many jobs may wait."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = None
    queue_size: int = 20

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the page, as far as this program can know: it sees no proxy before it."""
        return self.host in LOOPBACK and not self.share and get_space() is None


class RequestLimit:
    """ASGI: refuses a body over MAX_REQUEST_BYTES before it is in memory; Gradio limits uploads by itself."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 413 where the length is announced, hang up where more comes than was announced."""
        if scope["type"] != "http" or scope["path"] in UPLOADS:
            return await self.app(scope, receive, send)
        if int(dict(scope["headers"]).get(b"content-length", 0)) > MAX_REQUEST_BYTES:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": b"The request is too large."})
        received = 0

        async def limited() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return {"type": "http.disconnect"} if received > MAX_REQUEST_BYTES else message

        return await self.app(scope, limited, send)


def start(page: gr.Blocks, address: Address, readable: Sequence[Path] = ()) -> str:
    """Serve the page from a thread and return its URL; raises UserError where the port cannot be had.

    ``readable`` are folders whose files anybody may see.
    """
    if address.share and address.auth is None:
        logger.warning("anybody with the public link can use this machine: add --auth user:password")
    page.delete_cache = (CLEAN_EVERY_SECONDS, KEEP_SECONDS)
    page.queue(api_open=False, max_size=address.queue_size, default_concurrency_limit=1)
    try:
        _, url, public_url = page.launch(
            server_name=address.host,
            server_port=address.port,
            share=address.share,
            auth=address.auth,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=["api"],
            max_file_size=MAX_UPLOAD,
            allowed_paths=[str(folder) for folder in readable],
            app_kwargs={"middleware": [(RequestLimit, (), {})]},
            state_session_capacity=REMEMBERED_SESSIONS,
            theme=theme(),
            css=STYLE + report.STYLE,
        )
    except OSError:
        place = f"{address.host}:{address.port}"
        raise UserError(
            f"cannot serve on {place}, which is taken or not ours: choose another --host or --port"
        ) from None
    return public_url or url


def theme() -> gr.themes.Base:
    """Calm, and of fonts that are already there."""
    return gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        font=SYSTEM_FONTS,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )


def serve(page: gr.Blocks, address: Address, readable: Sequence[Path] = ()) -> None:
    """``start``, until Ctrl-C or SIGTERM, which both let a running job clean up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logger.info("open %s", start(page, address, readable))
    page.block_thread()


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """A user's mistake at start is one line on the error output and exit code 2."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
