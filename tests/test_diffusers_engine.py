"""Pipelines of diffusers, as they are: of the real classes with tiny random weights, and stand-ins that misbehave."""

import gc
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from comparison import diffusers_engine
from comparison.diffusers_engine import VideoPipeline
from comparison.engine_specs import DiffusersPipeline
from errors import Cancelled, GenerationFailed, InvalidSettings, ModelUnavailable


@pytest.mark.parametrize(
    ("name", "frames"), [("animatediff", 2), ("wan", 5), ("ltx", 9), ("cogvideox", 9), ("modelscope", 2)]
)
def test_a_video_is_what_diffusers_draws_with_the_same_seed(rows, name, frames):
    """Loaded by folder and called through its signature, each of the real classes gives its own video, of the shortest
    length it can draw that is long enough, and tells of every step."""
    engine, told = VideoPipeline(rows[name], name, "cpu"), []
    video = engine.generate("a red circle", 7, {"num_frames": 2}, on_step=told.append)
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
    assert len(VideoPipeline(row, "CogVideoX", "cpu").generate("a circle", 1, {"num_frames": 5})) == 8


def test_a_seed_decides_and_a_size_may_be_asked_for(rows):
    """One engine draws any number of videos; sizes of the call come before those of the row."""
    engine = VideoPipeline(rows["wan"], "wan", "cpu")
    first, again, other = (engine.generate("a circle", seed, {"num_frames": 1, "width": 32}) for seed in (1, 1, 2))
    assert first.shape == (1, 16, 32, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", ["wan", "modelscope"])
def test_a_cancelled_video_stops_after_the_step(rows, name):
    """By either kind of callback; and it can be drawn with again."""
    engine, cancel, told = VideoPipeline(rows[name], name, "cpu"), threading.Event(), []

    def stop_at_first(progress):
        told.append(progress.step)
        cancel.set()

    with pytest.raises(Cancelled):
        engine.generate("a circle", 1, {"num_frames": 1}, on_step=stop_at_first, cancel=cancel)
    assert told == [1]
    with pytest.raises(Cancelled):
        engine.generate("a circle", 1, {"num_frames": 1}, on_step=told.append, cancel=cancel)
    assert told == [1]
    cancel.clear()
    assert len(engine.generate("a circle", 1, {"num_frames": 1}, cancel=cancel)) == 1


def test_a_size_that_the_pipeline_refuses_is_told_in_its_own_line(rows):
    """Each has its own rule; none of them is known here."""
    with pytest.raises(InvalidSettings, match=r"^Wan 2.1: `height` and `width` have to be divisible by 16 but are 20"):
        VideoPipeline(rows["wan"], "Wan 2.1", "cpu").generate("a circle", 1, {"height": 20})


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
    assert engine.generate("a circle", 1, {"width": 64}).shape == (6, 8, 8, 3)
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
    monkeypatch.setattr(diffusers_engine, "load_pipeline", lambda *_: stand_in)
    stand_in = StandIn()
    VideoPipeline(DiffusersPipeline(""), "stand-in", "cuda:1").load()
    assert stand_in.done == [("set_progress_bar_config", ("disable", True)), expected]


def test_a_pipeline_that_does_not_fit_at_all(monkeypatch):
    """Nothing is held of what was half loaded."""
    stand_in = StandIn()
    stand_in.to = lambda device: (_ for _ in ()).throw(torch.OutOfMemoryError("no room"))
    monkeypatch.setattr(diffusers_engine, "load_pipeline", lambda *_: stand_in)
    engine = VideoPipeline(DiffusersPipeline(""), "stand-in", "cpu")
    with pytest.raises(ModelUnavailable, match="does not fit into the memory of cpu now"):
        engine.load()
    assert engine._pipeline is None
