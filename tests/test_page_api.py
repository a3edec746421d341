"""The page as a program sees it: a real server on a free loopback port, with a model that is quick and false.

The attacks are those that a page on the open internet gets. After each of them the reply is one line without a path,
no file is left, and the next ordinary job gives the same video as if nothing had happened.
"""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import ENDLESS, FakeModel, eventually, free_port, read_fake_metadata, started_library
from gradio_client import Client

import app_text_to_video
from settings import TextToVideoSettings
from settings.parsing import to_json
from web import server
from web.context import PageContext
from web.tabs import create_demo

NAN, INFINITY = float("nan"), float("inf")
ORDINARY = {
    # Of a page whose operator offers LoRAs and VAEs; what is empty is sent as "".
    **{name: field.get_default() for name, field in TextToVideoSettings.model_fields.items()},
    **{"lora": "", "vae": "", "style": ""},
    **{"prompt": "a red circle on green grass", "seed": 7, "format": "mp4", "first_frame": None},
}


class Page:
    """A running page, its model, and the folders that it may write to."""

    def __init__(self, folder: Path, data: Path, most_jobs: int = 50):
        self.model = FakeModel()
        self.folder = folder
        self.library = started_library(self.model, data, most_per_owner=most_jobs)
        self.kept = self.library.folder.clips
        context = PageContext(
            *(self.library, self.model.rows, self.model.default, read_fake_metadata),
            *(("style", "<b>bold</b>", "2024"), ("soft",), ("<i>word</i>",), ("anime",)),
        )
        self.blocks = create_demo(app_text_to_video.TAB, context)
        self.url = server.start(self.blocks, server.Address(port=free_port()), [self.kept])
        self.client = httpx.Client(base_url=f"{self.url}gradio_api", timeout=120)
        self.made: set[str] = set()  # names of the videos that were really asked for

    def join(self, values: dict[str, Any], *extra: Any, name: str = "text_to_video") -> str:
        """Put a job in the queue, past every check a well-meaning client makes; returns its event id."""
        content = json.dumps({"data": [*values.values(), *extra]})
        reply = self.client.post(f"/call/{name}", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 200, reply.text
        return reply.json()["event_id"]

    def wait(self, event: str, name: str = "text_to_video") -> tuple[str, Any]:
        """The last event of a job ("complete" or "error") and its data."""
        lines = self.client.get(f"/call/{name}/{event}").text.split("\n")
        kind, data = lines[-4].removeprefix("event: "), json.loads(lines[-3].removeprefix("data: "))
        if kind == "complete" and name == "text_to_video":
            self.made.add(Path(data[0]["path"]).name)
        return kind, data

    def run(self, *extra: Any, **changes: Any) -> tuple[str, Any]:
        return self.wait(self.join({**ORDINARY, **changes}, *extra))

    def video(self, **changes: Any) -> str:
        """The hash of the video that a job gives."""
        kind, data = self.run(**changes)
        assert kind == "complete", data
        return hashlib.sha256(self.client.get(data[0]["url"]).content).hexdigest()

    def close(self) -> None:
        self.client.close()
        self.blocks.close(verbose=False)
        assert self.library.close()

    def files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The one place where Gradio and the page can leave files."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("page")
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shared_page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(folder, tmp_path_factory.mktemp("data"))
    yield page
    page.close()


@pytest.fixture
def page(shared_page: Page) -> Iterator[Page]:
    """The page; afterwards an ordinary job must give the ordinary video, and the attack must have left no file."""
    expected = shared_page.video()
    yield shared_page
    shared_page.model.before_step = lambda settings, step: None
    # A page that comes back shows the last clip and small pictures; Gradio's copies have its token in their names.
    tokens = {Path(name).stem[-16:] for name in shared_page.made}
    left = [path.name for path in shared_page.files() if not any(token in path.name for token in tokens)]
    assert left == [], "a file was left"
    assert shared_page.video() == expected


ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "1 too many steps": ({"num_inference_steps": 101}, "num_inference_steps: must be at most 100"),
    "2 no steps": ({"num_inference_steps": 0}, "num_inference_steps: must be at least 2"),
    "2 negative steps": ({"num_inference_steps": -1}, "num_inference_steps: must be at least 2"),
    "3 steps are not a number": ({"num_inference_steps": NAN}, "num_inference_steps: must be a"),
    "4 infinite steps": ({"num_inference_steps": INFINITY}, "num_inference_steps: must be a"),
    "5 null steps": ({"num_inference_steps": None}, "num_inference_steps: must be a whole number"),
    "6 steps as text": ({"num_inference_steps": "20"}, "num_inference_steps: must be a whole number"),
    "6 steps as a list": ({"num_inference_steps": [20]}, "num_inference_steps: must be a whole number"),
    "6 steps as an object": ({"num_inference_steps": {}}, "num_inference_steps: must be a whole number"),
    "7 true steps": ({"num_inference_steps": True}, "num_inference_steps: must be a whole number"),
    "8 a part of a frame": ({"num_frames": 8.6}, "num_frames: must be a whole number"),
    "9 frames are not a number": ({"num_frames": NAN}, "num_frames: must be a"),
    "11 width of no multiple": ({"width": 516}, "width: must be a multiple of 8"),
    "11 height too small": ({"height": 15}, "height: must be at least 64"),
    "12 astronomic width": ({"width": 10**30}, "width: must be at most 2048"),
    "12 astronomic width as text": ({"width": "9" * 5000}, "width: "),
    "13 too much altogether": ({"num_frames": 1024, "width": 2048, "height": 2048}, "too much at once"),
    "14 seed below -1": ({"seed": -2}, "seed: must be at least -1"),
    "14 seed of 64 bits": ({"seed": 2**64}, "seed: must be at most"),
    "14 half a seed": ({"seed": 1.5}, "seed: must be a whole number"),
    "14 seed is not a number": ({"seed": NAN}, "seed: must be a"),
    "15 window outside": ({"motion_window": "9999, 10000"}, "motion_window: must be two timesteps"),
    "15 window backwards": ({"motion_window": [941, 881]}, "motion_window: must be two timesteps"),
    "15 window of words": ({"motion_window": "early, late"}, "motion_window: "),
    "15 window of one": ({"motion_window": "881"}, "motion_window: "),
    "16 guidance is not a number": ({"guidance_scale": NAN}, "guidance_scale: must be a finite number"),
    "16 LoRA scale is not a number": ({"lora_scale": NAN}, "lora_scale: must be a finite number"),
    "16 LoRA scale beyond": ({"lora_scale": 3}, "lora_scale: must be at most 2"),
    "16 guidance beyond": ({"guidance_scale": 1e308}, "guidance_scale: must be at most 30"),
    "16 negative guidance": ({"guidance_scale": -5}, "guidance_scale: must be at least 0"),
    "17 motion beyond": ({"motion_field_strength_x": 1e9}, "motion_field_strength_x: must be at most 128"),
    "18 empty chunk": ({"chunk_size": 0}, "chunk_size: must be at least 1"),
    "18 giant chunk": ({"chunk_size": 10**9}, "chunk_size: must be at most 1024"),
    "18 no frames": ({"num_frames": 0}, "num_frames: must be at least 1"),
    "20 stopped clock": ({"fps": 0}, "fps: must be at least 1"),
    "20 fast clock": ({"fps": 1e6}, "fps: must be at most 60"),
    "20 fps are not a number": ({"fps": NAN}, "fps: must be a"),
    "22 unknown model": ({"model": "zz"}, "model: "),
    "23 null model": ({"model": None}, "model: must be text"),
    "24 two models": ({"model": ["auto", "toyworld"]}, "model: must be text"),
    "24 two LoRAs": ({"lora": ["style", "bold"]}, "lora: must be text"),
    "24 LoRA as a number": ({"lora": 5}, "lora: must be text"),
    "25 null scheduler": ({"scheduler": None}, "scheduler: must be one of"),
    "25 null format": ({"format": None}, "format: must be one of"),
    "26 object for a checkbox": ({"cross_frame_attention": {"a": 1}}, "cross_frame_attention: must be true or false"),
    "26 text for a checkbox": ({"motion_field": "yes"}, "motion_field: must be true or false"),
    "31 no prompt": ({"prompt": ""}, "prompt: is empty"),
    "31 blank prompt": ({"prompt": " \n "}, "prompt: is empty"),
    "32 long prompt": ({"prompt": "a" * 900_000}, "prompt: is too long"),
    "34 NUL": ({"prompt": "a\0b"}, "prompt: has the invisible control character U+0000"),
    "34 lone surrogate": ({"prompt": "\ud800"}, "prompt: is not valid text"),
    "34 right-to-left override": ({"prompt": "a\u202eb"}, "prompt: has the invisible control character U+202E"),
    "38 number for text": ({"negative_prompt": 5}, "negative_prompt: must be text"),
    "38 object for text": ({"negative_prompt": {"a": 1}}, "negative_prompt: must be text"),
    "43 format from outside": ({"format": "../../x"}, "format: must be one of"),
    "47 path for a model": ({"model": "../../evil"}, "model: "),
}


@pytest.mark.parametrize(("changes", "words"), ATTACKS.values(), ids=list(ATTACKS))
def test_bad_values_are_refused_with_one_line_that_says_which_and_why(page: Page, changes, words):
    """Gradio lets most of these through, and its own checks can be by-passed; ours cannot."""
    kind, data = page.run(**changes)
    assert kind == "error"
    assert words in data["error"]
    for leak in ("Traceback", str(page.folder), str(Path.cwd()), ".py"):
        assert leak not in json.dumps(data)


@pytest.mark.parametrize(
    "prompt",
    [
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "con",
        "-i",
        "{0.__class__} %s%n $(id) `id`",
        "x" * 300,
        "🐎 á\u200b",
    ],
)
def test_text_that_means_something_elsewhere_is_only_text_here(page: Page, prompt: str):
    """The prompt reaches the model as it is, and only its letters and digits reach a file's name."""
    before = page.files()
    kind, (video, facts) = page.run(prompt=prompt)
    assert kind == "complete"
    assert facts["settings"]["prompt"] == prompt
    written = page.files() - before
    assert {path.name for path in written} == {Path(video["path"]).name}
    assert all(path.stem.replace("-", "").isalnum() for path in written)


def test_empty_and_written_out_optional_values_mean_what_they_say(page: Page):
    """An emptied field is None; "881, 941" and [881, 941] are the same window."""
    assert page.video(width="", chunk_size="", motion_window="") == page.video()
    assert page.video(motion_window="881, 941", width="128") == page.video(motion_window=[881, 941], width=128)


def test_a_client_calls_it_with_settings_by_name_and_gets_the_file(page: Page, tmp_path: Path):
    """Names of settings are names of parameters, what is left out has its default, and only one endpoint is shown."""
    client = Client(page.url, download_files=tmp_path, verbose=False, analytics_enabled=False)
    video, facts = client.predict(prompt=ORDINARY["prompt"], seed=7, num_frames=3, width=128, api_name="/text_to_video")
    assert facts["seed"] == facts["settings"]["seed"] == 7
    assert facts["settings"]["num_frames"] == 3
    assert to_json(TextToVideoSettings.model_validate({k: v for k, v in facts["settings"].items() if k != "mode"}))
    assert Path(video).suffix == ".mp4"
    page.made.add(Path(video).name)
    assert (page.kept / Path(video).name).read_bytes() == Path(video).read_bytes()
    assert list(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == ["/text_to_video"]
    client.close()


def test_a_random_seed_is_told_and_gives_the_video_again(page: Page):
    """Seed -1 is drawn once, and what was drawn is in the answer."""
    kind, (video, facts) = page.run(seed=-1)
    assert kind == "complete"
    assert facts["seed"] >= 0
    again = page.video(seed=facts["seed"])
    assert again == hashlib.sha256(page.client.get(video["url"]).content).hexdigest()


def test_more_inputs_than_there_are_do_no_harm(page: Page):
    """27: the extra ones are not looked at."""
    assert page.run(1, {"a": 2}, None)[0] == "complete"


def test_every_event_of_the_page_stands_being_called_by_anybody(page: Page):
    """28: a "private" event still runs by name, so each must survive any values."""
    events = page.client.get(f"{page.url}config").json()["dependencies"]
    names = {event["api_name"] for event in events if event["backend_fn"] and event["api_name"]}
    assert {"text_to_video", "add", "watch", "returning", "restore", "describe", "example"} <= names
    for name in names - {"text_to_video"}:
        for junk in ("../../etc/passwd", -1, None, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}):
            reply = page.client.post(f"/call/{name}", json={"data": [junk] * 18}).json()
            said = page.client.get(f"/call/{name}/{reply['event_id']}").text
            assert "Traceback" not in said
            assert "root:" not in said


def test_nobody_gets_past_the_queue(page: Page):
    """29: the direct route is closed."""
    assert page.client.post("/run/text_to_video", json={"data": list(ORDINARY.values())}).status_code == 404


def test_a_request_of_30_megabytes_is_refused_before_it_is_read(page: Page):
    """32: Gradio would keep what each session last sent in memory; not telling the length does not help."""
    assert page.client.post("/call/text_to_video", json={"data": ["a" * 30_000_000]}).status_code == 413

    def unannounced() -> Iterator[bytes]:
        yield b'{"data": ["'
        for _ in range(30):
            yield b"a" * 1_000_000
        yield b'"]}'

    headers = {"content-type": "application/json"}
    with contextlib.suppress(httpx.TransportError):  # the server may hang up before everything is sent
        assert page.client.post("/call/text_to_video", content=unannounced(), headers=headers).status_code >= 400


def test_a_list_that_is_full_says_so(tmp_path: Path):
    """30: one job runs, two wait, the fourth is told."""
    page = Page(tmp_path, tmp_path / "data", most_jobs=3)
    events = [page.join({**ORDINARY, "prompt": ENDLESS})]
    eventually(lambda: page.model.lock.locked())
    events += [page.join(ORDINARY), page.join(ORDINARY)]
    eventually(lambda: len(page.library.jobs.listed("local")) == 3)
    kind, data = page.run()
    assert kind == "error"
    assert "4 jobs in your list" in data["error"]
    cancel(page, events[0])
    assert [page.wait(event)[0] for event in events[1:]] == ["complete", "complete"]
    page.close()


def cancel(page: Page, event: str) -> None:
    """What the Cancel button and a client's ``job.cancel()`` send."""
    events = page.client.get(f"{page.url}config").json()["dependencies"]
    number = next(item["id"] for item in events if item["api_name"] == "text_to_video")
    page.client.post("/cancel", json={"session_hash": event, "fn_index": number, "event_id": event})


def test_the_next_job_starts_when_a_cancelled_one_has_really_stopped(page: Page):
    """67: Gradio may call the second before the first has looked at its cancel; the model's lock keeps them apart."""
    first = page.join({**ORDINARY, "prompt": ENDLESS})
    eventually(lambda: page.model.lock.locked())
    second = page.join(ORDINARY)
    cancel(page, first)
    assert page.wait(second)[0] == "complete"
    assert [what for what, _ in page.model.log[-4:]] == ["start", "stop", "start", "stop"]
    assert page.model.log[-3] == ("stop", ENDLESS)


def test_a_client_that_goes_away_ends_its_job(page: Page):
    """68: nobody computes for a closed tab."""
    event = page.join({**ORDINARY, "prompt": ENDLESS})
    with page.client.stream("GET", f"/call/text_to_video/{event}") as reply:
        next(reply.iter_lines())
    eventually(lambda: page.model.log[-1] == ("stop", ENDLESS))
    eventually(lambda: not page.model.lock.locked())


def test_a_bug_in_the_middle_is_one_line_here_and_the_rest_in_the_log(page: Page, caplog: pytest.LogCaptureFixture):
    """The reader of the page learns that it broke; the operator learns where."""

    def break_down(settings: Any, step: int) -> None:
        if step == 3:
            raise RuntimeError(f"secret of {__file__}")

    page.model.before_step = break_down
    kind, data = page.run()
    assert kind == "error"
    assert data["error"].startswith("Something broke on the server")
    assert "secret" not in json.dumps(data)
    assert "secret" in caplog.text


def test_twenty_sessions_each_get_their_own_video(page: Page):
    """74: no state is shared between jobs."""
    alone = [page.video(seed=seed) for seed in range(20)]
    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(lambda seed: page.video(seed=seed), range(20)))
    assert together == alone
    assert len(set(alone)) == 20


def test_a_video_gives_its_settings_back_and_any_other_upload_is_deleted(page: Page):
    """Restore fills every control and shows the video; a file that is none of ours is a message."""
    made = TextToVideoSettings(prompt="a blue star", seed=3, motion_window=(600, 700), width=128)
    for content, words in ((to_json(made), "Settings restored"), ("no video", "this is not a video of this program")):
        upload = page.client.post("/upload", files={"files": ("clip.mp4", content.encode())}).json()[0]
        file = {"path": upload, "meta": {"_type": "gradio.FileData"}}
        event = page.client.post("/call/restore", json={"data": [file]}).json()["event_id"]
        kind, data = page.wait(event, "restore")
        assert kind == "complete"
        assert words in json.dumps(data[0])
        assert Path(upload).exists() == (words == "Settings restored")
        Path(upload).unlink(missing_ok=True)
    event = page.client.post("/call/restore", json={"data": [None]}).json()["event_id"]
    assert "choose a video" in json.dumps(page.wait(event, "restore"))


@pytest.mark.parametrize(
    ("asked", "words", "restored"),
    [
        ({"lora": "2024", "vae": "soft"}, "Settings restored; Generate", ["2024", "soft"]),
        ({"lora": "gone"}, "Settings restored, all but the LoRA, which is not offered here: gone", [None, ""]),
        ({"style": "anime", "lora": "style"}, "Settings restored; Generate", ["style", ""]),
        ({"style": "gone"}, "Settings restored, all but the style, which is not offered here: gone", ["", ""]),
        (
            {"lora": "style", "vae": "<b>", "model": "x/y"},
            "all but the model, which is not offered here: x/y; the VAE, which is not offered here: &lt;b&gt;",
            ["style", None],
        ),
    ],
)
def test_what_is_not_offered_here_is_not_restored(page: Page, asked, words, restored):
    """All the rest is, and the page says what is missing; a LoRA may be called like a number."""
    made = TextToVideoSettings(prompt="a blue star", seed=3, **asked)
    upload = page.client.post("/upload", files={"files": ("clip.mp4", to_json(made).encode())}).json()[0]
    file = {"path": upload, "meta": {"_type": "gradio.FileData"}}
    event = page.client.post("/call/restore", json={"data": [file]}).json()["event_id"]
    kind, (status, *values) = page.wait(event, "restore")
    assert kind == "complete"
    Path(upload).unlink()
    assert words in json.dumps(status)
    filled = dict(zip(list(ORDINARY), values, strict=False))
    assert filled["prompt"] == "a blue star"
    assert [filled[name] if isinstance(filled[name], str) else None for name in ("lora", "vae")] == restored


def test_a_chosen_lora_reaches_the_model_by_its_name(page: Page):
    """Chosen in the list or sent by a program; empty is none."""
    for sent, meant in (("style", "style"), ("2024", "2024"), ("", None), (None, None)):
        kind, (_, facts) = page.run(lora=sent, lora_scale=0.5)
        assert kind == "complete"
        assert (facts["settings"]["lora"], facts["settings"]["lora_scale"]) == (meant, 0.5)
