"""Chat models on a server that speaks OpenAI's protocol (OpenAI, Ollama, vLLM, llama.cpp, Hugging Face), as one
callable, ``complete(messages) -> text``; and the operator's choice between a server and this machine (local_llm.py).

Nobody but the operator chooses. A server's answer is bounded in size and in time, and its words are in no message. The
key is sent to that server alone, and is in no message, log, repr or file.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from director.director import ChatModel, Messages
from director.local_llm import local
from director.storyboard import MAX_TEXT_CHARS
from errors import DirectorError, InvalidSettings
from settings.user_files import user_path

logger = logging.getLogger(__name__)
URL_VARIABLE, MODEL_VARIABLE, KEY_VARIABLE = "T2V_LLM_URL", "T2V_LLM_MODEL", "T2V_LLM_KEY"
OPENAI_HOST, OPENAI_KEY_VARIABLE = "api.openai.com", "OPENAI_API_KEY"
TIMEOUT_S = 60.0
MAX_EVENT_BYTES = 4 * MAX_TEXT_CHARS  # one event may hold the whole answer, with every sign escaped
TOO_LONG = "answers at too great a length: try again, or take another model"
NOT_COMPATIBLE = f"does not answer as an OpenAI-compatible one does: check its address ({URL_VARIABLE})"
REFUSED_KEY = f"refuses the key: check {KEY_VARIABLE}"
STATUSES = {
    401: REFUSED_KEY,
    403: REFUSED_KEY,
    404: f"does not know the model or the address: check {MODEL_VARIABLE} and {URL_VARIABLE}",
    429: "has had too many requests, or no credit is left: wait, then try again",
}
# Raised inside the Hub library for a server's JSON that is not of the protocol.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


@dataclass(frozen=True)
class LanguageModelOptions:
    """Chat model that the operator offers: ``model`` on the server at ``base_url``, or without one a folder or Hub id
    for this machine. Raises InvalidSettings for an address or a key that cannot be one."""

    base_url: str | None
    model: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InvalidSettings(f"the language model has no name: set {MODEL_VARIABLE}")
        if self.base_url is not None and not is_address(self.base_url):
            raise InvalidSettings(
                f"{URL_VARIABLE}: must be an address such as http://127.0.0.1:11434/v1, without a name, a key or '?'"
            )
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise InvalidSettings(f"{KEY_VARIABLE}: has signs that no key has, such as a space")

    @classmethod
    def from_environment(cls) -> Self | None:
        """Read T2V_LLM_URL, T2V_LLM_MODEL and T2V_LLM_KEY; None if they name no chat model."""
        base_url, model = (os.environ.get(name, "").strip() for name in (URL_VARIABLE, MODEL_VARIABLE))
        if not base_url and not model:
            return None
        return cls(base_url or None, model, key_from_environment(base_url))


def is_address(base_url: str) -> bool:
    """Tell if this is an HTTP address of a host, a port and a path, with no secret in it."""
    try:
        parts = urlsplit(base_url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = base_url.isprintable() and not set(" @?#\\") & set(base_url)
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_one


def key_from_environment(base_url: str) -> str | None:
    """Return T2V_LLM_KEY; for OpenAI's own server, and for no other, also OPENAI_API_KEY."""
    names = [KEY_VARIABLE]
    if is_address(base_url) and urlsplit(base_url).scheme == "https" and urlsplit(base_url).hostname == OPENAI_HOST:
        names.append(OPENAI_KEY_VARIABLE)
    return next((key for name in names if (key := os.environ.get(name, "").strip())), None)


def connect(options: LanguageModelOptions, device: str = "cpu") -> ChatModel:
    """Return the chat model that the options name."""
    if options.base_url is None:
        return local(str(user_path(options.model)), device)
    return remote(options.base_url, options.model, options.key)


def remote(base_url: str, model: str, api_key: str | None = None, timeout_s: float = TIMEOUT_S) -> ChatModel:
    """Return a chat model on a server. An answer must be whole within ``timeout_s``; looking up a host name may take
    longer.

    Raises InvalidSettings; the callable raises DirectorError with one line for everything that goes wrong.
    """
    options = LanguageModelOptions(base_url, model, api_key)

    def complete(messages: Messages) -> str:
        from huggingface_hub.utils import httpx

        try:
            text = _run(_ask(options, messages, timeout_s))
        except (OSError, httpx.HTTPError, httpx.InvalidURL, *UNREADABLE) as error:
            reason = _reason(error, timeout_s)
            logger.warning("the server at %s %s (%s)", urlsplit(base_url).netloc, reason, type(error).__name__)
            raise DirectorError(f"the language model's server {reason}") from None
        if not text.strip():
            raise DirectorError("the language model's server gave an empty answer: try again, or take another model")
        return text

    return complete


def _run(coroutine: Coroutine[Any, Any, str]) -> str:
    """Return the coroutine's result, also if an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def _ask(options: LanguageModelOptions, messages: Messages, timeout_s: float) -> str:
    """Read a streamed answer; raises DirectorError once it is too long, TimeoutError, and errors of the Hub library."""
    text = ""
    async with asyncio.timeout(timeout_s), _client(options) as client:
        async for part in await client.chat_completion(messages, model=options.model, stream=True):
            text += "".join(choice.delta.content or "" for choice in part.choices or ())
            if len(text) > MAX_TEXT_CHARS:
                raise DirectorError(f"the language model's server {TOO_LONG}")
    return text


def _client(options: LanguageModelOptions) -> Any:
    """Return the Hub library's client, for all but the request itself.

    Its own request cannot be bounded: it follows redirects, takes proxies from the environment, reads a line however
    long it is, waits anew for every byte, refuses a server on this machine where HF_HUB_OFFLINE is set, shares its
    connection and settings with all other uses of the library, and without a key sends the user's HF_TOKEN.
    """
    from huggingface_hub import AsyncInferenceClient
    from huggingface_hub.utils import httpx

    headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {options.key}"} if options.key else {})

    class Client(AsyncInferenceClient):
        """Client with a request of its own."""

        async def _inner_post(  # type: ignore[override] # streams alone
            self, request_parameters: Any, *, stream: bool = False
        ) -> AsyncIterable[str]:
            session = httpx.AsyncClient(headers=headers, trust_env=False, follow_redirects=False, timeout=None)
            await self.exit_stack.enter_async_context(session)
            response = await self.exit_stack.enter_async_context(
                session.stream("POST", request_parameters.url, json=request_parameters.json)
            )
            _check(response.status_code, response.headers)
            return (f"data: {event.data}" async for event in httpx.EventSource(response, MAX_EVENT_BYTES))

    return Client(base_url=options.base_url, api_key="none")


def _check(status: int, headers: Mapping[str, str]) -> None:
    """Raise DirectorError for an answer that is not a stream of events."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == 200 and kind == "text/event-stream" and headers.get("content-encoding", "identity") == "identity":
        return
    reason = STATUSES.get(status, f"refuses the request ({status}): check {MODEL_VARIABLE} and {URL_VARIABLE}")
    if status == 200:
        reason = NOT_COMPATIBLE
    elif 300 <= status < 400:
        reason = f"redirects elsewhere, which is not followed: set {URL_VARIABLE} to the final address"
    elif status >= 500:
        reason = f"has a fault of its own ({status}): try again later"
    raise DirectorError(f"the language model's server {reason}")


def _reason(error: BaseException, timeout_s: float) -> str:
    """Return the cause of a server's failure as the rest of a sentence, with nothing of the error's own text."""
    from huggingface_hub.errors import TextGenerationError
    from huggingface_hub.utils import httpx

    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"did not answer within {timeout_s:g} seconds"
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return "has no certificate that this machine trusts, or speaks no TLS: check the address"
    if isinstance(error, httpx.SSEError):
        return TOO_LONG
    if isinstance(error, TextGenerationError):
        return "reports a fault in the middle of its answer: try again"
    if isinstance(error, httpx.ConnectError | OSError | httpx.InvalidURL):
        return f"cannot be reached: start it, or check {URL_VARIABLE}"
    return "broke off its answer: try again" if isinstance(error, httpx.HTTPError) else NOT_COMPATIBLE


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
