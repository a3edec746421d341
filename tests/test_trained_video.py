"""Checkpoints that were trained on videos: diffusers' latents in our loop, and one line for what they cannot do."""

import json
import pickle
import threading
import warnings
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import TextToVideoSDPipeline

import app
from errors import Cancelled, InvalidSettings, ModelUnavailable
from model import Model
from model_manager import builtin_models
from pipelines.trained_video import Passage, TrainedVideoPipeline, skip_silent_entry
from pipelines.video import RunOptions
from settings import ControlSettings, DirectorSettings, TextToVideoSettings
from tests.foreign import modelscope_parts
from web.tabs import Tab

FRAMES = 5


@pytest.fixture
def parts(components):
    """The tiny parts with a 3D UNet of random weights, its entry too."""
    return modelscope_parts(components, 16)


@pytest.fixture
def pipeline(parts):
    pipeline = TrainedVideoPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline, **changes):
    """Latents of five frames in three steps."""
    values = {"num_inference_steps": 3, "output_type": "latent", "generator": torch.Generator().manual_seed(5)}
    return pipeline("a red circle", FRAMES, 64, 64, **values | changes).images


def theirs_of(parts):
    """diffusers' pipeline of the same parts; it warns that nobody keeps it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = TextToVideoSDPipeline(**parts)
    theirs.set_progress_bar_config(disable=True)
    return theirs


@pytest.mark.parametrize("guidance_scale", [7.5, 1.0])
def test_latents_are_those_of_diffusers(pipeline, parts, guidance_scale):
    """The same noise, the same text, with guidance and without."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for _ in range(FRAMES)])
    expected = theirs_of(parts)(
        "a red circle",
        64,
        64,
        FRAMES,
        num_inference_steps=3,
        guidance_scale=guidance_scale,
        latents=noise.permute(1, 0, 2, 3)[None],
        output_type="latent",
    ).frames
    ours = run(pipeline, guidance_scale=guidance_scale)
    torch.testing.assert_close(ours, expected[0].permute(1, 0, 2, 3), atol=1e-4, rtol=1e-4)


def test_an_entry_that_does_nothing_is_skipped(parts):
    """And one that does something is not."""
    unet = parts["unet"]
    skip_silent_entry(unet)
    assert not isinstance(unet.transformer_in, Passage)
    for parameter in unet.transformer_in.proj_out.parameters():
        torch.nn.init.zeros_(parameter)
    sample, text = torch.randn(1, 4, 3, 8, 8), torch.randn(1, 6, 16)
    with torch.no_grad():
        expected = unet(sample, 500, text).sample
        skip_silent_entry(unet)
        assert isinstance(unet.transformer_in, Passage)
        torch.testing.assert_close(unet(sample, 500, text).sample, expected)
        skip_silent_entry(unet)


def test_the_chunk_size_does_not_tear_frames_apart(pipeline):
    """They are drawn together whatever it says."""
    torch.testing.assert_close(run(pipeline, options=RunOptions(2)), run(pipeline))


def test_it_stops_when_it_is_told_to(pipeline):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        run(pipeline, options=RunOptions(cancel=cancel))


@pytest.mark.parametrize("wrong", [{"frame_prompts": ["a"] * FRAMES}, {"first_frame": np.zeros((64, 64, 3), np.uint8)}])
def test_what_it_cannot_do_is_refused(pipeline, wrong):
    with pytest.raises(ValueError, match="trained on videos"):
        run(pipeline, **wrong)


@pytest.fixture
def model(parts, tmp_path):
    """A model with such a checkpoint in a folder, as diffusers saves it, among its rows."""
    theirs_of(parts).save_pretrained(tmp_path / "video")
    assert json.loads((tmp_path / "video" / "model_index.json").read_text())["_class_name"] == "TextToVideoSDPipeline"
    model = Model(device="cpu")
    row = replace(builtin_models.TOYWORLD, name="video", label="Video", source=str(tmp_path / "video"))
    model.rows = {**model.rows, "video": row}
    return model


def test_a_folder_that_diffusers_saved_makes_a_clip(model):
    """Through the same door as every other checkpoint; what a chunk size or a motion says has no meaning there."""
    settings = TextToVideoSettings(prompt="a red circle", model="video", num_frames=3, num_inference_steps=2, seed=1)
    clip = model.generate(settings.model_copy(update={"width": 64, "height": 64}))
    assert clip.frames.shape == (3, 64, 64, 3)
    assert (clip.settings.model, clip.settings.chunk_size) == ("video", 3)


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        (DirectorSettings(prompt="a -> b", model="video"), {}, "draws all frames from one prompt"),
        (TextToVideoSettings(prompt="a", storyboard="a -> b", model="video"), {}, "draws all frames from one prompt"),
        (TextToVideoSettings(prompt="a", model="video"), {"first_frame": True}, "begins by itself"),
        (ControlSettings(prompt="a", control="canny", model="video"), {"source": True}, "no control with those here"),
    ],
)
def test_what_only_image_checkpoints_can_is_one_line(model, settings, given, words):
    """Nothing is drawn by half."""
    pictures = {"first_frame": np.zeros((64, 64, 3), np.uint8), "source": np.zeros((2, 64, 64, 3), np.uint8)}
    with pytest.raises((InvalidSettings, ModelUnavailable), match=words):
        model.generate(settings, **{name: pictures[name] for name in given})


def saved(parts, folder, **options):
    """A folder with the model, as its maker would publish it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs_of(parts).save_pretrained(folder, **options)
    return folder


def test_pickles_are_read_as_weights_alone_and_only_where_the_row_says_that_there_is_nothing_else(parts, tmp_path):
    """Zeroscope was never published as safetensors. A pickle that would run code is refused even there."""
    folder = saved(parts, tmp_path / "pickled", safe_serialization=False)
    model = Model(models=[str(folder)], device="cpu")
    settings = TextToVideoSettings(prompt="a star", model="pickled", num_frames=2, num_inference_steps=2)
    with pytest.raises(ModelUnavailable, match="not safetensors"):
        model.generate(settings)
    model.rows["pickled"] = replace(model.rows["pickled"], pickled=True)
    assert len(model.generate(settings).frames) == 2
    model.release()
    (weights,) = (folder / "unet").glob("*.bin")
    weights.write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    with pytest.raises(ModelUnavailable):
        model.generate(settings)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Writes a file when it is unpickled without care."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_a_folder_says_of_itself_that_it_was_trained_on_videos(parts, tmp_path):
    """So tabs in which it can do nothing do not offer it."""
    folder = saved(parts, tmp_path / "mine")
    row = builtin_models.models([str(folder)])["mine"]
    offering = [tab.label for tab in app.all_tabs() if isinstance(tab, Tab) and tab.suits(row)]
    assert offering == ["Text to video"]
    assert [
        tab.label for tab in app.all_tabs() if isinstance(tab, Tab) and tab.suits(builtin_models.MODELSCOPE)
    ] == offering


def test_a_model_is_loaded_before_its_job_and_let_go_after_it(parts, tmp_path):
    """What a comparison does between two engines; nothing of the first is left in memory."""
    model = Model(models=[str(saved(parts, tmp_path / "mine"))], device="cpu")
    model.load(TextToVideoSettings(prompt="a star", model="mine"))
    unet = weakref.ref(model.loader.components(model.rows["mine"])["unet"])
    assert unet() is not None
    model.release()
    assert unet() is None
