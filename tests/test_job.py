"""The way of a job from ``Model.generate`` to the denoising loop: short, and no file visited again and again."""

import dataclasses
import re
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import pipelines.denoising
from settings import GenerationSettings
from settings.parsing import parse

ROOT = Path(__file__).parents[1]
LOOP = pipelines.denoising.__file__


def holds_settings(value, depth=2):
    """Whether a value is a job's settings, or a record that they are in."""
    if isinstance(value, GenerationSettings):
        return True
    if not depth or isinstance(value, type) or not dataclasses.is_dataclass(value):
        return False
    return any(holds_settings(getattr(value, field.name, None), depth - 1) for field in dataclasses.fields(value))


class Way:
    """A profiler: the program's functions that are called with settings, as (file, name), until the loop begins."""

    def __init__(self):
        self.calls = []
        self.arrived = False

    def __call__(self, frame, event, _):
        code = frame.f_code
        ours = code.co_filename.startswith(str(ROOT)) and "site-packages" not in code.co_filename
        if event != "call" or self.arrived or not ours:
            return
        self.arrived = code.co_filename == LOOP
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if not self.arrived and any(holds_settings(frame.f_locals.get(name)) for name in arguments):
            self.calls.append((code.co_filename.removeprefix(f"{ROOT}/"), code.co_qualname))

    def visits(self):
        """How often the settings come into each file from another one."""
        return Counter(file for file, _ in groupby(file for file, _ in self.calls))


@pytest.mark.parametrize("mode", ["text_to_video", "direct", "control", "pix2pix"])
def test_settings_pass_few_functions_before_the_loop(steered_model, mode):
    """At most twelve functions in six files, and no file is come back to more than once."""
    given = {"source": np.zeros((2, 64, 64, 3), np.uint8)} if mode in ("control", "pix2pix") else {}
    values = {"prompt": "a red circle -> a blue star", "num_frames": 2, "num_inference_steps": 2, "model": "tiny"}
    values |= {"control": {"control": "canny"}, "pix2pix": {"model": "tiny-edit"}}.get(mode, {})
    settings = parse(values, mode)
    way = Way()
    sys.setprofile(way)
    try:
        steered_model.generate(settings, **given)
    finally:
        sys.setprofile(None)
    assert way.arrived
    assert way.calls[0] == ("model.py", "Model.generate")
    assert len(set(way.calls)) <= 12, way.calls
    assert len(way.visits()) <= 6, way.visits()
    assert max(way.visits().values()) <= 2, way.visits()


def test_only_the_table_tells_one_mode_from_another():
    """Everywhere else a difference between modes is a field of their rows, and no question of a settings' class."""
    asking = re.compile(r"(isinstance\([\w.]*settings,|type\([\w.]*settings\))")
    folders = ("annotators", "cli", "comparison", "director", "generation", "model_manager", "pipelines", "web")
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in (ROOT / folder).rglob("*.py"))]
    assert [str(file) for file in files if asking.search(file.read_text("utf-8"))] == []
