"""Limits on what a request may send, before Gradio sees it: sizes, parts, names of sessions, and the time it takes.

ASGI middleware and no more: it knows bytes and headers, and nothing of tabs, jobs or models.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
MAX_UPLOAD_BYTES = 100_000_000  # of one file, and the parts around it
MAX_REQUEST_BYTES = 1_000_000  # of anything but an upload; Gradio keeps what each session last sent in memory
MAX_QUERY_BYTES = 4_000
MAX_FILES = 2  # of one upload; a page sends one video or one picture at a time
MAX_SESSION_CHARS = 64  # Gradio keeps each name of a session for as long as it runs
SESSION = re.compile(rf"[\w-]{{1,{MAX_SESSION_CHARS}}}", re.ASCII)
SESSION_NAMES = ("session_hash", "upload_id", "event_id", "trigger_id")
SILENCE_SECONDS = 30.0  # between two pieces of a body
MAX_BODY_SECONDS = 600.0  # for a whole body; a hundred megabytes in it are slow
UPLOADS = ("/upload", "/gradio_api/upload")


class Refused(Exception):
    """A request that is over a limit, with its status and a line for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def path_below_root(scope: Scope) -> str:
    """Return the path of a request as the page knows it, whether a proxy has kept or stripped the sub-path that the
    page is served under (GRADIO_ROOT_PATH, a path or a whole address)."""
    path = scope["path"]
    for root in (urlsplit(os.environ.get("GRADIO_ROOT_PATH", "")).path.rstrip("/"), scope.get("root_path", "")):
        if root and path.startswith(f"{root}/"):
            return path.removeprefix(root)
    return path


class RequestLimits:
    """ASGI middleware that answers 400, 408 or 413 to a request that is over a limit, and logs one line.

    Args:
        app: what gets all other requests.
        room_bytes: returns the bytes that uploads may still take; None is no limit.
    """

    def __init__(self, app: ASGIApp, room_bytes: Callable[[], int] | None = None) -> None:
        self.app = app
        self.room_bytes = room_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body watched; whatever the application answers to a refused one is dropped."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        watched: _WatchedBody | None = None
        answered = False

        async def unless_refused(message: Message) -> None:
            nonlocal answered
            if watched is None or watched.refused is None:
                answered = True
                await send(message)

        try:
            watched = _WatchedBody(scope, receive, self.room_bytes)
            await watched.begin()
            await self.app(scope, watched.receive, unless_refused)
        except Refused as error:
            refused: Refused | None = error
        except ClientDisconnect:  # Gradio lets it through; nobody is there to be answered
            refused = watched.refused if watched else None
        else:
            refused = watched.refused
        if refused is not None:
            logger.info("refused %s %s: %s", scope["method"], ascii(scope["path"])[:100], refused)
            if not answered:
                await send(
                    {
                        "type": "http.response.start",
                        "status": refused.status,
                        "headers": [(b"content-type", b"text/plain"), (b"connection", b"close")],
                    }
                )
                await send({"type": "http.response.body", "body": f"{refused}\n".encode()})


class _WatchedBody:
    """The body of one request; over a limit ``refused`` is set, and the body ends as if the client had gone."""

    def __init__(self, scope: Scope, receive: Receive, room_bytes: Callable[[], int] | None) -> None:
        self.source, self.received, self.done = receive, 0, False
        self.refused: Refused | None = None
        self.headers = {name.lower(): value for name, value in scope["headers"]}
        self.replayed: Message | None = None
        self.parts: _UploadParts | None = None
        self.deadline = asyncio.get_running_loop().time() + MAX_BODY_SECONDS
        is_upload = path_below_root(scope).rstrip("/") in UPLOADS
        self.most = MAX_UPLOAD_BYTES if is_upload else MAX_REQUEST_BYTES
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            raise Refused(414, "The address is too long.")
        self._check_length(room_bytes if is_upload else None)
        if is_upload:
            self.parts = _UploadParts.of(self.headers.get(b"content-type", b""))

    def _check_length(self, room_bytes: Callable[[], int] | None) -> None:
        announced = self.headers.get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18:
            raise Refused(400, "The length of the request is not a number.")
        if int(announced) > self.most:
            raise Refused(413, "The request is too large.")
        if room_bytes is not None and (int(announced) or self.most) > room_bytes():
            raise Refused(507, "There is no room for more files now: try again later.")

    async def begin(self) -> None:
        """Read anything but an upload whole, and look at the names of sessions in it; raises Refused."""
        if self.parts is not None:
            return
        chunks = []
        while not self.done:
            message = await self._next()
            if message["type"] != "http.request":
                self.replayed = message
                return
            chunks.append(message.get("body", b""))
        body = b"".join(chunks)
        _check_names(body)
        self.replayed = {"type": "http.request", "body": body, "more_body": False}

    async def receive(self) -> Message:
        """Return the next piece of the body; a disconnect where it is over a limit."""
        if self.replayed is not None:
            message, self.replayed = self.replayed, None
            return message
        if self.refused is not None:
            return {"type": "http.disconnect"}
        if self.done:
            return await self.source()
        try:
            message = await self._next()
            if self.parts is not None and message["type"] == "http.request":
                self.parts.read(message.get("body", b""))
        except Refused as error:
            self.refused = error
            return {"type": "http.disconnect"}
        return message

    async def _next(self) -> Message:
        """The next piece in time and within the size; raises Refused."""
        left = self.deadline - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self.source(), min(SILENCE_SECONDS, max(0.0, left)))
        except TimeoutError:
            raise Refused(408, "The request took too long.") from None
        self.received += len(message.get("body", b""))
        self.done = not message.get("more_body", False)
        if self.received > self.most:
            raise Refused(413, "The request is too large.")
        return message


def _check_names(body: bytes) -> None:
    """Raise Refused for a session or event that is called by more than a short name, and JSON nested too deep."""
    try:
        values = json.loads(body)
    except ValueError:  # of another kind
        return
    except RecursionError:
        raise Refused(400, "The request is nested too deep.") from None
    names = [values[name] for name in SESSION_NAMES if values.get(name) is not None] if isinstance(values, dict) else []
    if not all(isinstance(name, str | int) and SESSION.fullmatch(str(name)) for name in names):
        raise Refused(400, "The name of the session is not one.")


class _UploadParts:
    """The parts of an upload, of which only their heads are looked at: each must be a file under the name ``files``.

    Gradio holds every other part in memory, and never deletes files under other names.
    """

    def __init__(self, boundary: bytes) -> None:
        self.files, self.head, self.field, self.value = 0, b"", b"", b""
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
        }
        self.parser: Any = MultipartParser(boundary, callbacks)  # type: ignore[arg-type] # it takes any of them

    @classmethod
    def of(cls, content_type: bytes) -> _UploadParts:
        """Return the parts of a body of this type; raises Refused for another than that of uploads."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused(400, "This is no upload.")
        return cls(options[b"boundary"])

    def read(self, chunk: bytes) -> None:
        """Look at the next piece; raises Refused."""
        try:
            self.parser.write(chunk)
        except MultipartParseError:
            raise Refused(400, "This is no upload.") from None

    def _begin(self) -> None:
        self.head = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self.field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _on_header_end(self) -> None:
        if self.field.lower() == b"content-disposition":
            self.head = self.value
        self.field = self.value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self.head)
        if options.get(b"name") != b"files" or b"filename" not in options:
            raise Refused(400, "An upload holds files alone.")
        self.files += 1
        if self.files > MAX_FILES:
            raise Refused(413, f"An upload holds at most {MAX_FILES} files.")
