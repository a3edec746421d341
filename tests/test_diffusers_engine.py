"""Pipelines of diffusers, as they are: of the real classes with tiny random weights, and stand-ins that misbehave."""

import gc
import json
import shutil
import threading
import weakref
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from comparison import diffusers_engine
from comparison.diffusers_call import as_video, fitting_length
from comparison.diffusers_engine import VideoPipeline, why_not
from comparison.engine_specs import ENGINES, DiffusersPipeline
from errors import Cancelled, GenerationFailed, InvalidSettings, ModelUnavailable
from model_manager.hub import from_folder_or_hub
from model_manager.networks import networks_of, weights_bytes
from tests import foreign

SMALL = {"height": 16, "width": 16, "num_inference_steps": 2, "guidance_scale": 3.0}
WAN = DiffusersPipeline("", float32_parts=("vae",), call={**SMALL, "max_sequence_length": 16}, frames=(4, 1))
LTX = DiffusersPipeline("", call={**SMALL, "height": 32, "width": 32, "max_sequence_length": 16}, frames=(8, 1))
COGVIDEOX = DiffusersPipeline("", call=SMALL, frames=(8, 1), longest=9)
IMAGES = {**SMALL, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def rows(tmp_path_factory, components):
    """A row for each real class, of a folder with tiny random weights."""
    folder = tmp_path_factory.mktemp("pipelines")
    checkpoint, motion = foreign.write_animatediff(folder, components)
    animatediff = ENGINES["animatediff"].pipeline
    return {
        "animatediff": replace(
            animatediff, source=checkpoint, parts={"motion_adapter": ("MotionAdapter", motion)}, call=IMAGES
        ),
        "wan": replace(WAN, source=foreign.write_wan(folder / "wan")),
        "ltx": replace(LTX, source=foreign.write_ltx(folder / "ltx")),
        "cogvideox": replace(COGVIDEOX, source=foreign.write_cogvideox(folder / "cogvideox")),
        "modelscope": DiffusersPipeline(
            foreign.write_modelscope(folder / "modelscope", components), call=IMAGES, frames=(1, 0)
        ),
    }


@pytest.mark.parametrize(
    ("name", "frames"), [("animatediff", 2), ("wan", 5), ("ltx", 9), ("cogvideox", 9), ("modelscope", 2)]
)
def test_a_video_is_what_diffusers_draws_with_the_same_seed(rows, name, frames):
    """Loaded by folder and called through its signature, each of the real classes gives its own video, of the shortest
    length it can draw that is long enough, and tells of every step."""
    engine, told = VideoPipeline(rows[name], name, "cpu"), []
    video = engine.generate("a red circle", 7, num_frames=2, on_step=told.append)
    call = rows[name].call
    assert (video.dtype, video.shape) == (np.uint8, (frames, call["height"], call["width"], 3))
    assert [(one.step, one.total, one.frames) for one in told] == [(1, 2, frames), (2, 2, frames)]
    assert [(one.fraction, one.preview) for one in told] == [(0.5, None), (1.0, None)]
    assert told[-1].seconds_left == 0
    generator = torch.Generator().manual_seed(7)
    theirs = engine._pipeline(prompt="a red circle", num_frames=frames, generator=generator, output_type="np", **call)
    np.testing.assert_array_equal(video, (theirs.frames[0] * 255).round().astype(np.uint8))
    assert len(np.unique(video)) > 10
    engine.release()


def test_cogvideox_gives_too_many_frames_for_other_lengths(rows):
    """Why its row says 8k + 1: of an even number of latent frames its autoencoder makes four for each, the first too,
    and what should be 5 frames are 8."""
    row = replace(rows["cogvideox"], frames=(4, 1))
    assert len(VideoPipeline(row, "CogVideoX", "cpu").generate("a circle", 1, num_frames=5)) == 8


def test_a_seed_decides_and_a_size_may_be_asked_for(rows):
    """One engine draws any number of videos; sizes of the call come before those of the row."""
    engine = VideoPipeline(rows["wan"], "wan", "cpu")
    first, again, other = (engine.generate("a circle", seed, num_frames=1, width=32) for seed in (1, 1, 2))
    assert first.shape == (1, 16, 32, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_animatediff_gets_its_motion_and_its_scheduler(rows):
    """A still-image checkpoint is read by the class that the row names, with the row's further part and the betas that
    the motion was trained with."""
    engine = VideoPipeline(rows["animatediff"], "AnimateDiff", "cpu")
    engine.load()
    pipeline = engine._pipeline
    assert isinstance(pipeline, diffusers.AnimateDiffPipeline)
    assert isinstance(pipeline.unet, diffusers.UNetMotionModel)
    assert isinstance(pipeline.scheduler, diffusers.DDIMScheduler)
    assert (pipeline.scheduler.config.beta_schedule, pipeline.scheduler.config.clip_sample) == ("linear", False)
    assert pipeline.scheduler.config.beta_end == 0.012  # the checkpoint's own


def test_a_card_gets_the_precisions_of_the_row(rows):
    """Half precision but for the parts that want more; what is read for a processor is all float32."""
    for device, expected in (("cuda", torch.bfloat16), ("cpu", torch.float32)):
        pipeline = diffusers_engine.read_pipeline(replace(rows["wan"], dtype="bfloat16"), "wan", device)
        assert (pipeline.transformer.dtype, pipeline.vae.dtype) == (expected, torch.float32)
        assert pipeline.text_encoder.dtype == expected


@pytest.mark.parametrize("name", ["wan", "modelscope"])
def test_a_cancelled_video_stops_after_the_step(rows, name):
    """By either kind of callback; and it can be drawn with again."""
    engine, cancel, told = VideoPipeline(rows[name], name, "cpu"), threading.Event(), []

    def stop_at_first(progress):
        told.append(progress.step)
        cancel.set()

    with pytest.raises(Cancelled):
        engine.generate("a circle", 1, num_frames=1, on_step=stop_at_first, cancel=cancel)
    assert told == [1]
    with pytest.raises(Cancelled):
        engine.generate("a circle", 1, num_frames=1, on_step=told.append, cancel=cancel)
    assert told == [1]
    cancel.clear()
    assert len(engine.generate("a circle", 1, num_frames=1, cancel=cancel)) == 1


def test_a_size_that_the_pipeline_refuses_is_told_in_its_own_line(rows):
    """Each has its own rule; none of them is known here."""
    with pytest.raises(InvalidSettings, match=r"^Wan 2.1: `height` and `width` have to be divisible by 16 but are 20"):
        VideoPipeline(rows["wan"], "Wan 2.1", "cpu").generate("a circle", 1, height=20)


@pytest.mark.parametrize(
    ("wanted", "frames", "expected"),
    [(1, (1, 0), 1), (7, (1, 0), 7), (1, (4, 1), 1), (2, (4, 1), 5), (5, (4, 1), 5), (10, (8, 1), 17), (3, (2, 8), 8)],
)
def test_a_length_is_never_shorter_than_asked(wanted, frames, expected):
    """The nearest that the row can draw."""
    assert fitting_length(wanted, replace(WAN, frames=frames), "x") == expected


def test_a_length_that_cannot_be_drawn_is_refused():
    """With the longest one that can."""
    with pytest.raises(InvalidSettings, match="draws at most 9 frames, not 10: ask for fewer"):
        fitting_length(10, COGVIDEOX, "CogVideoX")


# What cannot be loaded


def test_what_a_pipeline_will_take_is_known_before_it_is_loaded(rows, tmp_path):
    """From the headers of its files, in the precisions it is read in; not twice where files in half precision lie
    beside them, and without folders that are none of its parts."""
    folder = Path(shutil.copytree(rows["wan"].source, tmp_path / "wan"))
    whole = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shutil.copy(whole, whole.with_name("diffusion_pytorch_model.fp16.safetensors"))
    shutil.copytree(whole.parent, folder / "older")
    row = replace(rows["wan"], source=str(folder), dtype="bfloat16")
    for device, default in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        pipeline = diffusers_engine.read_pipeline(row, "wan", device)
        known = diffusers_engine.folder_bytes(folder, {"default": default, "vae": torch.float32})
        # Of half precision libraries except a few layers.
        assert known == pytest.approx(weights_bytes(networks_of(pipeline.components).values()), rel=0.05)


def test_more_than_all_memory_is_refused_before_the_system_ends_the_program(rows, monkeypatch):
    """Wan in float32 is 28 GB: a server with less said nothing more. A card says by itself that it is full."""
    monkeypatch.setattr(diffusers_engine, "device_bytes", lambda device: 16 * 2**10)
    monkeypatch.setattr(diffusers_engine, "GB", 2**10)
    engine = VideoPipeline(rows["wan"], "Wan", "cpu")
    with pytest.raises(ModelUnavailable, match=r"^Wan needs about \d+\.\d GB of memory.*there are 16\.0 here"):
        engine.load()
    assert engine._pipeline is None
    assert diffusers_engine.read_pipeline(rows["wan"], "Wan", "cuda") is not None
    monkeypatch.setattr(diffusers_engine, "device_bytes", lambda device: 0)  # the system does not say
    engine.load()
    engine.release()


def test_a_pipeline_of_the_hub_is_looked_at_when_it_is_whole(monkeypatch):
    """What is on this machine may be half of it: it is looked at again when the rest has come, and only then loaded."""
    seen, looked = [], []

    class Kind:
        @staticmethod
        def download(source, local_files_only=False, **options):
            return Path("half" if local_files_only else "whole")

        @staticmethod
        def from_pretrained(source, local_files_only=False, **options):
            if local_files_only:
                raise OSError("a file is missing")
            return "loaded"

    def check(folder):
        looked.append(folder.name)
        if seen:
            raise ModelUnavailable("too large")

    monkeypatch.setattr("utils.ask_hub", lambda source: None)
    assert from_folder_or_hub(Kind, "somebody/model", check=check) == "loaded"
    assert looked == ["half", "whole"]
    seen.append("large")
    with pytest.raises(ModelUnavailable, match="too large"):
        from_folder_or_hub(Kind, "somebody/model", check=check)


@pytest.mark.parametrize(
    ("index", "line"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "mine is a StableDiffusionPipeline, which draws no videos"),
        ({"_class_name": "WanImageToVideoPipeline"}, "draws no videos from a text alone: it wants image"),
        ({"_class_name": "AutoencoderKL"}, "no pipeline of the diffusers installed here"),
        ({"_class_name": "ATotallyNewPipeline"}, "no pipeline of the diffusers installed here"),
        ({"_class_name": ["pipeline", "Custom"]}, "code of its own is not run"),
        ({}, "no pipeline of the diffusers installed here"),
        ({"_class_name": "WanPipeline"}, "a file is missing, damaged or not safetensors"),
        (None, "a file is missing, damaged or not safetensors"),
        ("{", "a file is missing, damaged or not safetensors"),
    ],
)
def test_a_folder_that_is_no_such_pipeline_is_refused_in_one_line(tmp_path, index, line):
    """Before weights are looked for, where its index tells; code that lies in it is not run; its path is not told."""
    (tmp_path / "pipeline.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    if index is not None:
        text = index if isinstance(index, str) else json.dumps(index)
        (tmp_path / "model_index.json").write_text(text, "utf-8")
    with pytest.raises(ModelUnavailable, match=line) as error:
        VideoPipeline(DiffusersPipeline(str(tmp_path)), "mine", "cpu").load()
    assert str(tmp_path) not in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_weights_that_could_run_code_are_not_opened(rows, tmp_path):
    """A part that is only there as a pickle is a part that is missing."""
    pipeline = diffusers.WanPipeline.from_pretrained(rows["wan"].source)
    pipeline.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ModelUnavailable, match="not safetensors"):
        VideoPipeline(replace(WAN, source=str(tmp_path)), "wan", "cpu").load()


def test_a_single_file_and_a_path_as_a_name(tmp_path):
    """The line says what to give instead, and calls a path by its last part."""
    (tmp_path / "wan.safetensors").write_bytes(b"")
    source = str(tmp_path / "wan.safetensors")
    with pytest.raises(ModelUnavailable, match=r"^wan is a single file: give a Hub id, or a folder"):
        VideoPipeline(DiffusersPipeline(source), source, "cpu").load()


def test_a_hub_id_that_is_nowhere(monkeypatch):
    """Asked for once; the line says what to check."""

    def nothing(source):
        raise ConnectionError(source)

    monkeypatch.setattr("utils.ask_hub", nothing)
    with pytest.raises(ModelUnavailable, match=r"nobody/nothing is not on this machine.*check the name"):
        VideoPipeline(DiffusersPipeline("nobody/nothing"), "nobody/nothing", "cpu").load()


def test_a_tokenizer_that_wants_another_package_says_which(rows, tmp_path):
    """CogVideoX and LTX-Video bring theirs as spiece.model, which transformers reads with packages of its own."""
    diffusers.LTXPipeline.from_pretrained(rows["ltx"].source).save_pretrained(tmp_path)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(b"no model")
    line = "damaged" if find_spec("sentencepiece") else "LTX needs .* pip install sentencepiece protobuf"
    with pytest.raises(ModelUnavailable, match=line):
        VideoPipeline(replace(LTX, source=str(tmp_path)), "LTX", "cpu").load()
    missing = ImportError("T5Converter requires the protobuf library but it was not found")
    assert why_not(LTX, "LTX", missing).endswith("not installed here: pip install sentencepiece protobuf")
    assert why_not(LTX, "LTX", ImportError("No module named 'x'", name="x")).startswith(
        "LTX needs the Python package x"
    )


# Pipelines that misbehave


class StandIn:
    """Takes what a pipeline takes, gives or raises what it was told to, and remembers what was done to it."""

    def __init__(self, gives=None, raises=None, steps_before=0):
        self.gives, self.raises, self.steps_before = gives, raises, steps_before
        self.done, self.components = [], {"network": torch.nn.Linear(10, 10)}

    def __call__(self, prompt, video_length=4, num_inference_steps=3, callback_on_step_end=None, output_type="pil"):
        self.done.append((prompt, video_length, output_type))
        for step in range(self.steps_before):
            callback_on_step_end(self, step, 0, {})
        if self.raises is not None:
            raise self.raises
        return SimpleNamespace(frames=self.gives)

    def __getattr__(self, name):
        return lambda *arguments, **options: self.done.append((name, *arguments, *options.items()))


def engine_of(stand_in, **row):
    """An engine with this pipeline in place of a loaded one."""
    engine = VideoPipeline(DiffusersPipeline("", **row), "stand-in", "cpu")
    engine._pipeline = stand_in
    return engine


def test_a_pipeline_gets_only_what_it_takes():
    """The row's guidance and size, a generator: this one takes none of them, and calls its length by another name."""
    stand_in = StandIn(gives=np.zeros((1, 6, 8, 8, 3)))
    engine = engine_of(stand_in, call={"guidance_scale": 5.0, "height": 8, "num_frames": 5}, frames=(2, 0))
    assert engine.generate("a circle", 1, width=64).shape == (6, 8, 8, 3)
    assert stand_in.done == [("a circle", 6, "np")]


@pytest.mark.parametrize(
    ("error", "steps", "kind", "line"),
    [
        (torch.OutOfMemoryError("CUDA: tried /srv/x"), 0, GenerationFailed, "ran out of memory on cpu: ask for fewer"),
        (ValueError("`width` is odd\nmore"), 0, InvalidSettings, "stand-in: `width` is odd"),
        (ValueError(), 0, InvalidSettings, "does not take these settings"),
        (ValueError("/srv/x"), 1, GenerationFailed, r"broke down \(ValueError\)"),
        (AttributeError("'NoneType' has no /srv/x"), 0, GenerationFailed, r"broke down \(AttributeError\)"),
    ],
)
def test_what_a_pipeline_raises_is_one_line(error, steps, kind, line):
    """What it says before its first step is about what it was given; later, about itself, and may name paths."""
    engine = engine_of(StandIn(raises=error, steps_before=steps))
    with pytest.raises(kind, match=line) as told:
        engine.generate("a circle", 1)
    assert "\n" not in str(told.value)
    assert "/srv" not in str(told.value)


def test_what_is_none_of_a_pipelines_errors_goes_through():
    """Nothing is caught that is not named."""

    class OursError(Exception):
        pass

    with pytest.raises(OursError):
        engine_of(StandIn(raises=OursError())).generate("a circle", 1)


def test_hooks_are_back_in_order_after_a_call_that_broke_off_and_gone_after_release():
    """Where parts take turns on a card, one of them would stay there."""
    stand_in = StandIn(raises=RuntimeError(), steps_before=1)
    engine = engine_of(stand_in)
    engine._takes_turns = True
    with pytest.raises(GenerationFailed):
        engine.generate("a circle", 1)
    assert stand_in.done[-1] == ("maybe_free_model_hooks",)
    engine.release()
    assert stand_in.done[-1] == ("remove_all_hooks",)
    assert (engine._pipeline, engine._takes_turns) == (None, False)


def test_release_lets_go_of_the_weights(rows):
    """Of all of them; and it may be called at any time."""
    engine = VideoPipeline(rows["wan"], "wan", "cpu")
    engine.release()
    engine.load()
    weights = weakref.ref(engine._pipeline.transformer)
    engine.release()
    gc.collect()
    assert weights() is None


@pytest.mark.parametrize(
    ("free", "expected"), [(2000, ("to", "cuda:1")), (500, ("enable_model_cpu_offload", ("device", "cuda:1")))]
)
def test_parts_take_turns_where_there_is_no_room_for_all(monkeypatch, free, expected):
    """A linear layer of 440 bytes; a card is never filled with weights alone."""
    monkeypatch.setattr(diffusers_engine, "free_card_bytes", lambda device: free)
    monkeypatch.setattr(diffusers_engine, "read_pipeline", lambda *_: stand_in)
    stand_in = StandIn()
    VideoPipeline(DiffusersPipeline(""), "stand-in", "cuda:1").load()
    assert stand_in.done == [("set_progress_bar_config", ("disable", True)), expected]


def test_a_pipeline_that_does_not_fit_at_all(monkeypatch):
    """Nothing is held of what was half loaded."""
    stand_in = StandIn()
    stand_in.to = lambda device: (_ for _ in ()).throw(torch.OutOfMemoryError("no room"))
    monkeypatch.setattr(diffusers_engine, "read_pipeline", lambda *_: stand_in)
    engine = VideoPipeline(DiffusersPipeline(""), "stand-in", "cpu")
    with pytest.raises(ModelUnavailable, match="does not fit into the memory of cpu now"):
        engine.load()
    assert engine._pipeline is None


# What pipelines give

RAMP = np.linspace(0, 1, 2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
EXPECTED = (RAMP * 255).round().astype(np.uint8)
CHANNELS_FIRST = torch.tensor(RAMP).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    "given",
    [
        RAMP,
        RAMP[None],
        [RAMP],
        torch.tensor(RAMP),
        CHANNELS_FIRST,
        CHANNELS_FIRST[None],
        [CHANNELS_FIRST],
        EXPECTED,
        [[Image.fromarray(frame) for frame in EXPECTED]],
        [Image.fromarray(frame) for frame in EXPECTED],
    ],
    ids=["array", "batch", "list", "tensor", "cfirst", "cfirst batch", "cfirst list", "uint8", "pictures", "flat"],
)
def test_whatever_a_pipeline_gives_becomes_frames(given):
    """uint8 (f, h, w, 3)."""
    video = as_video(given, "x")
    assert video.dtype == np.uint8
    np.testing.assert_array_equal(video, EXPECTED)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read(dtype):
    """numpy has no bfloat16."""
    assert np.abs(as_video(CHANNELS_FIRST.to(dtype), "x").astype(int) - EXPECTED).max() <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_black_video(bad):
    """One is enough."""
    values = RAMP.copy()
    values[1, 2, 3, 0] = bad
    with pytest.raises(GenerationFailed, match="not finite"):
        as_video(values, "x")


@pytest.mark.parametrize("given", [[], np.zeros((1, 0, 8, 8, 3)), np.zeros((4, 8, 8)), np.zeros((4, 8, 8, 4)), None])
def test_what_is_no_video_is_said(given):
    """Latents, sounds, nothing."""
    with pytest.raises(GenerationFailed, match="gave no video"):
        as_video(given, "x")
