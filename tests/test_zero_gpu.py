"""Cards that are lent for a job (ZeroGPU): asked for with a duration, in the visitor's own request."""

import sys
import threading
from types import SimpleNamespace

import httpx
import pytest
from fakes import ENDLESS, FakeModel, free_port, read_fake_metadata
from gradio.context import LocalContext

import app_text_to_video
from errors import Cancelled, GenerationFailed, InvalidSettings
from library.service import open_library
from library.visits import MOST_VISITORS, Visits
from model import Model
from settings import ControlSettings, TextToVideoSettings
from web import server
from web.context import PageContext
from web.tabs import create_demo
from web.zero_gpu import FIXED_S, MARGIN, PACE_S, ZeroGpuModel

SMALL = TextToVideoSettings(prompt="a red circle", model="toyworld", num_frames=4, num_inference_steps=5, seed=7)
WORK = 4 * 5 * 512 * 512


@pytest.fixture
def painter(monkeypatch):
    """A quick and false model in place of what would be loaded and drawn."""
    fake = FakeModel()

    def generate(self, settings, source=None, on_step=None, cancel=None, first_frame=None):
        return fake.generate(settings, source, on_step, cancel, first_frame)

    monkeypatch.setattr(Model, "generate", generate)
    monkeypatch.setattr(Model, "load", lambda self, settings: fake.log.append(("load", settings.prompt)))
    return fake


@pytest.fixture
def asked(monkeypatch):
    """Durations that a false package was asked for, and the requests that it saw."""
    asked = []

    def gpu(duration):
        def decorate(task):
            def on_card(*given):
                asked.append((duration(*given), LocalContext.request.get(None)))
                return task(*given)

            return on_card

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    return asked


def test_away_from_a_space_the_real_package_changes_nothing(painter):
    """The same clip, and progress on the way; what is wrong is told as ever."""
    pytest.importorskip("spaces")
    model, steps = ZeroGpuModel(device="cpu"), []
    clip = model.generate(SMALL, on_step=lambda progress: steps.append(progress.step))
    assert (clip.frames == painter.generate(SMALL).frames).all()
    assert steps == [1, 2, 3, 4, 5]
    with pytest.raises(InvalidSettings, match="source: choose a video"):
        model.generate(ControlSettings(prompt="x", control="canny"))


def test_a_card_is_asked_for_as_long_as_the_job_will_take(painter, asked):
    """By an assumption at first, then by the last clip of the model; checkpoints are read before that."""
    model = ZeroGpuModel(device="cpu")
    clip = model.generate(SMALL)
    model.generate(SMALL.model_copy(update={"num_frames": 8000}))
    assert [seconds for seconds, _ in asked] == [
        round(FIXED_S + PACE_S * WORK),
        round(FIXED_S + MARGIN * clip.seconds * 2000),
    ]
    assert [what for what, _ in painter.log] == ["load", "start", "stop"] * 2


def test_errors_come_back_with_their_text_and_a_job_can_be_stopped(painter, asked):
    """From a card only what is yielded comes back."""
    model = ZeroGpuModel(device="cpu")

    def fail(error):
        def raise_it(settings, step):
            raise error

        return raise_it

    painter.before_step = fail(GenerationFailed("out of memory: make it shorter"))
    with pytest.raises(GenerationFailed, match="out of memory: make it shorter"):
        model.generate(SMALL)
    painter.before_step = fail(KeyError("frame"))
    with pytest.raises(RuntimeError, match="KeyError: 'frame'"):
        model.generate(SMALL)
    painter.before_step = lambda settings, step: None
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        model.generate(SMALL.model_copy(update={"prompt": ENDLESS}), on_step=lambda _: cancel.set(), cancel=cancel)
    assert not any(thread.name == "card" for thread in threading.enumerate())


def test_the_card_is_asked_for_in_the_visitors_own_request(painter, asked, tmp_path, monkeypatch):
    """Although jobs run in a thread of their own: the Hub counts a visitor's time by a header of the request."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    model = ZeroGpuModel(device="cpu")
    options = {"data_dir": tmp_path / "data", "read": read_fake_metadata, "shared": True}
    library = open_library(model.generate, visits=Visits(), **options)
    library.worker.start()
    context = PageContext(library, model.rows, lambda **_: (model.rows["toyworld"], ""), read_fake_metadata)
    page = create_demo(app_text_to_video.TAB, context)
    url = server.start(page, server.Address(port=free_port()), [], library)
    with httpx.Client(base_url=f"{url}gradio_api/call/v2/text_to_video", timeout=60) as client:
        for visitor in ("one", "two"):
            reply = client.post("", json={"prompt": "a red circle"}, headers={"x-ip-token": visitor})
            assert "event: complete" in client.get(f"/{reply.json()['event_id']}").text
    page.close(verbose=False)
    assert library.close()
    assert [request.headers["x-ip-token"] for _, request in asked] == ["one", "two"]


def test_of_many_visitors_the_newest_are_remembered():
    """A job of one who is forgotten, or was never here, runs all the same."""
    visits, seen = Visits(), []
    for number in range(MOST_VISITORS + 1):
        token = LocalContext.event_id.set(str(number))
        visits.note(str(number))
        LocalContext.event_id.reset(token)
    for owner in ("0", "1", str(MOST_VISITORS)):
        visits.run(owner, lambda: seen.append(LocalContext.event_id.get(None)))
    assert seen == [None, "1", str(MOST_VISITORS)]
