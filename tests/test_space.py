"""A Hugging Face Space made of this repository builds, starts, and computes nothing before the first job."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import app
import utils
from model import Model
from model_manager import loader
from page_options import OPTIONS_VARIABLE
from web import server

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
_, FRONT_MATTER, BODY = README.split("---\n", 2)
SPACE = yaml.safe_load(FRONT_MATTER)
LINES = (
    line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
)
PINS = {pin.name: str(pin.specifier).removeprefix("==") for pin in map(Requirement, filter(None, LINES))}
THUMBNAIL_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
MAX_DESCRIPTION_CHARS = 60  # longer ones are refused when they are pushed


def test_the_readme_begins_with_the_front_matter():
    """A Space is configured by the YAML block at the very top; what people read comes after it."""
    assert README.startswith("---\n")
    assert BODY.lstrip().startswith("# Text2Video-Zero Studio\n")


def test_the_space_is_described_as_the_hub_reads_it():
    """Only keys of the configuration reference, with values that it takes."""
    assert set(SPACE) == {
        *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "pinned"),
        *("license", "short_description", "suggested_hardware", "tags"),
    }
    assert (SPACE["sdk"], SPACE["license"], SPACE["suggested_hardware"]) == ("gradio", "mit", "cpu-basic")
    assert {SPACE["colorFrom"], SPACE["colorTo"]} <= THUMBNAIL_COLOURS
    assert len(SPACE["short_description"]) <= MAX_DESCRIPTION_CHARS
    assert (ROOT / SPACE["app_file"]).is_file()


def test_the_space_has_the_pinned_gradio():
    """A Space installs sdk_version together with requirements.txt; two versions of Gradio cannot both be had."""
    assert SPACE["sdk_version"] == PINS["gradio"]


def test_every_pinned_package_runs_on_the_python_of_the_space():
    """A text, because YAML reads 3.10 as the number 3.1; and one on which the tests run."""
    assert re.fullmatch(r"3\.\d+(\.\d+)?", SPACE["python_version"])
    for name in PINS.keys() - {"opencv-python-headless"}:  # it runs on all, and a fuller OpenCV may stand in for it
        wanted = metadata.metadata(name)["Requires-Python"] or ""
        assert SpecifierSet(wanted).contains(SPACE["python_version"]), f"{name} wants Python {wanted}"


def test_the_pins_leave_room_for_what_a_space_adds():
    """A Space asks pip for ``gradio[oauth,mcp]`` in one go with our pins, and the build fails where these contradict
    what the extras allow: pydantic 2.14 did."""
    assert metadata.version("gradio") == PINS["gradio"], "the installed Gradio says nothing about the pinned one"
    for line in metadata.requires("gradio"):
        wanted = Requirement(line)
        asked = wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", "oauth", "mcp"))
        if asked and wanted.name in PINS:
            assert wanted.specifier.contains(PINS[wanted.name]), (
                f"gradio wants {wanted}, the pin is {PINS[wanted.name]}"
            )


@pytest.fixture
def served(monkeypatch):
    """What ``app.main`` would have served; loading a checkpoint fails the test."""
    served = []

    def serve(page, address, readable, library):
        served.append((page, address, library.jobs.most_in_all))
        assert library.close()

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(loader, "load_components", lambda *given: pytest.fail("a checkpoint was loaded at boot"))
    monkeypatch.setattr(sys, "argv", ["app.py"])
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", OPTIONS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return served


def test_a_space_starts_where_it_is_told_to_and_computes_nothing(served, monkeypatch):
    """As a Space runs ``python app.py``: no arguments, and the environment says where to listen."""
    for name, value in {"SYSTEM": "spaces", "SPACE_ID": "me/studio", "GRADIO_SERVER_NAME": "0.0.0.0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(OPTIONS_VARIABLE, "--device cpu")
    app.main()
    ((page, address, _),) = served
    assert (address.host, address.port, address.share) == ("0.0.0.0", 7860, False)
    events = [event for dependency in page.config["dependencies"] for _, event in dependency["targets"]]
    assert "click" in events


def test_options_come_from_the_environment_where_there_is_no_command_line(served, monkeypatch):
    """The settings page of a Space has variables and secrets; on a command line, that one wins."""
    monkeypatch.setenv(OPTIONS_VARIABLE, "--device cpu --queue-size 5 --auth 'me:two words'")
    app.main()
    monkeypatch.setattr(sys, "argv", ["app.py", "--queue-size", "7"])
    app.main()
    assert [(most_jobs, address.auth) for _, address, most_jobs in served] == [
        (5, ("me", "two words")),
        (7, ("me", "two words")),
    ]


def test_a_mistake_in_the_environment_names_the_variable(monkeypatch, capsys):
    """A quote that is never closed."""
    monkeypatch.setenv(OPTIONS_VARIABLE, "--auth 'me:secret")
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "T2V_OPTIONS: No closing quotation" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "765000 100000\n"}, 7),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_threads_fit_the_processors_that_a_container_may_use(files, cores, tmp_path, monkeypatch):
    """A free Space shows sixteen processors and may use two; sixteen threads would only wait for one another."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(utils, "CGROUP", tmp_path)
    assert utils.granted_cores() == cores
    chosen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    assert Model(device="cpu").loader.device == "cpu"
    assert chosen == ([] if cores is None else [cores])
