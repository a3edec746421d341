"""Mistakes of programs that call the page, told before they reach Gradio, and every error of a call in one form.

The form is ``{"error": line, "field": name or null, "message": the line without the name}``. Gradio by itself answers a
call with too few values, or with names that are none, by a traceback in the log and ``{"error": null}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from web.limits import path_below_root

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALL = re.compile(r"(?:/gradio_api)?/call/(?P<by_name>v2/)?(?P<endpoint>[^/]+)(?:/[^/]*)?/?")
FIELD = re.compile(r"(?P<field>[a-z][a-z0-9_]*): (?P<message>.+)", re.DOTALL)
FAILED = b"event: error\ndata: "
WITHOUT_WORDS = "the call was refused: a file must be uploaded first, and every value be of its parameter's type"
MAX_NAME_CHARS = 60  # of an unknown name, as a message repeats it


def as_error(line: object, fields: Collection[str]) -> dict[str, str | None]:
    """Return a line in the form of this module; one that begins with the name of a field is about that field, and
    Gradio's own refusals of files and types have none."""
    text = line if isinstance(line, str) and line else WITHOUT_WORDS
    match = FIELD.fullmatch(text)
    if match is None or match["field"] not in fields:
        return {"error": text, "field": None, "message": text}
    return {"error": text, **match.groupdict()}


@dataclass(frozen=True)
class Endpoint:
    """Parameters of an endpoint as Gradio describes them."""

    parameters: Sequence[Mapping[str, Any]]

    @property
    def fields(self) -> list[str]:
        """Names that an error may be about."""
        return ["data", *(parameter["parameter_name"] for parameter in self.parameters)]

    def mistake(self, body: bytes, *, by_name: bool) -> str | None:
        """Return in a line what is wrong with the form of a call, None where it can be read."""
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            return "the body must be a JSON object"
        return self._mistake_by_name(values) if by_name else self._mistake_in_list(values.get("data"))

    def _mistake_in_list(self, data: object) -> str | None:
        wanted = len(self.parameters)
        if not isinstance(data, list):
            return f"data: must be a list of {wanted} values; /call/v2 takes them by name"
        if len(data) < wanted:  # Gradio does not look at more than there are
            return f"data: must have {wanted} values, not {len(data)}; /call/v2 takes them by name"
        return None

    def _mistake_by_name(self, values: Mapping[str, object]) -> str | None:
        fields = self.fields[1:]
        for name in values:
            if name not in fields:
                shown = "".join(sign if sign.isprintable() else "?" for sign in name[:MAX_NAME_CHARS])
                return f"{shown}: is not a parameter, which are {', '.join(fields)}"
        needed = [each["parameter_name"] for each in self.parameters if not each["parameter_has_default"]]
        missing = [name for name in needed if name not in values]
        return f"{missing[0]}: is missing" if missing else None


class ApiErrors:
    """ASGI middleware around the calls of programs, ``/call/NAME`` and ``/call/v2/NAME``."""

    def __init__(self, app: ASGIApp, page: gr.Blocks):
        self.app, self.page = app, page

    @cached_property
    def endpoints(self) -> dict[str, Endpoint]:
        """The names that programs may call; the page's own events are not among them."""
        named = self.page.get_api_info()["named_endpoints"]
        return {name.removeprefix("/"): Endpoint(facts["parameters"]) for name, facts in named.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a malformed call, and bring what goes wrong with others into form."""
        match = CALL.fullmatch(path_below_root(scope)) if scope["type"] == "http" else None
        if match is None:
            return await self.app(scope, receive, send)
        name = match["endpoint"]
        own_event = any(fn.api_name == name for fn in self.page.fns.values())
        endpoint = self.endpoints.get(name, Endpoint(()))
        in_form = InForm(send, endpoint.fields)
        if scope["method"] != "POST":
            return await self.app(scope, receive, in_form)
        body = await read_body(receive)
        if not own_event:
            return await in_form.refuse(404, f"there is no endpoint of this name, but {', '.join(self.endpoints)}")
        mistake = endpoint.mistake(body, by_name=bool(match["by_name"])) if name in self.endpoints else None
        if mistake is not None:
            in_form.fields = [*in_form.fields, mistake.partition(":")[0]]  # an unknown name is a field as well
            return await in_form.refuse(422, mistake)
        await self.app(scope, again(body, receive), in_form)


@dataclass
class InForm:
    """The way back to a client on which errors get their form: an answer of 400 and more, and events of failure."""

    send: Send
    fields: Collection[str]
    refused: int = 0
    content: bytes = b""

    async def __call__(self, message: Message) -> None:
        """Send a message on; one of a refusal when it is whole."""
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self.refused = message["status"]
        elif self.refused:
            self.content += message.get("body", b"")
            if not message.get("more_body", False):
                await self.refuse(self.refused, line_of(self.content))
        else:
            body = message.get("body", b"")
            if body.startswith(FAILED):
                line = line_of(body.removeprefix(FAILED))
                message = {**message, "body": FAILED + json.dumps(as_error(line, self.fields)).encode() + b"\n\n"}
            await self.send(message)

    async def refuse(self, status: int, line: object) -> None:
        """Answer with an error and nothing else."""
        content = json.dumps(as_error(line, self.fields)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})


def line_of(content: bytes) -> object:
    """Return the line in an error as Gradio writes it: a JSON text, or an object with "error" or "detail"."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value.get("error", value.get("detail")) if isinstance(value, dict) else value


async def read_body(receive: Receive) -> bytes:
    """Return the body of a request; one that ends early is what came of it."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def again(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that gives a body that was read once more, and then what comes after it."""
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return given.pop() if given else await receive()

    return receive_again
