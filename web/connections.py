"""Connections of a server that stay silent: closed after a while, whether they have sent half a request or nothing.

uvicorn closes a connection that is idle after an answer; one that never sends a whole head of a request it keeps.
"""

from __future__ import annotations

import asyncio
from typing import Any

HEAD_SECONDS = 20.0  # for the head of a request, at most twice of it


def close_silent_connections(server: Any, head_seconds: float = HEAD_SECONDS) -> None:
    """Let a uvicorn server that has started, and speaks through h11 or httptools, close those that come from now on."""
    usual: Any = server.config.http_protocol_class

    class Watched(usual):
        """uvicorn's protocol, which looks again and again for whether a request has begun."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.seen: object = None
            self.watch = self.loop.call_later(head_seconds, self.look)

        def connection_lost(self, exc: Exception | None) -> None:
            self.watch.cancel()
            super().connection_lost(exc)

        def look(self) -> None:
            """Close the connection where nothing is answered and no request has begun since the last look."""
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.seen is self.cycle:
                self.transport.close()
                return
            self.seen = self.cycle
            self.watch = self.loop.call_later(head_seconds, self.look)

    server.config.http_protocol_class = Watched
