"""A stand-in for Model that paints plain frames in no time, for tests of what is around it."""

import dataclasses
import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from errors import Cancelled, InvalidVideo, ModelUnavailable
from library.job import Job, State
from library.job_list import JobList
from library.service import Library, open_library
from model import Clip, Progress
from model_manager.builtin_models import models
from model_manager.catalogue import Catalogue
from settings.parsing import to_json


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class ChatHandler(BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server does: as many frames as it is asked for."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        wanted = json.loads(body["messages"][1]["content"])["number_of_frames"]
        answer = json.dumps({"frames": [f"a red circle, frame {frame}" for frame in range(wanted)]})
        event = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": answer}}]}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def chat_server() -> Iterator[str]:
    """The address of a language model on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ChatHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


class FakeClip(Clip):
    """Its file is the settings and the frames, byte for byte, so that equal jobs give equal files."""

    def save(self, path: Path) -> Path:
        path.write_bytes(to_json(self.settings).encode() + self.frames.tobytes())
        return path

    def save_control(self, path: Path) -> Path | None:
        if self.control is not None:
            path.write_bytes(self.control.tobytes())
            return path
        return None


def read_fake_metadata(path: Path) -> dict[str, str]:
    """The settings at the beginning of a FakeClip's file, or of one that holds nothing else."""
    content = path.read_bytes()
    if not content.startswith(b"{"):
        raise InvalidVideo("this is not a video of this program")
    _, end = json.JSONDecoder().raw_decode(content.decode("latin-1"))
    return {"settings": content[:end].decode()}


def started_library(model: "FakeModel", folder: Path, **options: Any) -> Library:
    """What keeps a FakeModel's clips, at work."""
    library = open_library(model.generate, data_dir=folder, read=read_fake_metadata, **options)
    library.worker.start()
    return library


ENDLESS = "a job that ends only when it is cancelled"


class FakeModel:
    """One job at a time; ``before_step`` may wait or raise, which is how tests reach into a job."""

    def __init__(self, before_step: Callable[[Any, int], None] = lambda settings, step: None):
        self.catalogue = Catalogue(models())
        self.rows = self.catalogue.models
        self.before_step = before_step
        self.lock = threading.Lock()
        self.loader = SimpleNamespace(device="cpu")
        self.given: dict[str, Any] = {}
        self.read: dict[str, bytes] = {}  # of those that are files, which may be gone after the job
        self.log: list[tuple[str, str]] = []  # ("start" or "stop", prompt), in the order it happened

    def load(self, settings) -> None:
        """There is nothing to load."""

    def release(self) -> None:
        """There is nothing to let go."""

    def default(self, *, edits: bool = False) -> tuple[Any, str]:
        return self.rows["toyworld"], "Chosen because there is no GPU here."

    def generate(self, settings, source=None, on_step=None, cancel=None, first_frame=None) -> FakeClip:
        if settings.model != "auto" and settings.model not in self.rows:
            raise ModelUnavailable("model: not in the list")
        with self.lock:
            self.log.append(("start", settings.prompt))
            self.given = {"source": source, "first_frame": first_frame}
            self.read = {name: file.read_bytes() for name, file in self.given.items() if isinstance(file, Path)}
            try:
                clip = self._paint(settings.resolved().model_copy(update={"model": "toyworld"}), on_step, cancel)
                return clip if source is None else dataclasses.replace(clip, control=clip.frames)
            finally:
                self.log.append(("stop", settings.prompt))

    def _paint(self, settings, on_step, cancel) -> FakeClip:
        self._denoise(settings, on_step, cancel)
        digest = hashlib.sha256(to_json(settings).encode()).digest()
        frames = np.frombuffer(digest * 24, np.uint8).reshape(1, 16, 16, 3)
        return FakeClip(frames.repeat(settings.num_frames, axis=0), settings, seconds=0.1)

    def _denoise(self, settings, on_step, cancel) -> None:
        begun = time.monotonic()
        for step in itertools.count() if settings.prompt == ENDLESS else range(settings.num_inference_steps):
            if cancel is not None and cancel.is_set():
                raise Cancelled
            self.before_step(settings, step)
            time.sleep(0.01 if settings.prompt == ENDLESS else 0)
            if on_step is not None:
                preview = np.zeros((2, 8, 8, 3), np.uint8)
                total, frames = settings.num_inference_steps, settings.num_frames
                fraction = min(1.0, (step + 1) / total)
                on_step(Progress(step + 1, total, 0, frames, fraction, time.monotonic() - begun, 1.0, preview))


def drifting(frames, colour=(200, 30, 30), side=48):
    """Frames of a square that drifts to the right."""
    clip = np.full((frames, side, side, 3), 90, np.uint8)
    for frame in range(frames):
        clip[frame, 12:28, 2 * frame : 2 * frame + 16] = colour
    return clip


def ended(jobs: JobList, owner: str, job: str) -> Job:
    """The job when it is neither waiting nor running any more."""
    for _ in range(200):
        found = jobs.get(owner, job)
        if found.state not in (State.WAITING, State.RUNNING):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found.state} after 4 s")
