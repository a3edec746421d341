"""Owners of jobs and clips: who a browser is, by a signed cookie that nobody can guess or make."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

COOKIE = "t2v_visitor"
_SHAPE = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{64})")


@dataclass(frozen=True)
class Visitors:
    """Signs and reads the cookie; ``key`` is the server's secret."""

    key: bytes

    def new_cookie(self) -> str:
        """Return the value of a cookie for somebody not seen before."""
        visitor = secrets.token_hex(16)
        return f"{visitor}.{self._signature(visitor)}"

    def owner(self, cookie: str | None) -> str | None:
        """Return the owner a cookie stands for, None where it is absent or not signed by this server.

        The owner names folders and so is another word than the cookie, which cannot be found from it.
        """
        match = _SHAPE.fullmatch(cookie or "")
        if match is None or not hmac.compare_digest(match[2], self._signature(match[1])):
            return None
        return _owner(match[1])

    def owner_of_session(self, session: str) -> str:
        """Return the owner for a program, or a browser that keeps no cookies: as long as its session."""
        return _owner(self._signature(f"session {session}"))

    def _signature(self, visitor: str) -> str:
        return hmac.new(self.key, visitor.encode(), "sha256").hexdigest()


def _owner(secret: str) -> str:
    return hashlib.sha256(f"owner {secret}".encode()).hexdigest()[:24]
