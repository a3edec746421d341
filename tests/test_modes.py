"""Control, editing and a given first frame through the facade, on tiny networks in folders."""

import dataclasses
import threading

import numpy as np
import pytest

from errors import Cancelled, InvalidPicture, InvalidSettings, InvalidVideo, ModelUnavailable
from generation.job import resolve_settings
from generation.modes import MODES
from generation.sources import fit_picture
from media.metadata import read_metadata
from media.video_io import write_video
from model import Model
from model_manager import builtin_models, memory
from model_manager import loader as loading
from model_manager.loader import Loader
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.video import RunOptions
from settings import EditSettings
from settings.parsing import from_json, parse


@pytest.fixture
def folders(tiny_folders):
    """A checkpoint, ControlNets and an editing UNet."""
    return tiny_folders


@pytest.fixture
def model(steered_model):
    """A checkpoint that draws and follows videos, and one that edits."""
    return steered_model


def settings(mode: str, **changes):
    named = {"control": {"model": "tiny", "control": "canny"}, "pix2pix": {"model": "tiny-edit"}}
    common = {"prompt": "a red circle", "model": "tiny", "num_frames": 3, "num_inference_steps": 3, "seed": 5}
    return parse(common | named.get(mode, {}) | changes, mode)


def video(frames: int = 5, height: int = 96, width: int = 128) -> np.ndarray:
    """A box that moves to the right."""
    pictures = np.full((frames, height, width, 3), 90, np.uint8)
    for frame, picture in enumerate(pictures):
        picture[20:70, 10 + 8 * frame : 50 + 8 * frame] = (250, 220, 50)
    return pictures


@pytest.mark.parametrize("mode", ["control", "pix2pix"])
def test_a_source_becomes_a_clip_of_its_shape(model, mode, tmp_path):
    """As many frames as asked for, in the source's shape; the file inside makes it again with the same source."""
    clip = model.generate(settings(mode, seed=-1), source=video())
    assert clip.frames.shape == clip.control.shape == (3, 96, 128, 3)
    again = from_json(read_metadata(clip.save(tmp_path / "clip.mp4"))["settings"])
    assert again == clip.settings
    assert again.resolution == 96
    assert np.array_equal(model.generate(again, source=video()).frames, clip.frames)


def test_a_file_is_resampled_and_resized(model, tmp_path):
    """Eight frames a second for two seconds, of which every fourth is taken from the first second on."""
    path = write_video(tmp_path / "source.mp4", video(16, 192, 256), 8, {})
    clip = model.generate(settings("control", fps=2, source_start=1.0, num_frames=8, resolution=64), source=path)
    assert clip.frames.shape == (2, 64, 88, 3)
    assert clip.settings.num_frames == 2
    assert "2 frames" in clip.notes[0]


def test_the_control_video_is_what_the_annotator_drew(model):
    """Edges are shown beside the result; a video that already is a control stays as it is."""
    edges = model.generate(settings("control"), source=video()).control
    assert set(np.unique(edges)) == {0, 255}
    ready = model.generate(settings("control", source_is_control=True), source=edges).control
    assert np.array_equal(ready, edges)


def test_modes_share_one_checkpoint_and_never_each_others_weights(model, monkeypatch):
    """Text, control, editing, text again: loaded once, and the last clip is the first."""
    loaded = []
    original = loading.load_components
    monkeypatch.setattr(loading, "load_components", lambda *given: loaded.append(given[0].name) or original(*given))
    before = model.generate(settings("text_to_video")).frames
    model.generate(settings("control"), source=video())
    model.generate(settings("pix2pix"), source=video())
    assert np.array_equal(model.generate(settings("text_to_video")).frames, before)
    assert loaded == ["tiny"]


def test_what_was_used_longest_ago_goes_first(model):
    """A budget for one checkpoint: its ControlNet goes when another comes, it is loaded again when it is asked for."""
    model._loader = Loader("cpu", budget_bytes=1)
    first = model.generate(settings("control"), source=video()).frames
    held = [key[0] for key in model.loader._held]
    assert held == ["checkpoint", "controlnet"]
    model.generate(settings("pix2pix"), source=video())
    assert [key[0] for key in model.loader._held] == ["checkpoint", "unet"]
    assert np.array_equal(model.generate(settings("control"), source=video()).frames, first)


@pytest.mark.parametrize(
    ("control", "message"), [("pose", "ControlNet for pose is not made for"), ("depth", "none is missing, damaged")]
)
def test_a_controlnet_that_does_not_fit_is_one_line(model, control, message):
    """Wrong text width, or nothing there: said without a server path, and the next job runs."""
    with pytest.raises(ModelUnavailable, match=message) as told:
        model.generate(settings("control", control=control, source_is_control=True), source=video())
    assert "/" not in str(told.value)
    assert "\n" not in str(told.value)
    model.generate(settings("control"), source=video())


def test_an_editor_does_not_draw_and_a_painter_does_not_edit(model):
    """Each mode offers its own checkpoints."""
    with pytest.raises(ModelUnavailable, match="tiny-edit is an editing checkpoint: use it with --mode pix2pix"):
        model.generate(settings("text_to_video", model="tiny-edit"))
    with pytest.raises(
        ModelUnavailable, match="tiny is a checkpoint that draws and does not edit: choose one that edits"
    ):
        model.generate(settings("pix2pix", model="tiny"), source=video())


def test_a_bad_source_is_refused_before_anything_is_loaded(model, tmp_path):
    """Nobody waits for a checkpoint to hear that the file is not a video."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"<html>")
    with pytest.raises(InvalidVideo):
        model.generate(settings("control"), source=broken)
    with pytest.raises(InvalidPicture):
        model.generate(settings("text_to_video"), first_frame=broken)
    with pytest.raises(InvalidSettings, match="choose a video"):
        model.generate(settings("control"))
    with pytest.raises(InvalidSettings, match="source: text_to_video takes no video"):
        model.generate(settings("text_to_video"), source=video())
    with pytest.raises(InvalidSettings, match="first_frame: pix2pix takes no first frame"):
        model.generate(settings("pix2pix"), source=video(), first_frame=video()[0])
    with pytest.raises(InvalidSettings, match="from 64 to 2048, not 128x40"):
        model.generate(settings("control"), source=video(height=40))
    assert not model.loader._held


def test_a_view_of_an_array_is_a_source_too(model):
    """Played backwards, which numpy does by negative strides."""
    clip = model.generate(settings("control", source_is_control=True), source=video()[::-1])
    assert np.array_equal(clip.control, video()[:1:-1])


def test_memory_is_given_back_before_the_second_try(model, monkeypatch):
    """What another mode holds goes when a checkpoint does not fit beside it, and then it is loaded."""
    model.generate(settings("control"), source=video())
    original, tries = loading.load_network, []

    def tight(*given, **named):
        tries.append(len(model.loader._held))
        if len(model.loader._held) > 1:
            raise loading.OutOfMemory("edit does not fit")
        return original(*given, **named)

    monkeypatch.setattr(loading, "load_network", tight)
    model.generate(settings("pix2pix"), source=video())
    assert tries == [2, 1]


def test_cancel_is_seen_while_a_source_is_encoded(model):
    """A long source is encoded frame by frame before the first step; nobody waits for its end."""
    cancel, seen = threading.Event(), []
    pipeline = MODES[EditSettings.mode].pipeline(model.loader, model.rows["tiny-edit"], settings("pix2pix"))
    cancel.set()
    original = pipeline.vae.encode
    pipeline.vae.encode = lambda pixels: seen.append(1) or original(pixels)
    try:
        with pytest.raises(Cancelled):
            pipeline("make it night", video(), options=RunOptions(cancel=cancel))
    finally:
        del pipeline.vae.encode
    assert seen == []


def test_what_is_left_open_comes_from_the_checkpoints_row(model):
    """How strongly the text guides a steered video and what estimates its depth are a matter of the checkpoint; what is
    asked for wins, and a finished clip says which it was."""
    row = dataclasses.replace(model.rows["tiny"], steered_guidance_scale=2.5, depth_estimator="toyworld")
    model.rows["tiny"] = row
    chosen = model.generate(settings("control"), source=video()).settings
    assert (chosen.guidance_scale, chosen.depth_estimator) == (2.5, "toyworld")
    asked = settings("control", guidance_scale=1.0, depth_estimator="dpt-hybrid-midas")
    kept = model.generate(asked, source=video()).settings
    assert (kept.guidance_scale, kept.depth_estimator) == (1.0, "dpt-hybrid-midas")


def test_size_and_guidance_left_open_are_the_rows(model):
    """A checkpoint that was trained on wide pictures, or likes little guidance, gets them; what is asked for wins."""
    model.rows["tiny"] = dataclasses.replace(model.rows["tiny"], guidance_scale=2.5, size_px=(72, 64))
    clip = model.generate(settings("text_to_video"))
    assert (clip.settings.guidance_scale, clip.settings.width, clip.settings.height) == (2.5, 72, 64)
    assert clip.frames.shape[1:] == (64, 72, 3)
    asked = model.generate(settings("text_to_video", guidance_scale=1.0, width=64)).settings
    assert (asked.guidance_scale, asked.width, asked.height) == (1.0, 64, 64)


def test_a_checkpoint_that_says_height_and_width_is_drawn_at_both():
    """Its own size may be a pair in its configuration."""
    row = builtin_models.ModelRow("wide", "wide", "wide", "")
    for asked, size in [({}, (96, 64)), ({"width": 128}, (128, 64))]:
        filled, size_px = resolve_settings(settings("text_to_video", **asked), row, own_size_px=(96, 64), source=None)
        assert (filled.width, filled.height) == size_px == size


def test_what_auto_chose_can_be_asked_for(folders):
    """The settings of a finished clip name a model that is in the list, for drawing and for editing."""
    model = Model(device="cpu")
    for edits in (False, True):
        name = model.default(edits=edits)[0].name
        assert model.row(name, edits=edits).name == name


def test_an_editing_checkpoint_that_the_operator_names_edits(folders, tmp_path):
    """Its folder says what it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionInstructPix2PixPipeline"}', "utf-8"
    )
    rows = builtin_models.models([str(tmp_path / "mine"), str(folders / "tiny")])
    assert (rows["mine"].edits, rows["tiny"].edits) == (True, False)


def test_a_machine_that_does_not_say_its_memory_holds_one_checkpoint(monkeypatch, tmp_path):
    """Windows has no sysconf; a container has less than its machine."""
    limit = tmp_path / "memory.max"
    limit.write_text("1000\n")
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", limit)
    assert memory.device_bytes("cpu") == 1000
    limit.write_text("max\n")
    assert memory.device_bytes("cpu") > 10**9
    monkeypatch.delattr("os.sysconf")
    assert memory.device_bytes("cpu") == 0


@pytest.mark.parametrize("mode", ["text_to_video", "control"])
def test_a_given_first_frame_is_frame_0(model, mode):
    """Frame 0 is the picture as the autoencoder alone gives it back; the frames after it are new."""
    picture = video(1)[0]
    given = {} if mode == "text_to_video" else {"source": video()}
    size = {"width": 128, "height": 96} if mode == "text_to_video" else {}
    clip = model.generate(settings(mode, **size), first_frame=picture, **given)
    pipeline = TextToVideoPipeline(**model.loader.components(model.rows["tiny"]), safety_checker=None)
    alone, _ = pipeline.decode_frames(pipeline.encode_first_frame(picture, 96, 128), as_uint8=True)
    assert np.abs(clip.frames[0].astype(int) - alone[0]).max() <= 1
    assert not np.array_equal(clip.frames[1], clip.frames[0])


def test_a_first_frame_of_another_shape_is_cut_around_its_middle():
    """A wide picture loses its sides, a tall one top and bottom; nothing is stretched."""
    wide = np.zeros((100, 400, 3), np.uint8)
    wide[:, 150:250] = 255
    assert (fit_picture(wide, 64, 64) > 250).all()
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    assert (fit_picture(tall, 128, 128) > 250).all()


def test_image_guidance_below_1_keeps_less_to_the_source(model):
    """The original's page went from 0.5 on, and below 1 turned all guidance off without a word."""
    near, below, off = (
        model.generate(settings("pix2pix", **asked), source=video()).frames.astype(int)
        for asked in ({"image_guidance_scale": 1.0}, {"image_guidance_scale": 0.9}, {"guidance_scale": 1.0})
    )
    assert 0 < np.abs(below - near).mean() < np.abs(off - near).mean() / 3


@pytest.mark.parametrize(
    ("mode", "wrong", "message"),
    [
        ("control", {"canny_low": 200, "canny_high": 100}, "canny_low"),
        ("control", {"control_start": 0.5, "control_end": 0.5}, "control_start"),
        ("control", {"control_end": 0.04}, "none of the 3 steps"),
        ("control", {"control": "scribble"}, "control: must be one of"),
        ("control", {"conditioning_scale": float("nan")}, "finite"),
        ("control", {"source_is_control": "yes"}, "true or false"),
        ("pix2pix", {"image_guidance_scale": -0.5}, "at least 0"),
        ("pix2pix", {"resolution": 100}, "multiple of 8"),
        ("pix2pix", {"source_start": -1}, "at least 0"),
        ("pix2pix", {"control": "canny"}, "not a setting"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(mode, wrong, message):
    with pytest.raises(InvalidSettings, match=message):
        settings(mode, **wrong)
