"""Connections that stay silent are closed; those that are answered, or send on, are not."""

import asyncio

import pytest
import uvicorn

from web.connections import close_silent_connections

HEAD_SECONDS = 0.15


async def application(scope, receive, send):
    """Answers after a while: longer than a silent connection lives."""
    await asyncio.sleep(3 * HEAD_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def all_that_comes(sent: list[bytes], pause: float = 0.0) -> tuple[bytes, float]:
    """What a server says to these pieces until it hangs up, and after how many seconds."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical", lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    close_silent_connections(server, HEAD_SECONDS)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    begun = asyncio.get_running_loop().time()
    try:
        for piece in sent:
            writer.write(piece)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 5), asyncio.get_running_loop().time() - begun
    finally:
        writer.close()
        server.should_exit = True
        await running


@pytest.mark.parametrize(
    "sent", [[], [b"GET / HT"], [b"GET / HTTP/1.1\r\nHost: x\r\n"]], ids=["silent", "line", "head"]
)
def test_half_a_request_is_not_waited_for(sent):
    """uvicorn waits for ever, and every such connection is kept."""
    said, seconds = asyncio.run(all_that_comes(sent))
    assert said == b""
    assert HEAD_SECONDS < seconds < 10 * HEAD_SECONDS


def test_who_is_answered_is_waited_for():
    """However long the answer takes; afterwards the connection is closed like any other."""
    said, seconds = asyncio.run(all_that_comes([b"GET / HTTP/1.1\r\n", b"Host: x\r\n\r\n"], 0.02))
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert said.endswith(b"ok")
    assert seconds > 3 * HEAD_SECONDS
