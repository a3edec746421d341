"""What the README tells people to type works."""

import re
import shlex
from pathlib import Path
from unittest import mock

import pytest

import page_options
from cli import compare
from cli import options as command_line
from comparison.runner import prepare
from model import Model
from model_manager import builtin_models
from settings import TextToVideoSettings
from training.video_diffusion.config import read_config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.S) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


INFERENCE = [line for line in SHELL if line.startswith("python inference.py")]
COMPARE = [line for line in INFERENCE if line.startswith("python inference.py compare ")]


@pytest.mark.parametrize("line", COMPARE)
def test_comparisons_are_understood(line, monkeypatch):
    """Options, files and the engines' own settings."""
    monkeypatch.chdir(ROOT)
    job = compare.read_compare_request(shlex.split(line)[3:])
    assert len(prepare(job.settings, Model(device="cpu")).engines) == len(job.settings.engines)


@pytest.mark.parametrize("line", [line for line in INFERENCE if line not in COMPARE])
def test_command_lines_are_understood(line, monkeypatch):
    """Every option exists and every value is in bounds; videos that a line before has written count as read."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command_line, "read_video_settings", lambda path: {"prompt": "a red circle"})
    job = command_line.read_request(shlex.split(line)[2:])
    assert job.settings.prompt
    assert job.output is None or job.output.suffix in (".mp4", ".gif")


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("python app.py ")])
def test_the_page_is_started_with_options_it_has(line):
    """Parsed, not served."""
    assert page_options.parser().parse_args(shlex.split(line)[2:]).port > 0


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("python -m training.video_diffusion")])
def test_training_is_asked_for_with_options_it_has(line):
    """Parsed, not run."""
    assert read_config(shlex.split(line)[3:]).course.steps > 0


def test_make_targets_exist():
    """As README and CI call them."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^|`)make (\w+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for code in PYTHON if not re.search(r"Client\(|source=|Extras\(", code)])
def test_python_examples_run(code, tmp_path, monkeypatch):
    """On the shipped checkpoint; what they write is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    if "clip" in names:
        assert (tmp_path / "out.mp4").stat().st_size > 1000
    else:
        assert names["images"].shape == (8, 128, 128, 3)


def test_the_example_with_sources_is_understood():
    """Its settings are valid and its arguments are those of ``generate``; the videos it names are the reader's."""
    (code,) = [code for code in PYTHON if "source=" in code]
    model = mock.create_autospec(Model)
    exec(code, {"Model": model, "TextToVideoSettings": TextToVideoSettings})
    assert model.return_value.generate.call_count == 3


def test_the_example_with_a_lora_is_understood():
    """As above; the files it names are the reader's."""
    (code,) = [code for code in PYTHON if "Extras(" in code]
    model = mock.create_autospec(Model)
    exec(code, {"Model": model, "TextToVideoSettings": TextToVideoSettings})
    assert model.call_args.kwargs["extras"].loras == ["style.safetensors"]


def test_every_file_the_readme_points_to_is_there():
    """No dead links into the repository."""
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    for target in targets:
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_models_named_are_those_of_the_registry():
    """The table in the README and the list on the page are the same, row by row and in no other place."""
    table = README.partition("## Models")[2].partition("\n\n")[2].partition("\n\n")[0]
    names = re.findall(r"`([^`]+)`", "".join(line.split("|")[1] for line in table.splitlines()))
    assert names == [row.name for row in builtin_models.BUILT_IN]
