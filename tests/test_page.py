"""The page as its operator starts it: options, port and console; and what it shows is text."""

import asyncio
import logging
import signal
import socket
import sys
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from fakes import FakeModel, started_library
from gradio import networking

import app
import app_text_to_video
from errors import UserError
from library.visitors import COOKIE, Visitors
from web import server
from web.context import PageContext
from web.history import ClipsPanel
from web.html import learned_words_html, status_html
from web.limits import RequestLimits
from web.tabs import create_demo


def test_the_console_says_where_the_page_is_until_somebody_ends_it(monkeypatch, caplog):
    """Although other libraries' remarks at this level are not shown; Ctrl-C ends it as shells know it."""
    monkeypatch.setattr(server, "start", lambda *given: "http://127.0.0.1:7860/")
    monkeypatch.setattr(server.signal, "signal", lambda number, handle: handle(signal.SIGINT, None))
    monkeypatch.setattr(server.os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as stop:
        app.main(["--device", "cpu"])
    assert stop.value.code == 130
    assert caplog.record_tuples == [("web.server", logging.INFO, "open http://127.0.0.1:7860/")]


def test_a_taken_port_is_one_clear_line(tmp_path):
    """Starting twice is a user's mistake."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        model = FakeModel()
        context = PageContext(started_library(model, tmp_path), model.rows, model.default, lambda path: {})
        page = create_demo(app_text_to_video.TAB, context)
        with pytest.raises(UserError, match="cannot serve on"):
            server.start(page, server.Address(port=taken.getsockname()[1]))


@pytest.mark.parametrize("root", ["", "/t2v", "https://example.org/a/t2v/"])
@pytest.mark.parametrize("stripped", [True, False])
def test_uploads_alone_may_be_large_under_any_sub_path(monkeypatch, root, stripped):
    """Whether the proxy keeps the sub-path or strips it; everything else is limited all the same."""
    monkeypatch.setenv("GRADIO_ROOT_PATH", root)
    below = "" if stripped else urlsplit(root).path.rstrip("/")
    told = []

    async def send(message):
        told.append(message.get("status"))

    async def application(scope, receive, send):
        told.append("let in")

    limit = RequestLimits(application)
    for path in ("/gradio_api/upload", "/upload", "/gradio_api/queue/join", "/gradio_api/upload/more", "/a/upload"):
        headers = [(b"content-length", b"2000000"), (b"content-type", b"multipart/form-data; boundary=e")]
        scope = {"type": "http", "path": below + path, "headers": headers, "root_path": ""}
        asyncio.run(limit({**scope, "method": "POST", "query_string": b""}, None, send))
    assert told == ["let in", "let in", 413, None, 413, None, 413, None]


def test_a_busy_machine_may_answer_late(monkeypatch):
    """Gradio took a page that did not answer within three seconds for one that never will."""
    answers = iter([False, False, True])
    monkeypatch.setattr(networking, "url_ok", lambda url: next(answers))
    with server.patient_start():
        assert networking.url_ok("http://127.0.0.1:7860/")
    with pytest.raises(StopIteration):
        networking.url_ok("http://127.0.0.1:7860/")


@pytest.mark.parametrize("others", ["a/b=1; ", 'state={"of": "another"}; ', "a b=c;;;=; "])
def test_odd_cookies_of_other_programs_do_not_make_a_visitor_a_new_one(others):
    """All programs on a host share its cookies; one that Python's own reader refuses was an error 500, or hid ours."""
    visitors, told = Visitors(b"key"), []

    async def send(message):
        told.append(message)

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "headers": [(b"content-type", b"text/html")]})

    cookie = f"{others}{COOKIE}={visitors.new_cookie()}".encode()
    scope = {"type": "http", "method": "GET", "scheme": "http", "headers": [(b"cookie", cookie)]}
    asyncio.run(server.VisitorCookie(application, visitors)(scope, None, send))
    assert told[0]["headers"] == [(b"content-type", b"text/html")]


@pytest.mark.parametrize("words", ["\ud800", "a\0b", None, {"a": 1}])
@pytest.mark.parametrize("number", [10**30, float("nan"), -1, None, True])
def test_a_search_for_anything_is_answered(tmp_path, words, number):
    """A number too large for SQLite, or half an emoji, was a traceback."""
    library = started_library(FakeModel(), tmp_path)
    panel = ClipsPanel(PageContext(library, {}, lambda: None, lambda path: {}))
    assert panel.look(words, words, words, number, SimpleNamespace(session_hash=None))[1] == []
    library.close()


def test_messages_are_text_and_not_markup():
    """35: whatever a message, a model's name or a note holds, the page shows it and does not run it."""
    assert "<script>" not in status_html("<script>alert(1)</script>", notes=["<script>alert(2)</script>"])
    assert "<script>" not in learned_words_html(["<script>alert(3)</script>"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "whole number from 1 to 65535"),
        (["--port", "x"], "whole number"),
        (["--auth", "nobody"], "user:password"),
        (["--queue-size", "0"], "whole number from 1"),
        (["--engine", "wan3"], "error: --engine wan3: must be one of"),
        (["--keep-days", "old"], "above 0"),
        (["--keep-days", "-1"], "above 0"),  # which deleted every clip
        (["--keep-gb", "nan"], "above 0"),
    ],
)
def test_a_mistake_in_the_options_is_one_line_and_exit_code_2(options, words, capsys):
    """The operator is told what to mend, without a traceback."""
    with pytest.raises(SystemExit) as stop:
        app.main(options)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
