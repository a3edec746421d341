"""Bodies are bounded before Gradio holds them: the whole, its parts, its files, names of sessions, and the time."""

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect, Request

from web import limits
from web.limits import RequestLimits

BOUNDARY = "edge"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def part(content: bytes, name: str = "files", filename: str | None = "a.mp4") -> bytes:
    """One part of an upload."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    head += "" if filename is None else f'; filename="{filename}"'
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


class Server:
    """An application behind the limits that reads bodies as Gradio does; ``seen`` is all that it got."""

    def __init__(self, room_bytes=None):
        self.limited, self.seen, self.ended = RequestLimits(self.answer, room_bytes), b"", False

    async def answer(self, scope, receive, send):
        async for chunk in Request(scope, receive).stream():
            self.seen += chunk
        self.ended = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def post(self, chunks, path="/gradio_api/upload", content_type=MULTIPART, **facts):
        """The status of the answer; ``length`` and ``query`` may be told, ``delay`` is between chunks."""
        return asyncio.run(self._post(list(chunks), path, content_type, **facts))

    async def _post(self, chunks, path, content_type, *, length=None, query=b"", delay=0.0):
        headers = [(b"content-type", content_type.encode())]
        headers += [] if length is None else [(b"content-length", length)]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": headers}
        sent = []

        async def receive():
            await asyncio.sleep(delay)
            if not chunks:
                return {"type": "http.disconnect"}
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message):
            sent.append(message)

        await self.limited(scope, receive, send)
        return sent[0]["status"] if sent else None


def test_an_honest_upload_arrives_as_it_is():
    """Whatever the pieces that it comes in."""
    body = part(b"x" * 1000) + part(b"\r\n--edg", filename="b.png") + END
    for size in (1, 7, 10_000):
        server = Server(lambda: 10**9)
        assert server.post(body[start : start + size] for start in range(0, len(body), size)) == 200
        assert server.seen == body
        assert server.ended


@pytest.mark.parametrize(
    ("chunks", "facts", "status"),
    [
        ([part(b"", "text", None), b"x" * 10**6] * 500, {}, 400),
        ([part(b"x", "other"), END], {}, 400),
        ([part(b"x") * 3, END], {}, 413),
        ([part(b"x") + b"y" * 100] + [b"y" * 10**5] * 200, {}, 413),
        ([b"not of it"], {}, 400),
        ([b"{}"], {"content_type": "application/json"}, 400),
        ([part(b"x"), END], {"content_type": "multipart/form-data"}, 400),
        ([part(b"x"), END], {"length": b"30000000000"}, 413),
        ([part(b"x"), END], {"length": b"-1"}, 400),
        ([part(b"x"), END], {"length": b"9" * 400}, 400),
        ([part(b"x"), END], {"query": b"upload_id=" + b"x" * 5000}, 414),
        ([part(b"x"), END], {"length": b"5000"}, 507),
    ],
    ids=range(12),
)
def test_an_upload_over_a_limit_is_refused_before_it_is_held(chunks, facts, status, monkeypatch):
    """A field without a file name grew in memory; files under other names were never deleted."""
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 2_000_000)
    server = Server(lambda: 10**9 if status != 507 else 4000)
    assert server.post(chunks, **facts) == status
    assert not server.ended
    assert len(server.seen) <= limits.MAX_UPLOAD_BYTES


def call(**values) -> list[bytes]:
    """The body of a call of an endpoint."""
    return [json.dumps({"data": [1], **values}).encode()]


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (call(session_hash="abc123xyz", event_id="6f0e-1", trigger_id=12), 200),
        (call(), 200),
        ([b"[]"], 200),
        ([b"not json"], 200),  # the application says so itself
        (call(session_hash="x" * 450_000), 400),
        (call(session_hash=["x"]), 400),
        (call(session_hash="a\nb"), 400),
        (call(event_id={"a": 1}), 400),
        ([b"[" * 100_000], 400),
        ([b"x" * 600_000, b"x" * 600_000], 413),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_names_of_sessions_are_short(chunks, status, content_type):
    """Gradio keeps every one for as long as it runs: 0.45 MB stayed of each request."""
    assert Server().post(list(chunks), "/gradio_api/queue/join", content_type) == status


def test_bodies_that_come_too_slowly_end(monkeypatch, caplog):
    """Each piece in time, and the whole; the log has one line, into which no name can write another."""
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 0.03)
    with caplog.at_level("INFO"):
        assert Server().post([part(b"x"), END], delay=0.2) == 408
        assert Server().post(call(), "/call/a\nERROR forged", delay=0.2) == 408
    assert all("\n" not in record.getMessage() for record in caplog.records)
    monkeypatch.setattr(limits, "SILENCE_SECONDS", 5)
    monkeypatch.setattr(limits, "MAX_BODY_SECONDS", 0.05)
    assert Server().post([part(b"x"), *[b"y"] * 100], delay=0.01) == 408


def test_a_client_that_goes_is_no_error():
    """Nobody is there to be answered, and nothing is wrong with the server."""

    async def leaving(scope, receive, send):
        raise ClientDisconnect

    server = Server()
    server.limited.app = leaving
    assert server.post([part(b"x")]) is None
