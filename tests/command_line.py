"""A stand-in for the model behind the command line, and what its tests have in common."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

import inference
from errors import Cancelled
from media.video_io import write_video
from model_manager.catalogue import read_catalogue
from settings.parsing import to_json


class FakeModel:
    """Paints one plain frame per frame, and remembers what it was asked; ``during`` reaches into the job."""

    looks_at_cancel = True
    made: list["FakeModel"] = []
    notes: tuple[str, ...] = ()

    def __init__(self, models_named=(), device=None, extras=None):
        self.catalogue, self.device = read_catalogue(models_named, extras), device
        self.rows = self.catalogue.models
        self.made.append(self)

    @staticmethod
    def during(cancel):
        """What happens in the middle of a job."""

    def generate(self, settings, on_step=None, cancel=None, **given):
        self.settings, self.given = settings.resolved(), given
        on_step(SimpleNamespace(step=1, total=2, frame=8, frames=8, fraction=0.5, seconds=1.0, seconds_left=1.0))
        self.during(cancel)
        if self.looks_at_cancel and cancel.is_set():
            raise Cancelled
        frames = np.full((settings.num_frames, 64, 64, 3), settings.num_frames, np.uint8)
        metadata = {"settings": to_json(self.settings)}
        drawn_by = "toyworld" if settings.model == "auto" else settings.model
        return SimpleNamespace(
            settings=self.settings.model_copy(update={"model": drawn_by}),
            seconds=1.25,
            notes=self.notes,
            save=lambda path: write_video(path, frames, settings.fps, metadata),
        )


def use_fake_model(monkeypatch: pytest.MonkeyPatch, folder: Path) -> type[FakeModel]:
    """The fake in place of model.py, an empty list of what was made, and a folder to work in."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("T2V_MODELS", raising=False)
    kind = type("Model", (FakeModel,), {"made": []})
    monkeypatch.setitem(
        sys.modules, "model", SimpleNamespace(Model=lambda models, device, extras: kind(models, device, extras))
    )
    return kind


def assert_refused(capsys, arguments, said):
    """Exit code 2, and one readable line that begins with "error:"."""
    capsys.readouterr()
    assert inference.main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(r"error: [^\n]{1,510}\n", errors), errors
    assert said in errors


def write_lora(path: Path) -> None:
    """A small file under the names of one, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"lora_unet_x.lora_down.weight": np.zeros((1, 4), np.float32)}, path)


def raiser(error: BaseException):
    """A function that takes anything and raises."""

    def fail(*_, **__):
        raise error

    return fail
