"""Calls of programs that are wrong: one form of error, a field and a sentence, and no traceback."""

import asyncio
import json

import gradio as gr
import pytest

from web.api_errors import WITHOUT_WORDS, ApiErrors, as_error


@pytest.fixture(scope="module")
def page():
    """A page with an endpoint, and an event of its own."""

    def draw(prompt, steps=4, kept=None):
        return prompt

    with gr.Blocks(analytics_enabled=False) as page:
        prompt, steps = gr.Textbox(), gr.Number(4)
        gr.Button().click(draw, [prompt, steps, gr.State("x")], prompt, api_name="draw")
        gr.Button().click(draw, [prompt], prompt, api_name="own", api_visibility="private")
    return page


def ask(page, method, path, body=b"", answer=(200, b"passed on")):
    """Return status and body of a request, with an application behind that gives the answer and notes what it gets."""
    sent, received = [], []

    async def behind(scope, receive, send):
        received.append((await receive()).get("body"))
        await send({"type": "http.response.start", "status": answer[0], "headers": []})
        for part in answer[1:]:
            await send({"type": "http.response.body", "body": part, "more_body": part is not answer[-1]})

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(ApiErrors(behind, page)({"type": "http", "method": method, "path": path}, receive, send))
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:]), received


REFUSED = [
    ("/call/draw", b'{"data": ["a"]}', 422, "data", "must have 2 values, not 1; /call/v2 takes them by name"),
    ("/call/draw/", b'{"data": []}', 422, "data", "must have 2 values, not 0; /call/v2 takes"),
    ("/gradio_api/call/draw", b"{}", 422, "data", "must be a list of 2 values"),
    ("/call/draw", b'{"data": {"prompt": "a"}}', 422, "data", "must be a list of 2 values"),
    ("/call/draw", b"nothing", 422, None, "the body must be a JSON object"),
    ("/call/v2/draw", b"[" * 100_000, 422, None, "the body must be a JSON object"),
    ("/call/v2/draw", b'{"promt": "a"}', 422, "promt", "is not a parameter, which are prompt, steps"),
    ("/call/v2/draw", b'{"steps": 2}', 422, "prompt", "is missing"),
    ("/call/v2/drew", b"{}", 404, None, "there is no endpoint of this name, but draw"),
]


@pytest.mark.parametrize(("path", "body", "status", "field", "said"), REFUSED)
def test_a_malformed_call_is_told_what_is_wrong(page, path, body, status, field, said):
    """Before Gradio reads it."""
    given, content, received = ask(page, "POST", path, body)
    error = json.loads(content)
    assert (given, error["field"], received) == (status, field, [])
    assert error["message"].startswith(said)
    assert error["error"] == (error["message"] if field is None else f"{field}: {error['message']}")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/call/draw", b'{"data": ["a", 1]}'),
        ("/call/draw", b'{"data": ["a", 1, null, 4, 5]}'),
        ("/call/v2/draw", b'{"prompt": "a"}'),
        ("/call/own", b'{"data": []}'),
        ("/upload", b"\xff"),
    ],
)
def test_a_call_in_form_is_passed_on_whole(page, path, body):
    """With or without the page's own values; what is not of an endpoint is Gradio's."""
    assert ask(page, "POST", path, body) == (200, b"passed on", [body])


def test_what_goes_wrong_later_has_the_same_form(page):
    """A refusal by Gradio, with words and without, and a job that failed; other events pass."""
    status, content, _ = ask(
        page, "POST", "/call/v2/draw", b'{"prompt": "a"}', (503, b'{"detail"', b': "Queue is full."}')
    )
    full = {"error": "Queue is full.", "field": None, "message": "Queue is full."}
    assert (status, json.loads(content)) == (503, full)
    failed = {"error": "steps: must be at most 100", "title": "Error"}
    events = [b"event: heartbeat\ndata: null\n\n", b"event: error\ndata: %s\n\n" % json.dumps(failed).encode()]
    _, content, _ = ask(page, "GET", "/call/draw/1", answer=(200, *events))
    assert content.startswith(events[0])
    told = json.loads(content.removeprefix(events[0]).removeprefix(b"event: error\ndata: "))
    assert told == {"error": "steps: must be at most 100", "field": "steps", "message": "must be at most 100"}
    _, content, _ = ask(page, "GET", "/call/draw/1", answer=(200, b'event: error\ndata: {"error": null}\n\n'))
    assert json.loads(content.partition(b"data: ")[2])["message"] == WITHOUT_WORDS


def test_only_a_field_is_taken_for_one():
    """A sentence may have a colon in it."""
    assert as_error("out of memory: make it shorter", ["prompt"])["field"] is None
    assert as_error("prompt: is empty: write one", ["prompt"])["message"] == "is empty: write one"
