"""The table of control kinds: a new kind is one row, and everything else learns of it from there."""

from dataclasses import replace

import numpy as np
import pytest

import inference
from annotators.base import keep_going
from annotators.controls import (
    CONTROLS,
    DEPTH_ESTIMATORS,
    SD1_CONTROLNETS,
    ControlKind,
    kind_of_file,
    settings_of_others,
)
from errors import InvalidSettings
from media.video_io import write_video
from settings import ControlSettings, field_facts
from settings.parsing import parse
from web.tabs import control_tab

BUILT_IN = ["canny", "depth", "pose"]


class Brightness:
    """A made-up annotator: pixels brighter than the low threshold of edges."""

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, frames, before_frame=keep_going):
        before_frame(0)
        return np.repeat(np.where(frames.max(axis=3, keepdims=True) > self.threshold, 255, 0), 3, 3).astype(np.uint8)

    def release(self):
        """Nothing is held."""


@pytest.fixture
def brightness(monkeypatch, tiny_folders):
    """The name of a fourth kind, which is gone again after the test."""
    kind = ControlKind(
        lambda device, canny_low: Brightness(canny_low),
        words=("brightness",),
        settings=("canny_low",),
        controlnet=str(tiny_folders / "control"),
    )
    monkeypatch.setitem(CONTROLS, "brightness", kind)
    return "brightness"


def wanted(**changes):
    values = {"prompt": "a red circle", "model": "tiny", "num_frames": 2, "num_inference_steps": 2, "seed": 5}
    return values | {"control": "brightness", "canny_low": 150} | changes


@pytest.fixture
def video():
    """A bright box on dark ground, 2 frames."""
    frames = np.full((2, 96, 128, 3), 90, np.uint8)
    frames[:, 20:70, 10:50] = (250, 220, 50)
    return frames


def test_a_registered_kind_steers_a_clip(steered_model, brightness, video):
    """Annotator and ControlNet come from the row, and its own settings reach the annotator."""
    row = replace(steered_model.rows["tiny"], controlnets=SD1_CONTROLNETS)
    steered_model.rows["tiny"] = row
    clip = steered_model.generate(parse(wanted(), "control"), source=video)
    assert clip.settings.control == brightness
    assert (clip.control[:, 20:70, 10:50] == 255).all()
    assert clip.control.mean() == pytest.approx(255 * 50 * 40 / (96 * 128))
    assert not steered_model.generate(
        parse(wanted(canny_low=252, canny_high=255), "control"), source=video
    ).control.any()


def test_the_command_line_draws_with_a_registered_kind(brightness, video, tiny_folders, tmp_path, capsys):
    """And its help lists it, as the page's choices do."""
    source, output = write_video(tmp_path / "source.mp4", video, 4, {}), tmp_path / "clip.mp4"
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in wanted().items() if name not in ("prompt", "model")
    ]
    model = str(tiny_folders / "tiny")
    assert (
        inference.main(["a star", "--mode=control", f"--model={model}", f"--source={source}", f"-o={output}", *options])
        == 0
    )
    assert output.exists()
    with pytest.raises(SystemExit):
        inference.main(["--mode=control", "--help"])
    assert '"pose", "brightness"' in " ".join(capsys.readouterr().out.split())


def test_everything_asks_the_table(brightness):
    """Settings, their schema, files of ControlNets and a tab know the new kind; then it is gone without a trace."""
    assert field_facts(ControlSettings)["control"]["enum"] == [*BUILT_IN, brightness]
    assert kind_of_file("control_v11p_Brightness.safetensors") == brightness
    assert SD1_CONTROLNETS[brightness]
    assert settings_of_others(brightness) == ("canny_high", "depth_estimator")
    assert control_tab(brightness, "Brightness", "Video").fixed == {"control": brightness}


def test_the_settings_name_the_depth_estimators_that_there_are():
    """And "auto", which the checkpoint's row fills in."""
    assert field_facts(ControlSettings)["depth_estimator"]["enum"] == ["auto", *DEPTH_ESTIMATORS]


def test_unknown_kinds_are_refused_in_the_words_of_the_table():
    """After the tests above, the kinds are the built-in ones."""
    assert list(CONTROLS) == list(SD1_CONTROLNETS) == field_facts(ControlSettings)["control"]["enum"] == BUILT_IN
    for wrong in ("brightness", 5, None, ["canny"]):
        with pytest.raises(InvalidSettings, match=r"^control: must be one of 'canny', 'depth' or 'pose'$"):
            parse(wanted(control=wrong), "control")
