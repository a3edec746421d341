"""The console shows what is for the user, and nothing of the libraries."""

import importlib
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from utils import IMPORTING_MODULE

ROOT = Path(__file__).parents[1]
LONG = "a red circle " * 40
DEPTH = ["a red circle", "--mode", "control", "--control", "depth", "--source", "examples/depth-walk.mp4"]


@pytest.mark.parametrize("package", ["pipelines", "training", "benchmarks"])
def test_no_import_remarks_on_torchvision(package):
    """The pipelines as classes and the commands of training import diffusers at once, before a Model can quiet it."""
    logger = logging.getLogger(IMPORTING_MODULE)
    logger.setLevel(logging.NOTSET)
    importlib.reload(importlib.import_module(package))
    assert not logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(("mode", "notes"), [([LONG], r"note: The prompt is \d+ tokens long[^\n]*\n"), (DEPTH, "")])
def test_the_command_line_says_what_is_for_the_user(tmp_path, mode, notes):
    """The video's path and the program's notes; no notices, deprecations or progress bars of libraries, which would
    come on the way through tokenizer, estimator, ControlNet, pipeline and scheduler."""
    short = ["--num-frames", "2", "--num-inference-steps", "2", "--seed", "3", "-o", str(tmp_path / "clip.gif")]
    command = [sys.executable, "inference.py", *mode, *short]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.fullmatch(notes, done.stderr), done.stderr
    assert re.fullmatch(r"\S+clip\.gif  seed 3  [\d.]+ s\n", done.stdout)
