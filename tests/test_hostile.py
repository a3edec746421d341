"""Hostile requests to the real program, in a process of its own under a memory limit, with the checkpoint that ships.

After all of them the process is alive, its memory and files are as before, its log has no traceback, and the ordinary
job gives the same bytes. The numbers are those of the list of cases that the tests of the page go by.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fakes import drifting, free_port
from PIL import Image
from test_page_api import ATTACKS

from media.video_io import write_video

ROOT = Path(__file__).parents[1]
MEMORY_BYTES = 4 * 2**30
pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and files of the process are Linux's"),
]


class Server:
    """The program as an operator starts it, and a client that is not well-meaning."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder, self.log = free_port(), folder, folder / "log.txt"
        environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "temporary"), "OMP_NUM_THREADS": "1"}
        environment.pop("T2V_OPTIONS", None)
        options = ["--device", "cpu", "--port", str(self.port), "--data-dir", str(folder / "data")]
        self.process = subprocess.Popen(
            [sys.executable, "app.py", *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("wb"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES)),
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        self._wait_until_it_answers()
        facts = self.client.get("/gradio_api/info").json()["named_endpoints"]
        self.parameters = {
            name: {each["parameter_name"]: each.get("parameter_default") for each in endpoint["parameters"]}
            for name, endpoint in facts.items()
        }

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/").status_code == 200:
                    return
            time.sleep(0.2)
        pytest.fail(self.log.read_text())

    def call(self, endpoint: str = "text_to_video", **values: Any) -> tuple[str, Any]:
        """The last event of a job and its data; what is not given is the endpoint's default."""
        data = list((self.parameters[f"/{endpoint}"] | values).values())
        reply = self.client.post(
            f"/gradio_api/call/{endpoint}",
            content=json.dumps({"data": data}),
            headers={"content-type": "application/json"},
        )
        if reply.status_code != 200:
            return "error", reply.text
        said = self.client.get(f"/gradio_api/call/{endpoint}/{reply.json()['event_id']}").text.split("\n")
        return said[-4].removeprefix("event: "), json.loads(said[-3].removeprefix("data: "))

    def video(self) -> str:
        """The digest of the ordinary job's video."""
        values = {"prompt": "a red circle on green grass", "seed": 7, "num_frames": 2, "num_inference_steps": 2}
        kind, data = self.call(**values)
        assert kind == "complete", data
        return hashlib.sha256(self.client.get(data[0]["url"]).content).hexdigest()

    def upload(self, content: bytes, name: str) -> httpx.Response:
        return self.client.post("/gradio_api/upload", files={"files": (name, content)})

    def given(self, content: bytes, name: str = "x.mp4") -> dict[str, Any]:
        """An uploaded file as a job takes it."""
        return {"path": self.upload(content, name).json()[0], "meta": {"_type": "gradio.FileData"}}

    def memory_bytes(self) -> int:
        facts = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", facts)[1]) * 1024

    def temporary(self) -> set[Path]:
        """Parts of uploads that lie about."""
        return set((self.folder / "temporary").rglob("tmp*"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The program, which must stand all the tests of this file."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        before = server.video()
        yield server
        assert server.process.poll() is None, server.log.read_text()[-2000:]
        assert server.video() == before
        assert server.memory_bytes() < 2 * 10**9
        log = server.log.read_text()
        # But for Gradio's own tracebacks of files that are none, wherever it is installed.
        ours = [line for line in log.splitlines() if f'File "{ROOT}/' in line and "site-packages" not in line]
        assert ours == [], log[-3000:]
        server.process.terminate()
        assert server.process.wait(20) in (0, -15, 130)
        assert [path for path in (server.folder / "temporary").glob("server-*") if path.is_dir()] == []
    finally:
        server.process.kill()
        server.process.wait()


def assert_told(server: Server, answer: tuple[str, Any], said: str = "") -> None:
    """An error in one line, without a path of the server."""
    kind, data = answer
    text = data["error"] or "" if isinstance(data, dict) else str(data)  # Gradio's own refusals say nothing
    assert kind == "error", data
    assert said in text
    assert "Something broke" not in text
    for secret in (str(ROOT), str(server.folder), "Traceback"):
        assert secret not in text


OF_LORAS = ("lora", "lora_scale")  # none is offered here
VALUES = {name: values for name, (values, _) in ATTACKS.items() if not set(values) & set(OF_LORAS)}


@pytest.mark.parametrize("values", VALUES.values(), ids=list(VALUES))
def test_no_value_gets_past_the_checks(server, values):
    """1 to 38: numbers, choices and texts."""
    begun = time.monotonic()
    kind, data = server.call(**{"prompt": "a red circle", "seed": 7, **values})
    assert kind == "error", data
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("values", [{"anchors": "all"}, {"model": "toyworld-video"}], ids=["anchors", "video model"])
def test_what_the_memory_does_not_hold_is_refused(server, values):
    """13: each is within its bounds; the process was killed."""
    answer = server.call(prompt="a red circle", num_frames=1024, width="256", height="256", chunk_size="1024", **values)
    assert_told(server, answer, "not enough memory")


LEAKS = ["/etc/passwd", "../app.py", str(ROOT / "app.py"), "file:///etc/passwd", "//etc/passwd", "\\\\host\\share"]
LEAKS += ["/proc/self/environ", "/dev/zero", "http://127.0.0.1/", "http://169.254.169.254/", "concat:a|b", "pipe:0"]


@pytest.mark.parametrize("path", LEAKS)
def test_no_file_of_the_server_is_given_away(server, path):
    """39 to 45: neither read for a job nor sent."""
    assert server.client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    for value in (path, {"path": path, "meta": {"_type": "gradio.FileData"}}):
        assert_told(server, server.call("canny", prompt="x", source=value))


@pytest.mark.parametrize(
    "name",
    ["../../x.mp4", "..\\..\\x", "x\0y", "n" * 300, "-i.mp4", "concat:a|b.mp4", "con.mp4", "f.MP4;rm -rf", "🎬.mp4"],
)
def test_names_of_uploads_lead_nowhere(server, name):
    """46: the file lies in the folder of temporary files, if anywhere."""
    reply = server.upload(b"x", name)
    for path in reply.json() if reply.status_code == 200 else ():
        assert Path(path).resolve().is_relative_to(server.folder / "temporary")


def png(width: int, height: int) -> bytes:
    """A picture of one colour and any size, in a few bytes for its size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (width // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = {
    "49 large": png(13_000, 13_000),
    "50 a bomb": png(16_000, 16_000),
    "51 one pixel": png(1, 1),
    "51 a line": png(4000, 1),
    "51 nothing": b"",
    "51 cut off": png(64, 64)[:48],
    "51 half a JPEG": jpeg()[:200],
    "51 a page": b"<!doctype html><title>404</title>",
    "52 SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
}
VIDEOS = {
    "54 random": np.random.default_rng(0).bytes(4000),
    "54 nothing": b"",
    "54 zeros": bytes(4000),
    "54 a picture": png(64, 64),
    "55 cut off": b"\0\0\0\x20ftypisom" + bytes(300),
    "60 HLS": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "61 ffconcat": b"ffconcat version 1.0\nfile secret.mp4\n",
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_picture_is_decoded_that_is_none(server, name):
    """49 to 53: refused by the first bytes and the head."""
    begun = time.monotonic()
    assert_told(server, server.call(prompt="a red circle", first_frame=server.given(PICTURES[name], "x.png")))
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("name", VIDEOS)
def test_no_video_is_decoded_that_is_none(server, name):
    """54 to 61: a list that names another file is text."""
    given = server.given(VIDEOS[name])
    assert_told(server, server.call("canny", prompt="x", source=given))


def test_a_short_video_is_steered_by(server, tmp_path):
    """59: what is honest still works."""
    clip = write_video(tmp_path / "x.mp4", drifting(2, side=64), 4, {})
    values = {"num_frames": 2, "num_inference_steps": 2, "resolution": "64", "seed": 1}
    given = server.given(clip.read_bytes())
    kind, data = server.call("canny", prompt="a red square", source=given, **values)
    assert kind == "complete", data


def pieces(count: int, head: bytes) -> Iterator[bytes]:
    """A body that does not tell its length."""
    yield head
    for _ in range(count):
        yield b"x" * 1_000_000


@pytest.mark.parametrize(
    ("path", "head", "status"),
    [
        ("upload", b'--e\r\nContent-Disposition: form-data; name="text"\r\n\r\n', 400),
        ("upload", b'--e\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n', 413),
        ("upload", b'--e\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\n', 400),
        ("queue/join", b'{"data": ["', 413),
    ],
)
def test_no_body_grows_in_memory(server, path, head, status):
    """32, 62, 63: a field without a file name took 1.15 GB for 400 MB."""
    before, parts = server.memory_bytes(), server.temporary()
    headers = {"content-type": "multipart/form-data; boundary=e" if path == "upload" else "application/json"}
    with contextlib.suppress(httpx.TransportError):  # the server may hang up before everything is sent
        reply = server.client.post(f"/gradio_api/{path}", content=pieces(120, head), headers=headers)
        assert reply.status_code == status
    assert server.memory_bytes() - before < 200_000_000
    assert len(server.temporary() - parts) <= 1  # it goes with the next sweep


def test_names_of_sessions_do_not_stay_in_memory(server):
    """0.45 MB stayed of each request."""
    before = server.memory_bytes()
    for number in range(60):
        body = {"data": [], "fn_index": 0, "session_hash": f"{number}" + "x" * 450_000}
        assert server.client.post("/gradio_api/queue/join", json=body).status_code == 400
    assert server.memory_bytes() - before < 20_000_000


def test_lies_about_lengths_and_half_requests_leave_nothing(server):
    """63: of an upload that is broken off, and of one that announces more than it sends."""
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=e\r\n"
    part = b'--e\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\nabc'
    for length, body in ((b"30000000000", part), (b"9", b""), (b"-5", part), (b"1000000", part)):
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(head + b"Content-Length: " + length + b"\r\n\r\n" + body)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"GET / HT")
    assert server.client.get("/").status_code == 200


def test_other_names_and_other_sites_are_not_answered(server):
    """DNS rebinding; frames of others."""
    assert server.client.get("/config", headers={"host": "evil.example"}).status_code == 421
    assert "frame-ancestors 'self'" in server.client.get("/").headers["content-security-policy"]
