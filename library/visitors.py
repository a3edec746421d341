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
        return hashlib.sha256(f"owner {match[1]}".encode()).hexdigest()[:24]

    def _signature(self, visitor: str) -> str:
        return hmac.new(self.key, visitor.encode(), "sha256").hexdigest()
