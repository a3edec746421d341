"""Guards of a page against other sites and other people: host names, headers that others must not set or miss, login.

ASGI middleware and no more. What an operator has to say about proxies and hosts is in ``Exposure``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
FORWARDED = (b"forwarded", b"x-real-ip")
FORWARDED_PREFIX = b"x-forwarded-"
# Addresses that a proxy can have; whoever stands before them in X-Forwarded-For is the client.
PROXIES = "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
PROXIES_VARIABLE = "FORWARDED_ALLOW_IPS"  # of uvicorn
# Gradio's page evaluates scripts of its own that arrive as text, and styles stand inline; nothing comes from elsewhere.
POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
SPACE_FRAMES = "https://huggingface.co https://*.huggingface.co https://*.hf.space"
SHARED_SCRIPTS = "https://gradio.s3-us-west-2.amazonaws.com"  # where the page of a public link has its scripts
FREE_ATTEMPTS, LONGEST_DELAY_S, FORGET_AFTER_S = 3, 30.0, 900.0
REMEMBERED_CLIENTS = 10_000
WAITING_ATTEMPTS = 5  # of one client at a time
API_LISTING = re.compile(rb"window\.gradio_api_info = .*?;</script>", re.DOTALL)
LOGOUT = '<!doctype html><title>Log out</title><form method="post"><button>Log out</button></form>'
NO_LISTING = b"window.gradio_api_info = {};</script>"


@dataclass(frozen=True)
class Exposure:
    """Where a page can be reached from: the ``host`` it listens on; only this machine (``local``); behind a ``proxy``
    of the operator's; on a Space of Hugging Face, or through Gradio's public link (``shared``)."""

    host: str
    local: bool
    proxy: bool = False
    space: bool = False
    shared: bool = False

    def trust_proxies(self) -> None:
        """Tell uvicorn whose word on the client's address counts; before a server starts."""
        if self.proxy:
            os.environ.setdefault(PROXIES_VARIABLE, PROXIES)
        elif not self.space:
            os.environ[PROXIES_VARIABLE] = ""


class Guards:
    """ASGI middleware of all guards, in one place so that a server hooks in one."""

    def __init__(self, app: ASGIApp, exposure: Exposure) -> None:
        self.app, self.exposure = app, exposure
        self.login = LoginBrake()
        self.headers = _headers(exposure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403, 421 or 429 where it comes from elsewhere than it should."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope = self._without_hearsay(scope)
        headers = dict(scope["headers"])
        if not self._is_our_host(headers.get(b"host", b"")):
            return await _answer(send, 421, "This page is not served under this name.")
        path = scope["path"].rstrip("/")
        if path.endswith("/logout"):
            if scope["method"] == "GET":  # which any other site can have a browser do
                return await _answer(self._with_headers(send), 200, LOGOUT, b"text/html")
            if scope["method"] != "POST" or not _same_origin(headers):
                return await _answer(send, 403, "Log out on this page.")
            scope = {**scope, "method": "GET"}  # the only one that Gradio knows
        elif path.endswith("/login") and scope["method"] == "POST":
            return await self.login.attempt(self.app, scope, receive, self._with_headers(send))
        await self.app(scope, receive, _Page(scope, self._with_headers(send)).send)

    def _without_hearsay(self, scope: Scope) -> Scope:
        """The request without headers that only a proxy may set, where there is none."""
        if self.exposure.proxy or self.exposure.space or self.exposure.shared:
            return scope
        kept = [(n, v) for n, v in scope["headers"] if n not in FORWARDED and not n.startswith(FORWARDED_PREFIX)]
        return {**scope, "headers": kept}

    def _is_our_host(self, header: bytes) -> bool:
        """False for other names than this machine's on a page that only this machine reaches: of a stranger's site
        whose name was made to lead here (DNS rebinding)."""
        if not self.exposure.local or self.exposure.proxy:
            return True
        try:
            name = urlsplit(f"//{header.decode('ascii')}").hostname
        except ValueError:
            return False
        return name in (*LOOPBACK_NAMES, self.exposure.host)

    def _with_headers(self, send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
            await send(message)

        return with_headers


def _headers(exposure: Exposure) -> list[tuple[bytes, bytes]]:
    """Headers of every answer."""
    policy = {**POLICY, "frame-ancestors": SPACE_FRAMES if exposure.space else "'self'"}
    if exposure.shared:
        for kind in ("script-src", "style-src", "connect-src", "font-src", "img-src"):
            policy[kind] += f" {SHARED_SCRIPTS}"
    return [
        (b"content-security-policy", "; ".join(f"{name} {value}" for name, value in policy.items()).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]


def _same_origin(headers: Mapping[bytes, bytes]) -> bool:
    """True where a browser says that its own page sent a request, and for clients that are no browsers."""
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin.decode("latin-1")).netloc.encode() == headers.get(b"host")


async def _answer(send: Send, status: int, text: str, kind: bytes = b"text/plain") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})


class LoginBrake:
    """Slows down who guesses passwords: after some wrong ones each more takes twice as long; the log names the client.

    Attempts of one client follow one another, so that many at once are no faster.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Attempts] = OrderedDict()

    async def attempt(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a login on when it is the client's turn; answers 429 where too many wait already."""
        client = (scope.get("client") or ("unknown",))[0]
        attempts = self._of(client)
        if attempts.waiting >= WAITING_ATTEMPTS:
            return await _answer(send, 429, "Too many attempts to log in: wait a while.")
        attempts.waiting += 1
        try:
            async with attempts.turn:
                await asyncio.sleep(attempts.delay_s())
                await app(scope, receive, attempts.watching(client, send))
        finally:
            attempts.waiting -= 1

    def _of(self, client: str) -> _Attempts:
        known = self._clients.pop(client, None)
        if known is None or (not known.waiting and time.monotonic() - known.last > FORGET_AFTER_S):
            known = _Attempts()
        self._clients[client] = known
        while len(self._clients) > REMEMBERED_CLIENTS:
            self._clients.popitem(last=False)
        return known


class _Attempts:
    """One client's wrong passwords."""

    def __init__(self) -> None:
        self.wrong, self.waiting, self.last, self.turn = 0, 0, time.monotonic(), asyncio.Lock()

    def delay_s(self) -> float:
        """How long the next attempt has to wait."""
        doubled = self.wrong - FREE_ATTEMPTS
        return 0.0 if doubled < 0 else min(LONGEST_DELAY_S, 2.0 ** min(doubled, 10))

    def watching(self, client: str, send: Send) -> Send:
        """``send`` that learns from the answer whether the password was right."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.last = time.monotonic()
                if message["status"] == 400:
                    self.wrong += 1
                    logger.warning("wrong password from %s (%d in a row)", client, self.wrong)
                elif message["status"] == 200:
                    self.wrong = 0
            await send(message)

        return watched


class _Page:
    """An answer; of a page for who has not logged in, the listing of endpoints, models and files is left out."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Hold a page back until it is whole, and send everything else at once."""
        if message["type"] == "http.response.start" and self._is_for_nobody(message):
            self._start = message
            return
        if self._start is None:
            return await self._send(message)
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            body = API_LISTING.sub(NO_LISTING, self._body)
            kept = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
            await self._send({**self._start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
            await self._send({"type": "http.response.body", "body": body})

    def _is_for_nobody(self, start: Message) -> bool:
        is_page = any(n.lower() == b"content-type" and v.startswith(b"text/html") for n, v in start.get("headers", ()))
        application = self.scope.get("app")
        return is_page and getattr(application, "auth", None) is not None and not _is_known(application, self.scope)


def _is_known(application: object, scope: Scope) -> bool:
    """True where a request has the cookie of somebody who has logged in, as Gradio checks it."""
    cookies: SimpleCookie = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin-1"))
            except CookieError:
                return False
    identity, tokens = getattr(application, "cookie_id", ""), getattr(application, "tokens", {})
    names = (f"access-token-{identity}", f"access-token-unsecure-{identity}")
    return any(name in cookies and cookies[name].value in tokens for name in names)
