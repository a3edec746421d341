"""``inference.py compare``: a file or options in, a folder with a report out, one line for a mistake."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import inference
from cli import compare
from cli.compare import DEFAULT_ENGINES, read_compare_request
from errors import Cancelled, ModelUnavailable
from evaluation.prompt_lists import GENERAL, read_prompts
from media.metadata import read_metadata
from media.video_io import write_video
from model_manager.catalogue import read_catalogue
from settings.parsing import to_json

ROOT = Path(__file__).parents[1]


class FakeModel:
    """Paints noise of the seed; ``trouble`` by model name is raised in place of a clip."""

    trouble: dict[str, BaseException] = {}
    loader = SimpleNamespace(device="cpu")

    def __init__(self, models=(), device=None, extras=None):
        self.catalogue = read_catalogue(models, extras)
        self.rows = self.catalogue.models

    def load(self, settings):
        """Nothing to load."""

    def release(self):
        """Nothing to let go."""

    def generate(self, settings, on_step=None, cancel=None):
        if settings.model in self.trouble:
            raise self.trouble[settings.model]
        on_step(SimpleNamespace(step=1, total=2, fraction=0.5))
        frames = np.random.default_rng(settings.seed).integers(0, 256, (settings.num_frames, 64, 64, 3), np.uint8)
        metadata = {"settings": to_json(settings)}
        save = lambda path: write_video(path, frames, settings.fps, metadata)  # noqa: E731
        return SimpleNamespace(frames=frames, fps=settings.fps, settings=settings, notes=(), save=save)


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path):
    """The fake in place of the real model, and a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("T2V_MODELS", raising=False)
    kind = type("Model", (FakeModel,), {"trouble": {}})
    monkeypatch.setattr(sys.modules.get("model") or __import__("model"), "Model", kind)
    return kind


def written(values) -> str:
    Path("config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return "config.yaml"


def test_a_file_becomes_a_report(capsys):
    """Every clip is there and carries the settings that make it again; the table is on the screen."""
    config = written({"prompts": ["a red circle", "a star"], "engines": ["text2video-zero", "direct"], "seeds": [1, 2]})
    assert inference.main(["compare", config, "-o", "mine"]) == 0
    said = capsys.readouterr().out
    assert "| DirecT2V |" in said
    assert said.rstrip().endswith(str(Path("mine/report.html")))
    results = json.loads(Path("mine/results.json").read_text("utf-8"))
    clips = [clip for engine in results["engines"] for clip in engine["clips"]]
    assert len(clips) == 8
    assert sorted(os.listdir("mine")) == ["clips", "report.html", "results.json"]
    made_by = json.loads(read_metadata(Path("mine") / clips[-1]["file"])["settings"])
    assert (made_by["mode"], made_by["prompt"], made_by["seed"]) == ("direct", "a star", 2)


def test_the_example_is_a_comparison(model):
    """The file that ships, as it is: every engine in it that needs no download is known."""
    job = read_compare_request([str(ROOT / "examples/compare.example.yaml")])
    assert [choice.engine for choice in job.settings.engines] == ["text2video-zero", *DEFAULT_ENGINES]
    assert len(job.settings.prompts) == 2


def test_options_win_over_the_file_and_need_none():
    config = written({"prompts": ["a red circle"], "engines": ["direct"], "num_frames": 4, "output": "there"})
    options = ["--engine", "text2video-zero", "--prompt", "a star", "--prompt", "a heart", "--frames", "6"]
    job = read_compare_request([config, *options, "--seed", "7"])
    assert job.settings.prompts == ("a star", "a heart")
    assert (job.settings.engines[0].engine, job.settings.num_frames, job.settings.seeds) == ("text2video-zero", 6, (7,))
    assert job.folder == Path("there")
    assert read_compare_request([config, "-o", "elsewhere"]).folder == Path("elsewhere")
    assert [choice.engine for choice in read_compare_request(["--prompt", "x"]).settings.engines] == list(
        DEFAULT_ENGINES
    )


def test_lists_of_prompts_have_names():
    assert read_compare_request(["--prompt", "general"]).settings.prompts == tuple(read_prompts(GENERAL))
    assert len(read_compare_request([written({"prompts": "toyworld-motion"})]).settings.prompts) == 100
    assert len(read_compare_request([written({"prompts": ["toyworld", "a star"]})]).settings.prompts) == 51


def test_what_engines_name_is_allowed(tmp_path):
    """A path that the user writes is theirs to use; the report calls it by its last part."""
    (tmp_path / "mine").mkdir()
    lora = tmp_path / "pixels.safetensors"
    lora.write_bytes(b"")
    engines = [{"engine": "direct", "model": str(tmp_path / "mine")}, {"engine": "direct", "lora": str(lora)}]
    job = read_compare_request([written({"prompts": "x", "engines": engines, "vaes": "./sharp"}), "--loras", "./inks"])
    assert job.offer.models == (str(tmp_path / "mine"),)
    assert (list(job.offer.extras.loras), list(job.offer.extras.vaes)) == (["./inks", str(lora)], ["./sharp"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("prompts: [", "not YAML"),
        ({}, "prompts"),
        ({"prompts": "x", "engine": "direct"}, "engine: is not a setting"),
        ({"prompts": "x", "engines": [{"engine": "direct", "num_steps": 3}]}, "direct: num_steps: is not a setting"),
        ({"prompts": "x", "output": 3}, "output: must be text"),
        ({"prompts": "x", "output": "full"}, "full is not empty"),
        ({"prompts": "x", "output": "a\0b"}, "output: cannot write"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(values, said, capsys):
    Path("full").mkdir()
    Path("full/something").touch()
    config = written(values) if isinstance(values, dict) else str(Path("config.yaml"))
    if isinstance(values, str):
        Path(config).write_text(values)
    assert inference.main(["compare", config]) == 2
    out, error = capsys.readouterr()
    assert said in error
    assert error.count("\n") == 1
    assert out == ""
    assert not Path("outputs").exists()


def test_a_file_that_is_not_there_is_one_line(capsys):
    assert inference.main(["compare", "nothing.yaml"]) == 2
    assert "nothing.yaml: No such file" in capsys.readouterr().err


def test_the_others_are_reported_where_one_fails(model, capsys):
    model.trouble = {"toyworld-video": ModelUnavailable("it is not here")}
    config = written({"prompts": "x", "engines": ["text2video-zero", "toyworld-video"]})
    assert inference.main(["compare", config, "-o", "mine"]) == 0
    assert "note: Toy world, trained on videos: it is not here" in capsys.readouterr().err
    assert Path("mine/report.html").is_file()


def test_where_none_can_draw_nothing_is_left(model, capsys):
    model.trouble = {"toyworld-video": ModelUnavailable("it is not here")}
    assert inference.main(["compare", written({"prompts": "x", "engines": ["toyworld-video"]}), "-o", "mine"]) == 2
    assert "no engine could draw" in capsys.readouterr().err
    assert not Path("mine").exists()


@pytest.mark.parametrize(("stopped", "kept"), [("toyworld-video", True), ("auto", False)])
def test_what_was_finished_is_reported_when_it_is_stopped(model, capsys, stopped, kept):
    """Ctrl-C in the second engine keeps what the first has made; in the first clip of all it leaves nothing."""
    model.trouble = {stopped: Cancelled()}
    config = written({"prompts": "x", "engines": ["text2video-zero", "toyworld-video"]})
    assert inference.main(["compare", config, "-o", "mine"]) == 130
    assert Path("mine/report.html").is_file() == kept
    said = capsys.readouterr().err
    assert ("stopped; what was finished is in" in said) == kept
    assert ("nothing was written" in said) != kept
    assert Path("mine").exists() == kept


def test_a_program_that_is_killed_leaves_a_report_of_the_engines_before(model):
    """Memory that runs out or a crash in a library ends it within an engine, without another word."""

    class KilledError(BaseException):
        """Nothing of the program sees it coming."""

    model.trouble = {"toyworld-video": KilledError()}
    config = written({"prompts": "x", "engines": ["text2video-zero", "toyworld-video"]})
    with pytest.raises(KilledError):
        inference.main(["compare", config, "-o", "mine"])
    first, second = json.loads(Path("mine/results.json").read_text("utf-8"))["engines"]
    assert (len(first["clips"]), len(second["clips"]), second["error"]) == (1, 0, None)
    assert "waiting" in Path("mine/report.html").read_text("utf-8")


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit) as left:
        inference.main(["compare", "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert compare.OUTPUT_FOLDER.name in said
    assert "``" not in said
