"""The notebook runs from top to bottom, as a file and as a program; IPython's display alone is a stand-in.

Its cells are plain Python without magics, so that running them in one namespace is what a notebook does.
"""

import ast
import dataclasses
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fakes import FakeModel, free_port
from PIL import Image

from media.video_io import write_video
from model_manager import builtin_models
from settings import TextToVideoSettings, field_facts
from toyworld.render import render
from toyworld.scene import Object, Scene
from toyworld.sequences import moving
from web import server

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = json.loads((ROOT / "notebooks" / "text2video_zero.ipynb").read_text(encoding="utf-8"))
CODE = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"}
PARAMETER = re.compile(r"^([A-Z_]+) = (.+?)  # @param (.+)$", re.M)
PARAMETERS = {
    name: (ast.literal_eval(value), form) for name, value, form in PARAMETER.findall("\n".join(CODE.values()))
}
REQUIREMENTS = [
    line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
]
PINS = dict(line.split("==") for line in REQUIREMENTS if line)
FORMS = {"string": str, "boolean": bool, "integer": int, "slider": int}


def fill_in(source: str, values: dict[str, Any]) -> str:
    """A cell with other values in its form fields."""

    def field(match: re.Match[str]) -> str:
        name, value, form = match.groups()
        return f"{name} = {values.get(name, ast.literal_eval(value))!r}  # @param {form}"

    return PARAMETER.sub(field, source)


class Notebook:
    """The notebook's cells in one namespace, with what they show."""

    def __init__(self, values: dict[str, Any]) -> None:
        assert set(values) <= set(PARAMETERS), "the notebook has no such form field"
        self.values = values
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.shown: list[Path] = []

    def run(self, *cells: str) -> dict[str, Any]:
        for cell in cells:
            exec(compile(fill_in(CODE[cell], self.values), f"cell {cell}", "exec"), self.names)
        return self.names


@pytest.fixture
def notebook(monkeypatch):
    """Notebooks as started in their own folder; no command of theirs reaches pip, git or the graphics card."""
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(sys, "path", list(sys.path))
    opened: list[Notebook] = []
    commands: list[list[str]] = []
    run = subprocess.run

    def guarded(command, *arguments, **options):
        if "pip" in command or command[0] in ("git", "nvidia-smi"):
            commands.append(command)
            return SimpleNamespace(returncode=0, stdout="Tesla T4, 15360 MiB\n")
        return run(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "run", guarded)
    display = ModuleType("IPython.display")
    display.Image = lambda filename, width: Path(filename)
    display.display = lambda picture: opened[-1].shown.append(picture)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)

    def opening(**values: Any) -> Notebook:
        opened.append(Notebook(values))
        return opened[-1]

    opening.commands = commands
    yield opening
    for book in opened:
        if hasattr(book.names.get("page"), "close"):
            book.names["page"].close(verbose=False)


def say_installed(monkeypatch, versions: dict[str, str]) -> None:
    """Let exactly these packages be installed."""

    def version(package: str) -> str:
        if package not in versions:
            raise importlib.metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.fixture
def toyworld(monkeypatch, tmp_path):
    """The toy world; a control that it has not learnt yet has a new ControlNet, which changes nothing."""
    missing = {"depth", "canny"} - set(builtin_models.TOYWORLD.controlnets)
    if missing:
        from diffusers import ControlNetModel, UNet2DConditionModel

        unet = UNet2DConditionModel.from_pretrained(
            builtin_models.TOYWORLD.source, subfolder="unet", use_safetensors=True
        )
        fresh = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 4))
        fresh.save_pretrained(tmp_path / "controlnet")
    learnt = dict(builtin_models.TOYWORLD.controlnets) | dict.fromkeys(missing, str(tmp_path / "controlnet"))
    row = dataclasses.replace(builtin_models.TOYWORLD, controlnets=learnt)
    others = (other for other in builtin_models.BUILT_IN if other is not builtin_models.TOYWORLD)
    monkeypatch.setattr(builtin_models, "BUILT_IN", (row, *others))
    monkeypatch.setattr(builtin_models, "TOYWORLD", row)


@pytest.fixture
def clips(tmp_path):
    """A depth video and a plain one, drawn here: a red circle passes in front of a blue square."""
    circle = Object("circle", "red", x=0.25, y=0.5, radius=0.2, nearness=0.9)
    square = Object("square", "blue", x=0.5, y=0.5, radius=0.2, nearness=0.2)
    pictures = [render(scene) for scene in moving(Scene("sand", objects=(circle, square)), "right", 0.5, 4)]
    depth = np.stack([np.repeat(picture.depth[..., None], 3, axis=-1) for picture in pictures])
    return {
        "DEPTH_VIDEO": str(write_video(tmp_path / "depth.mp4", depth, 4, {})),
        "EDGES_VIDEO": str(write_video(tmp_path / "plain.mp4", np.stack([each.image for each in pictures]), 4, {})),
    }


def test_it_is_a_notebook_of_format_4_that_nobody_has_run():
    """Colab and GitHub open it, and no output, password or count of a run is kept in it."""
    assert (NOTEBOOK["nbformat"], set(NOTEBOOK)) == (4, {"cells", "metadata", "nbformat", "nbformat_minor"})
    assert NOTEBOOK["nbformat_minor"] >= 5
    assert NOTEBOOK["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", cell["id"])
        assert isinstance(cell["metadata"], dict)
        assert all(isinstance(line, str) for line in cell["source"])
        own = {"outputs", "execution_count"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"id", "cell_type", "metadata", "source"} | own
        assert (cell.get("outputs", []), cell.get("execution_count")) == ([], None)


@pytest.mark.parametrize("cell", CODE)
def test_every_cell_is_plain_python_with_a_title(cell):
    """No magics: what the test runs is what the notebook runs."""
    compile(CODE[cell], cell, "exec")
    assert CODE[cell].startswith("# @title ")


def test_every_form_field_holds_a_value_of_its_kind():
    """What stands in a field fits the field, and the models offered are those that draw."""
    assert len(PARAMETERS) == "".join(CODE.values()).count("# @param")
    for value, form in PARAMETERS.values():
        if form.startswith("["):
            assert value in json.loads(form.removesuffix(" {allow-input: true}"))
        else:
            kind = re.match(r'\{type:"(\w+)"', form)[1]
            assert type(value) is FORMS[kind]
    painters = [row.name for row in builtin_models.BUILT_IN if not row.edits and not row.trained_on_videos]
    assert json.loads(PARAMETERS["MODEL"][1].partition(" {")[0]) == ["auto", *painters]


@pytest.mark.parametrize(
    ("field", "setting"),
    [
        *(("FRAMES", "num_frames"), ("STEPS", "num_inference_steps")),
        *(("MOTION_X", "motion_field_strength_x"), ("MOTION_Y", "motion_field_strength_y")),
    ],
)
def test_a_slider_cannot_be_moved_out_of_bounds(field, setting):
    """Both of its ends are valid settings."""
    low, high = map(int, re.search(r"min:(-?\d+), max:(-?\d+)", PARAMETERS[field][1]).groups())
    facts = field_facts(TextToVideoSettings)[setting]
    assert facts["minimum"] <= low < high <= facts["maximum"]


def test_it_runs_from_top_to_bottom_on_the_toy_world(notebook, toyworld, clips, tmp_path, monkeypatch, capsys):
    """Three GIFs and a page that lets nobody in without the password; what steered a GIF is shown before it."""
    port = free_port()
    small = {"MODEL": "toyworld", "FRAMES": 2, "STEPS": 2, "OUTPUT": str(tmp_path / "made")}
    book = notebook(**small, **clips, SHARE=False, PORT=port)
    with monkeypatch.context() as machine:
        say_installed(machine, PINS)
        book.run("gpu", "code", "install")
    names = book.run(*list(CODE)[3:-1])

    assert not [command for command in notebook.commands if command[0] != "nvidia-smi"]
    wanted = ["text.gif", "depth-control.gif", "depth.gif", "edges-control.gif", "edges.gif"]
    assert [picture.name for picture in book.shown] == wanted
    for picture in book.shown:
        with Image.open(picture) as gif:
            assert (gif.format, gif.n_frames, gif.size) == ("GIF", 2, (128, 128))

    url = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{url}/config").status_code == 401
    assert httpx.post(f"{url}/login", data={"username": "studio", "password": "guess"}).status_code == 400
    with httpx.Client(base_url=url) as visitor:
        told = re.search(r"password: (\S+)", capsys.readouterr().out)[1]
        assert visitor.post("/login", data={"username": "studio", "password": told}).status_code == 200
        assert "Text2Video-Zero Studio" in visitor.get("/config").text
    assert names["page"].share_url is None
    book.values["STOP"] = True
    book.run("stop")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_as_it_comes_it_shares_the_page_with_a_new_password(notebook, tmp_path, monkeypatch, capsys):
    """With every field as it stands: valid settings, a public link, and a password that nobody can guess; another one
    each time the page is opened."""
    model, opened = FakeModel(), []
    model.loader = SimpleNamespace(device="cuda")
    monkeypatch.setattr("model.Model", lambda models, default: model)

    def start(page, address, readable, library):
        page.share_url = "https://example.share"
        opened.append(address)
        return page.share_url

    monkeypatch.setattr(server, "start", start)
    say_installed(monkeypatch, PINS)
    book = notebook(OUTPUT=str(tmp_path / "made"))
    book.run(*CODE)
    book.run("page")
    told = re.findall(r"^password: (.+)$", capsys.readouterr().out, re.M)
    assert told == [address.auth[1] for address in opened]
    assert len(set(told)) == 2
    assert min(map(len, told)) >= 16
    assert {(address.host, address.port, address.share) for address in opened} == {("127.0.0.1", 7860, True)}
    assert [prompt for what, prompt in model.log if what == "start"] == [
        builtin_models.TOYWORLD.examples[0],
        PARAMETERS["DEPTH_PROMPT"][0],
        PARAMETERS["EDGES_PROMPT"][0],
    ]


def test_the_example_videos_are_there():
    """As the fields name them, seen from the root of the repository."""
    assert all((ROOT / PARAMETERS[name][0]).is_file() for name in ("DEPTH_VIDEO", "EDGES_VIDEO"))


@pytest.mark.parametrize(("gpu", "words"), [(True, "GPU: Tesla T4"), (False, "No GPU: the toy world")])
def test_it_says_whether_there_is_a_gpu_and_what_that_means(gpu, words, notebook, monkeypatch, capsys):
    """Without loading PyTorch, which what is installed later must find unloaded."""
    monkeypatch.setattr("shutil.which", lambda program: "nvidia-smi" if gpu else None)
    notebook().run("gpu")
    assert words in capsys.readouterr().out
    assert not any("import torch" in CODE[cell] for cell in ("gpu", "code", "install"))


def test_outside_a_clone_the_code_is_fetched_once(notebook, tmp_path, monkeypatch):
    """The placeholder is no address; after a restart the clone is found where it was made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="address of the repository"):
        notebook().run("code")
    address = "https://example.org/studio.git"
    marker = tmp_path / "text2video-zero-studio" / "checkpoints" / "toyworld" / "model_index.json"
    marker.parent.mkdir(parents=True)  # as if git had made it
    notebook(REPOSITORY=address).run("code")
    assert notebook.commands == [["git", "clone", "--depth", "1", "--", address, "text2video-zero-studio"]]
    assert Path.cwd() == tmp_path / "text2video-zero-studio"
    marker.touch()
    monkeypatch.chdir(tmp_path)
    assert notebook().run("code")["root"] == tmp_path / "text2video-zero-studio"
    assert len(notebook.commands) == 1


@pytest.mark.parametrize("loaded", [{}, {"numpy": ["numpy"]}])
def test_everything_but_torch_is_installed(loaded, notebook, monkeypatch):
    """pip is held to the torch that is here, whatever its version; where older versions are loaded, a restart is asked
    for before anything uses two versions at once."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: loaded)
    say_installed(monkeypatch, {"torch": "2.9.0+cu126", "einops": PINS["einops"]})
    if loaded:
        with pytest.raises(SystemExit, match="Restart session"):
            notebook().run("install")
    else:
        notebook().run("install")
    (command,) = notebook.commands
    assert command[:5] == [sys.executable, "-m", "pip", "install", "--quiet"]
    others = {f"{package}=={pin}" for package, pin in PINS.items() if package not in ("torch", "einops")}
    assert set(command[5:]) == {*others, "torch==2.9.0+cu126"}


def test_without_torch_it_says_what_to_install(notebook, monkeypatch):
    """Outside Colab there may be none, and which build is right is not for a notebook to guess."""
    monkeypatch.chdir(ROOT)
    say_installed(monkeypatch, {})
    with pytest.raises(SystemExit, match=f"install torch {PINS['torch']}"):
        notebook().run("install")
    assert notebook.commands == []
