"""Language models on a server, one that misbehaves in every way there is.

The server's first path segment says how it behaves, so that one server serves all tests.
"""

import asyncio
import contextlib
import gzip
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from director.director import direct
from director.remote_llm import LanguageModelOptions, connect, remote
from director.storyboard import MAX_TEXT_CHARS
from errors import DirectorError, InvalidSettings

KEY = "sk-a-key-that-nobody-may-see"
MESSAGES = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Größe 🎈?"}]
ANSWER = json.dumps({"frames": ["a red circle\u2028", "a blue circle 🎈"]}, ensure_ascii=False)
HASTE_S = 0.4
VARIABLES = ["T2V_LLM_URL", "T2V_LLM_MODEL", "T2V_LLM_KEY", "OPENAI_API_KEY", "HF_TOKEN", "HTTP_PROXY", "http_proxy"]


def event(text):
    """One event of a stream, as OpenAI writes it."""
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def answer(status, kind, body, **headers):
    """A behaviour: one whole answer."""

    def behave(server):
        server.begin(status, kind, **{"Content-Length": str(len(body)), **headers})
        server.wfile.write(body)

    return behave


def stream(*events, pause_s=0.0, forever=False):
    """A behaviour: a stream of events, the last of which may come again and again."""

    def behave(server):
        server.begin(200, "text/event-stream")
        for piece in events:
            server.wfile.write(piece)
        while forever and not server.server.ending.wait(pause_s):
            server.wfile.write(events[-1])

    return behave


def drip_headers(server):
    for sign in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
        server.wfile.write(bytes([sign]))
        if server.server.ending.wait(0.02):
            return


def good(server):
    role = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant"}}]}\n\n'
    done = b'data: {"choices": [], "usage": {"total_tokens": 7}}\n\ndata: [DONE]\n\n'
    stream(b": welcome\n\n", role, *(event(sign) for sign in ANSWER), done)(server)


def echo_key(server):
    body = json.dumps({"error": {"message": f"wrong key: {server.headers['Authorization']}"}}).encode()
    answer(401, "application/json", body)(server)


def silent(server):
    server.server.ending.wait(20)


LONG = "a" * 5_000_000
HTML = b"<!doctype html><title>Welcome</title>"
# By name: how the server behaves, and what is said of it.
MISBEHAVIOURS = {
    "key": (echo_key, "refuses the key: check T2V_LLM_KEY"),
    "forbidden": (answer(403, "text/html", HTML), "refuses the key"),
    "unknown": (answer(404, "application/json", b'{"error": "model not found"}'), "does not know the model"),
    "busy": (answer(429, "application/json", b"{}", **{"Retry-After": "3600"}), "too many requests"),
    "broken": (answer(500, "text/plain", LONG.encode()), r"a fault of its own \(500\)"),
    "gateway": (answer(502, "text/html", HTML), r"a fault of its own \(502\)"),
    "unprocessable": (answer(422, "application/json", b'{"detail": "no"}'), r"refuses the request \(422\)"),
    "moved": (answer(307, "text/html", b"", Location="/stolen/v1/chat/completions"), "redirects elsewhere"),
    "found": (answer(302, "text/html", b"", Location="http://localhost:9/stolen"), "redirects elsewhere"),
    "page": (answer(200, "text/html", HTML), "OpenAI-compatible"),
    "whole": (answer(200, "application/json", b"{}"), "OpenAI-compatible"),
    "untyped": (answer(200, "", event("a")), "OpenAI-compatible"),
    "packed": (
        answer(200, "text/event-stream", gzip.compress(event(LONG)), **{"Content-Encoding": "gzip"}),
        "OpenAI-compatible",
    ),
    "nothing": (stream(), "empty answer"),
    "spaces": (stream(event(" \n "), b"data: [DONE]\n\n"), "empty answer"),
    "no-json": (stream(b"data: hello\n\n"), "OpenAI-compatible"),
    "deep": (stream(b"data: " + b"[" * 100_000 + b"\n\n"), "OpenAI-compatible"),
    "list": (stream(b"data: [1, 2]\n\n"), "OpenAI-compatible"),
    "shape": (stream(b'data: {"choices": [{"delta": {"content": {"a": 1}}}]}\n\n'), "OpenAI-compatible"),
    "strings": (stream(b'data: {"choices": "none"}\n\n'), "OpenAI-compatible"),
    "fault": (stream(event("a"), b'data: {"error": {"message": "out of memory"}}\n\n'), "in the middle of its answer"),
    "cut": (answer(200, "text/event-stream", event("a"), **{"Content-Length": "9999"}), "broke off its answer"),
    "hang-up": (lambda server: None, "broke off its answer"),
    "one-line": (stream(b"data: " + LONG.encode()), "too great a length"),
    "large": (stream(event("a" * (MAX_TEXT_CHARS + 1))), "too great a length"),
    "flood": (stream(event("a" * 10_000), forever=True), "too great a length"),
}
ENDLESS = {
    "silent": silent,
    "drip-headers": drip_headers,
    "drip": stream(b"data: {", b"a", pause_s=0.02, forever=True),
    "never": stream(event("a"), event("b"), pause_s=0.02, forever=True),
    "comments": stream(b": wait\n\n", forever=True),
}
BEHAVIOURS = {"good": good, **{name: behave for name, (behave, _) in MISBEHAVIOURS.items()}, **ENDLESS}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        with contextlib.suppress(OSError):  # the other side hangs up when it has had enough
            BEHAVIOURS[self.path.split("/")[1]](self)

    do_GET = do_POST

    def begin(self, status, kind, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *anything):
        pass


@contextlib.contextmanager
def serving(wrap=lambda plain: plain):
    """A server on loopback; yields it, with ``url`` and what it has ``seen``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = wrap(server.socket)
    server.daemon_threads, server.seen, server.ending = True, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        remote(f"{running.url}/good/v1", "warm")(MESSAGES)  # libraries are read before anything is timed
        yield running


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """What the machine's owner has set is no part of a test."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def refused(complete):
    """The one line that is said instead of an answer."""
    with pytest.raises(DirectorError) as raised:
        complete(MESSAGES)
    line = str(raised.value)
    assert line.isprintable()
    assert len(line) < 200
    assert "127.0.0.1" not in line, "a visitor of the page need not know where the operator's server is"
    return line


# A server that behaves


@pytest.mark.parametrize("path", ["/good", "/good/", "/good/v1", "/good/v1/", "/good/v1/chat/completions"])
def test_a_good_server_is_asked_as_openai_would_be(server, path):
    assert remote(server.url + path, "tiny-model", KEY)(MESSAGES) == ANSWER
    path, headers, body = server.seen[-1]
    assert path == "/good/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(body) == {"model": "tiny-model", "messages": MESSAGES, "stream": True}


def test_a_server_directs(server):
    assert direct("a circle", 2, remote(f"{server.url}/good/v1", "m")) == ("a red circle", "a blue circle 🎈")


def test_it_works_where_an_event_loop_runs_already(server):
    async def in_a_notebook():
        return remote(f"{server.url}/good/v1", "m")(MESSAGES)

    assert asyncio.run(in_a_notebook()) == ANSWER


def test_nothing_of_the_user_goes_to_the_operators_server(server, monkeypatch):
    """Their Hugging Face token would be sent by the Hub's own client, and their proxy would be told everything."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # this server is not the Hub
    with serving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert remote(f"{server.url}/good/v1", "m")(MESSAGES) == ANSWER
        assert proxy.seen == []
    _, headers, body = server.seen[-1]
    assert set(headers) == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
        "content-length",
        "content-type",
    }
    assert "hf_secret" not in f"{headers}{body}"


# One that does not


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, (_, said) in MISBEHAVIOURS.items()])
def test_a_misbehaving_server_is_one_clear_line_at_once(server, name, said):
    begun = time.monotonic()
    with pytest.raises(DirectorError, match=said):
        remote(f"{server.url}/{name}/v1", "m", KEY)(MESSAGES)
    assert time.monotonic() - begun < 3
    refused(remote(f"{server.url}/{name}/v1", "m", KEY))


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_that_never_ends_is_given_up_in_time(server, name):
    """A byte now and then keeps every ordinary timeout from running out; comments without end are no answer either."""
    begun = time.monotonic()
    line = refused(remote(f"{server.url}/{name}/v1", "m", timeout_s=HASTE_S))
    assert line == "the language model's server did not answer within 0.4 seconds"
    assert HASTE_S <= time.monotonic() - begun < HASTE_S + 1
    assert [thread.name for thread in threading.enumerate() if "asyncio" in thread.name] == []


def test_a_redirect_is_never_followed(server):
    refused(remote(f"{server.url}/moved/v1", "m", KEY))
    assert [path for path, _, _ in server.seen if "stolen" in path] == []


def test_a_server_that_is_not_there(server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "cannot be reached" in refused(remote(f"http://127.0.0.1:{port}/v1", "m"))


def test_a_server_without_tls(server):
    assert "TLS" in refused(remote(f"{server.url.replace('http', 'https')}/good/v1", "m", KEY))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_signed(server, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *make.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(lambda plain: context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)) as safe:
        line = refused(remote(f"{safe.url.replace('http', 'https')}/good/v1", "m", KEY))
        assert "certificate" in line
        assert safe.seen == []


@pytest.mark.parametrize("name", ["good", "key", "moved", "deep", "cut", "fault", "one-line"])
def test_the_key_is_in_no_message_log_or_repr(server, name, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    options = LanguageModelOptions(f"{server.url}/{name}/v1", "m", KEY)
    complete = connect(options)
    shown = [repr(options), str(options), repr(complete), repr(vars(complete))]
    try:
        complete(MESSAGES)
    except DirectorError as error:
        shown += [repr(error), "".join(traceback.format_exception(error))]
        hidden = error
        while hidden is not None:  # also what is hidden by "from None"
            shown += [repr(hidden), repr(vars(hidden))]
            hidden = hidden.__context__
    shown += [f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records]
    assert KEY in server.seen[-1][1]["authorization"]
    assert KEY not in "\n".join([*shown, *capfd.readouterr()])


# Options


def test_the_environment_names_the_model(monkeypatch):
    assert LanguageModelOptions.from_environment() is None
    monkeypatch.setenv("T2V_LLM_MODEL", " tiny ")
    assert LanguageModelOptions.from_environment() == LanguageModelOptions(None, "tiny")
    monkeypatch.setenv("T2V_LLM_URL", "http://127.0.0.1:11434/v1")
    monkeypatch.setenv("T2V_LLM_KEY", f"{KEY}\n")
    assert LanguageModelOptions.from_environment() == LanguageModelOptions("http://127.0.0.1:11434/v1", "tiny", KEY)
    monkeypatch.delenv("T2V_LLM_MODEL")
    with pytest.raises(InvalidSettings, match="T2V_LLM_MODEL"):
        LanguageModelOptions.from_environment()


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.openai.com/v1", KEY),
        ("https://API.OpenAI.com", KEY),
        ("http://api.openai.com/v1", None),
        ("https://api.openai.com.evil.example/v1", None),
        ("https://evil.example/api.openai.com/v1", None),
        ("http://127.0.0.1:11434/v1", None),
    ],
)
def test_openais_key_is_for_openai_alone(monkeypatch, url, key):
    monkeypatch.setenv("T2V_LLM_MODEL", "m")
    monkeypatch.setenv("T2V_LLM_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert LanguageModelOptions.from_environment().key == key
    monkeypatch.setenv("T2V_LLM_KEY", "mine")
    assert LanguageModelOptions.from_environment().key == "mine"


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:11434", "file:///etc/passwd", "ftp://h/v1", "http://", "http:///v1", "http://[::1/v1"),
        *("http://h:99999/v1", "http://h:0/v1", "http://h:x/v1", "http://name:word@h/v1", "http://h/v1?key=1"),
        *("http://h/v1#a", "http://h/v1\nHost: evil", "http://h /v1", "http://h\\@evil/v1"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url):
    with pytest.raises(InvalidSettings, match="T2V_LLM_URL") as raised:
        remote(url, "m", KEY)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("key", ["a b", "a\nb", "ключ", "a\x00"])
def test_a_key_that_would_break_the_request_is_refused_without_showing_it(key):
    with pytest.raises(InvalidSettings, match="T2V_LLM_KEY") as raised:
        remote("http://h/v1", "m", key)
    assert key not in str(raised.value)
