"""Guards against other sites and other people, as a browser and a guesser meet them."""

import asyncio
import os
from dataclasses import replace

import pytest

from errors import ModelUnavailable
from model_manager import hub
from model_manager.builtin_models import models
from model_manager.catalogue import Catalogue
from utils import HUB_ACCESS, local_or_hub
from web import guards, page, server
from web.guards import PROXIES_VARIABLE, Exposure, Guards
from web.protection import named_sources

LOCAL = Exposure("127.0.0.1", local=True)
PUBLIC = Exposure("0.0.0.0", local=False)
PAGE = b'<html><script>window.gradio_api_info = {"secret-lora": 1};</script><script>1;</script>'


class Application:
    """Stands for Gradio's: one page, a login whose password is right, and people who have logged in."""

    auth, cookie_id, tokens = {"ann": "right"}, "7", {"known": "ann"}

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        status = 200 if scope["path"] != "/login" or (await receive())["body"] == b"right" else 400
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html; x")]})
        await send({"type": "http.response.body", "body": PAGE[:30], "more_body": True})
        await send({"type": "http.response.body", "body": PAGE[30:]})


class Visit:
    """Requests to a guarded application; ``ask`` returns the status, the headers and the body."""

    def __init__(self, exposure):
        self.application = Application()
        self.guarded = Guards(self.application, exposure)

    async def answer(self, method="GET", path="/", host=b"localhost:7860", body=b"", **headers):
        """One request; ``origin_`` and the like are headers."""
        sent = []
        named = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", host), *named]}
        scope |= {"client": ("10.0.0.9", 1), "app": self.application}

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            sent.append(message)

        await self.guarded(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent)

    def ask(self, *arguments, **options):
        return asyncio.run(self.answer(*arguments, **options))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in (b"localhost:7860", b"127.0.0.1", b"[::1]:80")),
        *((name, 421) for name in (b"evil.example:7860", b"", b"127.0.0.1.evil.example", b"[", b"\xff")),
        (b"localhost@evil.example", 421),
    ],
)
def test_a_local_page_answers_to_the_names_of_this_machine(host, status):
    """A stranger's site can make its own name lead here, and read the page in a visitor's browser."""
    assert Visit(LOCAL).ask(host=host)[0] == status
    assert Visit(PUBLIC).ask(host=host)[0] == 200  # it cannot know its names


def test_forwarded_headers_count_only_behind_a_proxy(monkeypatch):
    """Anybody can send them; with --proxy the operator says that one is there."""
    for exposure, passes in ((LOCAL, False), (PUBLIC, False), (Exposure("127.0.0.1", True, proxy=True), True)):
        visit = Visit(exposure)
        visit.ask(x_forwarded_host=b"evil.example", forwarded=b"for=1", accept=b"x")
        names = {name for name, _ in visit.application.scopes[0]["headers"]}
        assert (b"x-forwarded-host" in names, b"forwarded" in names, b"accept" in names) == (passes, passes, True)
        monkeypatch.delenv(PROXIES_VARIABLE, raising=False)
        exposure.trust_proxies()
        assert bool(os.environ[PROXIES_VARIABLE]) is passes


def test_every_answer_says_where_it_may_stand():
    """Inside no other site, and with nothing from elsewhere."""
    _, headers, _ = Visit(PUBLIC).ask()
    policy = headers[b"content-security-policy"].decode()
    assert "frame-ancestors 'self'" in policy
    assert "http" not in policy
    assert headers[b"x-content-type-options"] == b"nosniff"
    _, headers, _ = Visit(Exposure("0.0.0.0", False, space=True)).ask()
    assert b"frame-ancestors https://huggingface.co" in headers[b"content-security-policy"]


@pytest.mark.parametrize(
    ("cookie", "listed"),
    [
        (b"", False),
        (b"access-token-7=guess", False),
        (b"access-token-8=known", False),
        (b"a=b; access-token-7=known", True),
        (b"access-token-unsecure-7=known", True),
    ],
)
def test_nothing_is_listed_before_login(cookie, listed):
    """Endpoints, models and LoRAs stood in the page's source for everybody."""
    visit = Visit(PUBLIC)
    _, headers, body = visit.ask(cookie=cookie)
    assert (b"secret-lora" in body) is listed
    assert body.endswith(b"<script>1;</script>")
    assert headers.get(b"content-length", str(len(body)).encode()) == str(len(body)).encode()
    visit.application.auth = None
    assert b"secret-lora" in visit.ask()[2]


def test_another_site_cannot_log_a_visitor_out():
    """Pictures and forms of others can send a GET, and a POST that says where it is from."""
    visit = Visit(PUBLIC)
    status, _, body = visit.ask(path="/logout")
    assert (status, b'method="post"' in body, visit.application.scopes) == (200, True, [])
    assert visit.ask("POST", "/logout", origin=b"https://evil.example")[0] == 403
    assert visit.application.scopes == []
    assert visit.ask("POST", "/logout/", origin=b"http://localhost:7860")[0] == 200
    assert [scope["method"] for scope in visit.application.scopes] == ["GET"]


def test_wrong_passwords_are_slowed_down_and_logged(monkeypatch, caplog):
    """Each doubles the wait; many at once wait for one another; the right one ends it."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(guards.asyncio, "sleep", sleep)
    visit = Visit(PUBLIC)

    async def guess(passwords):
        tries = (visit.answer("POST", "/login", body=password) for password in passwords)
        return [status for status, _, _ in await asyncio.gather(*tries)]

    for _ in range(10):
        assert asyncio.run(guess([b"wrong"])) == [400]
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert "wrong password from 10.0.0.9 (10 in a row)" in caplog.text
    assert asyncio.run(guess([b"right"])) == [200]
    assert asyncio.run(guess([b"right"])) == [200]
    assert waits[-1] == 0


def test_many_guesses_at_once_wait_for_each_other():
    """More than a few of one client are turned away."""
    visit = Visit(PUBLIC)

    async def many():
        return await asyncio.gather(*(visit.answer("POST", "/login", body=b"right") for _ in range(20)))

    statuses = [status for status, _, _ in asyncio.run(many())]
    assert statuses.count(429) == 20 - guards.WAITING_ATTEMPTS


def test_strangers_start_no_downloads(monkeypatch):
    """Every model of gigabytes goes through one door; what the operator named, or fetched before, is there."""
    monkeypatch.setattr(HUB_ACCESS, "only", None)
    monkeypatch.setattr(hub, "cached", lambda source: source == "Lykon/dreamshaper-8")
    assert len(hub.without_downloads(models())) == len(models())
    HUB_ACCESS.restrict(["stabilityai/stable-diffusion-xl-base-1.0", "user/loras/style.safetensors"])
    offered = hub.without_downloads(models())
    assert {name for name in offered if "/" in name} == {
        "Lykon/dreamshaper-8",
        "stabilityai/stable-diffusion-xl-base-1.0",
    }
    assert {"toyworld", "toyworld-edit", "toyworld-video"} <= set(offered)
    asked = []

    def absent(local_files_only=False):
        if local_files_only:
            raise OSError("not here")
        return "fetched"

    monkeypatch.setattr("utils.ask_hub", asked.append)
    with pytest.raises(ModelUnavailable, match="openai/clip is not on this server"):
        local_or_hub("openai/clip", absent)
    assert local_or_hub("user/loras", absent) == "fetched"
    assert asked == ["user/loras"]
    assert not hub.reachable("stable-diffusion-v1-5/stable-diffusion-v1-5")


def test_the_operator_names_models_with_their_parts():
    """In options and variables; rows that are not built in were named."""
    built_in = models()
    catalogue = Catalogue({**built_in, "mine": replace(built_in["toyworld"], name="mine", source="me/mine")})
    catalogue = replace(catalogue, loras={"a": "me/loras/a.safetensors", "b": "/files/b.safetensors"})
    named = named_sources(catalogue, models=["Lykon/dreamshaper-8"], engines=["wan2.1-1.3b"], language_model="me/chat")
    assert {"me/mine", "me/loras/a.safetensors", "Lykon/dreamshaper-8", "me/chat"} <= named
    assert set(built_in["Lykon/dreamshaper-8"].controlnets.values()) <= named
    assert any(source.startswith("Wan-AI/") for source in named)
    assert not {"/files/b.safetensors", "stabilityai/stable-diffusion-xl-base-1.0"} & named


@pytest.mark.parametrize(("options", "restricted"), [([], False), (["--host", "0.0.0.0"], True)])
def test_a_page_that_others_reach_restricts_downloads_while_it_is_served(monkeypatch, tmp_path, options, restricted):
    """And a page of one's own does not; --downloads lifts it."""
    seen = []
    monkeypatch.setattr(
        server, "serve", lambda page, address, readable, library: seen.append((HUB_ACCESS.only, library.close()))
    )
    monkeypatch.setattr(page, "create_app", lambda model, **_: seen.append(set(model.rows)))
    common = ["--device", "cpu", "--data-dir", str(tmp_path), "--model", "me/mine"]
    page.main([], [*common, *options])
    rows, (only, _) = seen
    assert (only is not None) is restricted
    assert {"toyworld", "me/mine"} <= rows
    assert ("ali-vilab/text-to-video-ms-1.7b" in rows) is not restricted
    assert HUB_ACCESS.only is None
    if restricted:
        assert "me/mine" in only
        page.main([], [*common, *options, "--downloads"])
        assert seen[3][0] is None
