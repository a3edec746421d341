"""The tab of comparisons as a program sees it: a real server, with a model that is quick and false."""

import json
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
from fakes import ENDLESS, FakeModel, eventually, free_port, started_library
from gradio_client import Client
from gradio_client.exceptions import AppError

import app_compare
from comparison.engine_specs import ENGINES
from comparison.options import pipelines_offered
from comparison.runner import prepare
from comparison.settings import ComparisonSettings
from errors import InvalidSettings
from evaluation.clip_scores import VIT_B_32
from library.clips import LOCAL
from library.job import Job, State
from library.service import Library
from model_manager.builtin_models import ModelRow, models
from settings.parsing import validate
from web import server
from web.compare import STOPPED, ComparisonJobs, ComparisonPanel
from web.compare_tab import engines_offered
from web.context import PageContext

TWO = ["text2video-zero: toyworld", "direct: toyworld"]
ASKED = {"prompts": "a red circle\n\n a star ", "engines": TWO, "seed": 7, "num_frames": 4, "fps": 8}


@pytest.fixture(scope="module")
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture(scope="module")
def library(model, tmp_path_factory) -> Iterator[Library]:
    """What keeps comparisons."""
    library = started_library(model, tmp_path_factory.mktemp("data"))
    yield library
    assert library.close()


@pytest.fixture(scope="module")
def client(model, library) -> Iterator[Client]:
    """A program that talks to the running tab."""
    context = PageContext(*(library, model.rows, model.default, lambda path: {}), compare=partial(prepare, model=model))
    with gr.Blocks() as page:
        app_compare.TAB.build(context)
    client = Client(server.start(page, server.Address(port=free_port())), verbose=False)
    yield client
    page.close()


def comparer() -> ComparisonJobs:
    return ComparisonJobs(engines_offered(models()))


def read(values: dict, jobs: ComparisonJobs | None = None) -> ComparisonSettings:
    """The settings of the job that a client asks for."""
    (job,) = (jobs or comparer()).read(values)
    return validate(ComparisonSettings, {name: value for name, value in job.settings.items() if name != "mode"})


def test_a_report_comes_back(client, library):
    """All of it in one file: the page, the clips that it points to, every number as JSON; the same seed for all. It is
    kept among the clips."""
    archive, facts = client.predict(**ASKED, api_name="/compare")
    with zipfile.ZipFile(archive) as file:
        names = [Path(*Path(name).parts[1:]).as_posix() for name in file.namelist()]
        folder = file.namelist()[0].split("/")[0]
        page = file.read(f"{folder}/report.html").decode()
    clips = [clip["file"] for engine in facts["engines"] for clip in engine["clips"]]
    assert {"report.html", "results.json", *clips} <= set(names)
    assert all(f'href="{clip}"' in page for clip in clips)
    assert f"{folder}.zip" in [path.name for path in library.folder.clips.iterdir()]
    assert [engine["label"] for engine in facts["engines"]] == ["Text2Video-Zero, Toy world", "DirecT2V, Toy world"]
    assert [len(engine["clips"]) for engine in facts["engines"]] == [2, 2]
    assert facts["seeds"] == [7]
    json.dumps(facts, allow_nan=False)


def test_everything_but_prompts_and_engines_may_be_left_out(client):
    _, facts = client.predict(prompts="a star", engines=TWO, api_name="/compare")
    assert len(facts["engines"][0]["clips"]) == 1


def test_a_comparison_that_is_stopped_leaves_nothing_and_the_next_one_runs(client, model):
    """Neither a folder of clips nor a model at work."""
    before = set(folders_of_comparisons())  # of a program that was killed
    job = client.submit(**ASKED | {"prompts": ENDLESS}, api_name="/compare")
    eventually(lambda: ("start", ENDLESS) in model.log)
    assert set(folders_of_comparisons()) > before
    job.cancel()
    eventually(lambda: model.log[-1] == ("stop", ENDLESS))
    eventually(lambda: set(folders_of_comparisons()) <= before)
    _, facts = client.predict(**ASKED, api_name="/compare")
    assert [len(engine["clips"]) for engine in facts["engines"]] == [2, 2]


def test_cancel_on_the_page_keeps_what_was_finished(library, client, model):
    """The clips that are there may have taken hours: they are shown with their numbers, and the report can be had. Of a
    job without any, nothing."""
    panel = ComparisonPanel(*(gr.HTML() for _ in range(4)), gr.File(), gr.Button(), gr.HTML())

    def cancelled(prompts: str) -> Job:
        begun = len(model.log)
        (job,) = library.jobs.add(LOCAL, comparer().read(ASKED | {"prompts": prompts}))
        library.worker.wake()
        eventually(lambda: ("start", ENDLESS) in model.log[begun:])
        library.worker.cancel(LOCAL, job)
        eventually(lambda: library.jobs.get(LOCAL, job).state == State.CANCELLED)
        return library.jobs.get(LOCAL, job)

    job = cancelled(f"a star\n{ENDLESS}")
    shown = panel.show_result(job.result)
    assert STOPPED in shown[panel.status]
    assert "stopped before it had finished" in shown[panel.status]
    assert "t2v-cmp-clip" in shown[panel.stage]
    assert "Text2Video-Zero" in shown[panel.table]
    with zipfile.ZipFile(job.result.file) as file:
        assert len([name for name in file.namelist() if name.endswith("report.html") or name.endswith(".mp4")]) == 2
    assert cancelled(ENDLESS).result is None


def folders_of_comparisons() -> list[Path]:
    """Those that are at work, or were when somebody killed them."""
    return list(Path(tempfile.gettempdir()).glob("text2video-*/comparison-*"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": "->"}, "prompts: one is empty"),
        ({"prompts": " "}, "prompts: write 1 to 4"),
        ({"prompts": "a\nb\nc\nd\ne"}, "prompts: write 1 to 4"),
        ({"prompts": None}, "prompts: must be text"),
        ({"prompts": "x" * 100_000}, "prompts: must be text"),
        ({"engines": TWO[:1]}, "engines: choose 2 to 4"),
        ({"engines": [TWO[0], TWO[0]]}, "engines: choose 2 to 4"),
        ({"engines": "direct"}, "engines: must be a list"),
        ({"engines": [TWO[0], "/etc/passwd"]}, "engines: must be a list of engines that are offered"),
        ({"engines": [TWO[0], {"engine": "direct"}]}, "engines: must be a list"),
        ({"seed": -2}, "seed: must be at least"),
        ({"num_frames": 9999}, "num_frames: must be at most"),
        ({"fps": None}, "fps"),
        ({"clip": "some/network"}, "clip: must be true or false"),
        ({"width": "100"}, "width: must be a multiple of 8"),
    ],
)
def test_a_mistake_is_one_line(client, changes, said):
    """What a client may choose is what the page offers: no path, no Hub id."""
    with pytest.raises(AppError) as refused:
        client.predict(**ASKED | changes, api_name="/compare")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_image_model_and_every_engine_is_offered_once():
    offered = engines_offered(models(), pipelines_offered([], local=True))
    labels = [label for label, _ in offered.values()]
    assert len(set(labels)) == len(labels)
    assert {name for name in ENGINES if name in offered} == set(ENGINES) - {"text2video-zero", "direct"}
    assert not any("edit" in key for key in offered)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (server.Address(), True),
        (server.Address(host="localhost"), True),
        (server.Address(host="0.0.0.0"), False),
        (server.Address(share=True), False),
        (server.Address(host="0.0.0.0", auth=("me", "secret")), False),
    ],
)
def test_strangers_start_no_large_download(address, local, monkeypatch):
    """Each pipeline of diffusers is tens of gigabytes: on a page that others reach it is the operator who decides."""
    foreign = {name for name, row in ENGINES.items() if row.pipeline is not None}
    offered = engines_offered(models(), pipelines_offered([], local=address.local))
    assert foreign & offered.keys() == (foreign if local else set())
    assert offered.keys() >= {"toyworld-video", "modelscope", "zeroscope", *TWO}
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "me/studio")
    assert not address.local


def test_the_operator_names_further_engines(tmp_path):
    """By a row's name, a Hub id or a folder, which no client sees; whatever else a program asks for is refused."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model_index.json").write_text("{}")
    named = ["wan2.1-1.3b", "somebody/video-model", str(tmp_path / "mine"), "toyworld-video"]
    offered = engines_offered(models(), pipelines_offered(named, local=False))
    assert [key for key in offered if key in ("direct", "ltx-video")] == []
    assert offered["mine"] == ("mine", {"engine": str(tmp_path / "mine")})
    jobs = ComparisonJobs(offered)
    chosen = read({**ASKED, "engines": ["wan2.1-1.3b", "somebody/video-model", "mine"]}, jobs).engines
    assert [choice.engine for choice in chosen] == named[:3]
    for other in ("ltx-video", "somebody/other", str(tmp_path / "mine")):
        with pytest.raises(InvalidSettings, match="must be a list of engines that are offered"):
            jobs.read({**ASKED, "engines": [TWO[0], other]})


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wan3", "must be one of text2video-zero, .* or a Hub id or folder"),
        ("/nowhere/wan", "or a Hub id or folder"),
        ("a/b/c.safetensors", "or a Hub id or folder"),
        ("x" * 300, "or a Hub id or folder"),
        ("{folder}/ltx-video", "there is another engine called ltx-video"),
    ],
)
def test_an_engine_that_cannot_be_offered_is_one_line_at_start(name, said, local, tmp_path):
    (tmp_path / "ltx-video").mkdir()
    (tmp_path / "ltx-video" / "model_index.json").write_text("{}")
    with pytest.raises(InvalidSettings, match=said) as refused:
        pipelines_offered([name.replace("{folder}", str(tmp_path))], local=local)
    assert "\n" not in str(refused.value)


def test_a_model_of_the_operator_that_was_trained_on_videos_is_an_engine_of_its_own():
    mine = ModelRow("mine", "Mine", "mine", "", trained_on_videos=True)
    offered = engines_offered({**models(), "mine": mine})
    assert [label for label, _ in offered.values()].count("Mine") == 1


def test_an_empty_number_is_automatic_and_a_random_seed_is_drawn():
    values = {**ASKED, "width": "", "height": "72", "seed": -1, "clip": True}
    first, second = (read(values) for _ in range(2))
    assert (first.width, first.height, first.clip) == (None, 72, VIT_B_32)
    assert first.seeds != second.seeds
    assert first.prompts == ("a red circle", "a star")


def test_a_setting_that_the_page_has_not_is_refused():
    with pytest.raises(InvalidSettings, match="is not a setting"):
        comparer().read({**ASKED, "models": "x"})
