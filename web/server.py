"""The look of every page of this program, and the server that puts a page on a port."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio import networking
from gradio.utils import get_space, get_upload_folder
from starlette.requests import Request

from comparison.report.page import FRAGMENT_STYLE_SHEET
from errors import UserError
from library.visitors import COOKIE, Visitors
from utils import make_writable, reach_this_machine_directly
from web import protection
from web.api_errors import ApiErrors
from web.connections import close_silent_connections
from web.guards import Exposure
from web.temporary_files import close_all

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from library.service import Library

logger = logging.getLogger(__name__)

CLEAN_EVERY_SECONDS, KEEP_SECONDS = 600, 6 * 3600  # Gradio's copies of videos and uploads
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_UPLOAD = "100mb"
REMEMBERED_SESSIONS = 200
START_TRIES = 20  # of three seconds each
COOKIE_SECONDS = 365 * 86_400
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # nothing is fetched
STYLE_SHEET = Path(__file__).with_name("style.css")


@dataclass(frozen=True)
class Address:
    """Host and port of a page, the visitors it is for, and a ``proxy`` of the operator's before it; ``mcp`` offers the
    endpoints as tools to language models."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = None
    proxy: bool = False
    mcp: bool = False

    @property
    def local(self) -> bool:
        """Return whether only this machine reaches the page, as far as the program can know: it sees no proxy that it
        is not told of."""
        return self.host in LOOPBACK and not self.share and not self.proxy and get_space() is None

    @property
    def exposure(self) -> Exposure:
        """Return where the page can be reached from."""
        return Exposure(self.host, self.local, proxy=self.proxy, space=get_space() is not None, shared=self.share)


class VisitorCookie:
    """ASGI middleware that gives a browser without a cookie of this server a new one."""

    def __init__(self, app: ASGIApp, visitors: Visitors):
        self.app, self.visitors = app, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the cookie to the answer for a page; scripts cannot read it, and other sites cannot send it."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        if self.visitors.owner(Request(scope).cookies.get(COOKIE)) is not None:
            return await self.app(scope, receive, send)
        kind = "SameSite=None; Secure" if scope["scheme"] == "https" else "SameSite=Lax"
        cookie = f"{COOKIE}={self.visitors.new_cookie()}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; {kind}"

        async def with_cookie(message: Message) -> None:
            headers = message.get("headers", [])
            is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers)
            if message["type"] == "http.response.start" and is_page:
                message = {**message, "headers": [*headers, (b"set-cookie", cookie.encode())]}
            await send(message)

        await self.app(scope, receive, with_cookie)


def start(page: gr.Blocks, address: Address, readable: Sequence[Path] = (), library: Library | None = None) -> str:
    """Serve the page from a thread and return its URL; raises UserError where the port cannot be had, or where a proxy
    that the environment names cannot be used.


    ``readable`` are folders whose files anybody may see who knows their names; visitors of a shared ``library`` get a
    cookie.
    """
    if address.mcp and importlib.util.find_spec("mcp") is None:
        raise UserError("--mcp needs a package that is not here: pip install -r requirements-mcp.txt")
    folders = [*readable, *([] if library is None else [library.folder.clips])]
    exposure = address.exposure
    exposure.trust_proxies()
    middleware = [*protection.middleware(exposure), (ApiErrors, (page,), {})]
    if library is not None and library.shared:
        middleware.append((VisitorCookie, (library.visitors,), {}))
    if address.share and address.auth is None:
        logger.warning("anybody with the public link can use this machine: add --auth user:password")
    reach_this_machine_directly(address.host)
    page.delete_cache = (CLEAN_EVERY_SECONDS, KEEP_SECONDS)
    page.queue(api_open=False, default_concurrency_limit=1)
    try:
        with patient_start():
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
                allowed_paths=[str(folder) for folder in folders],
                app_kwargs={"middleware": middleware},
                mcp_server=address.mcp,
                state_session_capacity=REMEMBERED_SESSIONS,
                theme=theme(),
                css_paths=[STYLE_SHEET, FRAGMENT_STYLE_SHEET],
            )
    except OSError:
        place = f"{address.host}:{address.port}"
        raise UserError(
            f"cannot serve on {place}, which is taken or not ours: choose another --host or --port"
        ) from None
    close_silent_connections(page.server)
    return public_url or url


@contextmanager
def patient_start() -> Iterator[None]:
    """Inside, Gradio asks longer whether its page answers: on a busy machine it gave up after three seconds."""
    asked = networking.url_ok
    networking.url_ok = lambda url: any(asked(url) for _ in range(START_TRIES))
    try:
        yield
    finally:
        networking.url_ok = asked


def check_temporary_folder() -> None:
    """Raise UserError where Gradio cannot keep uploads and results."""
    folder = Path(get_upload_folder())
    variable = "GRADIO_TEMP_DIR" if "GRADIO_TEMP_DIR" in os.environ else "TMPDIR"
    make_writable(folder, f"{variable}: cannot write files in {folder}, where uploads and videos are kept")


def theme() -> gr.themes.Base:
    """Return a calm theme of fonts that every system has, its contrasts at least 4.5 to 1 (WCAG 2.1, 1.4.3)."""
    calm = gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        font=SYSTEM_FONTS,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    return calm.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )


def serve(page: gr.Blocks, address: Address, readable: Sequence[Path], library: Library) -> None:
    """Serve the page until Ctrl-C or SIGTERM, then end the process within seconds: 0, or 130 after Ctrl-C.

    The running job ends within a step and is offered again at the next start. The process is left without waiting for
    open connections, of which every page that is looked at has one.
    """
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda number, frame: received.put(number))
    logger.info("open %s", start(page, address, readable, library))
    number = received.get()
    library.close()
    close_all()
    logging.shutdown()
    os._exit(128 + number if number == signal.SIGINT else 0)


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a user's mistake at start into one line on the error output and exit code 2."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
