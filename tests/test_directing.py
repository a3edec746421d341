"""Directed videos: a prompt for every frame, in the pipelines, the model and the command line."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from errors import InvalidSettings, InvalidStoryboard
from evaluation import storyboards
from model import Model
from model_manager import builtin_models
from pipelines.attention import CrossFrame
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.video import RunOptions
from settings import DirectorSettings
from settings.parsing import from_json, to_json
from toyworld.render import render

FRAMES = 4
DIFFERENT = ("a red circle", "", "a blue star", "a green square")


def latents(pipeline, prompts=None, prompt="a red circle", attention=None, chunk_size=None, **changes):
    """Four frames in six steps, without motion and from one noise."""
    values = {
        "num_inference_steps": 6,
        "motion_field": False,
        "shared_noise": True,
        "output_type": "latent",
        "generator": torch.Generator().manual_seed(5),
        "options": RunOptions(chunk_size, attention or CrossFrame()),
    }
    return pipeline(prompt, FRAMES, 64, 64, frame_prompts=prompts, **values | changes).images


def test_the_same_prompt_in_every_frame_is_text_to_video(video_pipeline):
    """Frame prompts that are equal, or one that holds, change nothing; with motion as without."""
    for changes in ({}, {"motion_field": True, "t0": 2, "t1": 4}):
        expected = latents(video_pipeline, **changes)
        for prompts in (["a red circle"] * FRAMES, ["", "a red circle", "", ""]):
            torch.testing.assert_close(latents(video_pipeline, prompts, "something else", **changes), expected)


def test_frame_0_has_its_own_text_from_the_first_step(video_pipeline):
    """DirecT2V's published code denoises it by two negative embeddings for most of the steps: there it is no still
    picture of its prompt, here it is."""
    video = latents(video_pipeline, DIFFERENT)
    torch.testing.assert_close(video[:1], latents(video_pipeline, None, DIFFERENT[0])[:1])
    moving = {"motion_field": True, "t0": 2, "t1": 4}
    video = latents(video_pipeline, DIFFERENT, **moving)
    torch.testing.assert_close(video[:1], latents(video_pipeline, None, DIFFERENT[0], **moving)[:1])


@pytest.mark.parametrize(
    "attention",
    [
        CrossFrame(),
        CrossFrame(period=1),
        CrossFrame(filtered=0.3),
        CrossFrame(period=2, filtered=0.3),
        CrossFrame(anchors="previous"),
        CrossFrame(anchors="first + previous", filtered=0.3),
        CrossFrame(enabled=False),
    ],
)
def test_any_chunk_size_gives_the_same_directed_video(video_pipeline, attention):
    """Also where the chunk with the anchor is not the first one."""
    whole = latents(video_pipeline, DIFFERENT, attention=attention)
    for chunk_size in (1, 3):
        torch.testing.assert_close(
            latents(video_pipeline, DIFFERENT, attention=attention, chunk_size=chunk_size), whole
        )


def test_every_option_of_attention_matters(video_pipeline):
    """None of them is forgotten on the way to the layers."""
    options = [{}, {"period": 1}, {"filtered": 0.5}, {"anchors": "all"}, {"blocks": ("up_blocks",)}]
    videos = [latents(video_pipeline, DIFFERENT, attention=CrossFrame(**values)) for values in options]
    for index, video in enumerate(videos):
        assert not any(torch.allclose(video, other, atol=1e-4) for other in videos[:index])


def test_a_frame_in_between_is_between(video_pipeline):
    """Its text is a blend, so with frames to themselves it is neither neighbour's picture; written frames are their own
    prompts' pictures."""
    alone = CrossFrame(enabled=False)
    video = latents(video_pipeline, DIFFERENT, attention=alone)
    red, blue = (latents(video_pipeline, None, DIFFERENT[frame], attention=alone)[:1] for frame in (0, 2))
    torch.testing.assert_close(video[2:3], blue)
    distances = [float((video[1:2] - end).norm()) for end in (red, blue)]
    assert 0 < max(distances) < float((red - blue).norm())


def test_controlled_frames_have_their_own_prompts(control_pipeline):
    """The ControlNet hears each frame's text as well."""
    control = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)

    def run(prompts=None, chunk_size=None):
        return control_pipeline(
            "a red circle",
            control,
            num_inference_steps=3,
            output_type="latent",
            generator=torch.Generator().manual_seed(1),
            frame_prompts=prompts,
            options=RunOptions(chunk_size),
        ).images

    torch.testing.assert_close(run(["a red circle", "", ""]), run())
    different = run(["a red circle", "", "a blue star"])
    torch.testing.assert_close(run(["a red circle", "", "a blue star"], chunk_size=1), different)
    assert not torch.allclose(different[1:], run()[1:], atol=1e-4)
    with pytest.raises(ValueError, match="2 frame_prompts for 3 frames"):
        run(["a", "b"])


def test_settings_of_a_directed_video_travel_as_they_are():
    """Storyboard, anchors and filter survive JSON."""
    settings = DirectorSettings(prompt="x", storyboard="a -> b", anchor_period=4, match_filter=0.05)
    assert from_json(to_json(settings)) == settings
    assert settings.motion_field is False


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"anchor_period": 4, "anchors": "previous"}, "anchor_period"),
        ({"anchors": "all", "chunk_size": 2}, "chunk_size"),
        ({"match_filter": 1.0}, "match_filter|less than"),
        ({"storyboard": "\x00"}, "control character"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    """In one line that names the setting."""
    with pytest.raises(ValueError, match=message):
        DirectorSettings(prompt="x", **wrong)


def test_a_storyboard_of_another_length_is_told_before_anything_is_loaded():
    """In the words of the settings; no checkpoint is touched."""
    model = Model(device="cpu")
    text = "frames: 3\nprompts: {0: a, 2: b}"
    with pytest.raises(InvalidSettings, match=r"3 frames, the video 8"):
        model.generate(DirectorSettings(prompt="x", storyboard=text))
    with pytest.raises(InvalidStoryboard, match="9 moments for 8 frames"):
        model.generate(DirectorSettings(prompt="->".join("abcdefghi")))
    assert model._loader is None


def test_true_pictures_follow_their_storyboard():
    """The yardstick: what is drawn as the storyboard says is measured so, and nothing else is."""
    for board in storyboards.boards(10):
        frames = np.stack([render(scene).image for scene in board.scenes(6)])
        found = storyboards.followed(board, frames)
        assert all(found["follows"])
        assert all(found["keeps"])
        assert max(found.get("jumps", [0])) < 0.03
        assert not any(storyboards.followed(board, frames[::-1])["follows"][:2])


def test_stable_diffusion_xl_is_directed_as_well(xl_pipeline):
    """Both text encoders, and the pooled text beside them, are each frame's own."""

    def run(prompts=None, prompt="a red circle", chunk_size=None):
        return xl_pipeline(
            prompt,
            video_length=3,
            height=64,
            width=64,
            num_inference_steps=3,
            motion_field=False,
            shared_noise=True,
            output_type="latent",
            generator=torch.Generator().manual_seed(1),
            frame_prompts=prompts,
            options=RunOptions(chunk_size),
        ).images

    torch.testing.assert_close(run(["a red circle", "", ""], "something else"), run())
    different = run(["a red circle", "", "a blue star"])
    torch.testing.assert_close(run(["a red circle", "", "a blue star"], chunk_size=1), different, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(different[1:], run()[1:], atol=1e-4)


def test_every_frame_gets_the_trigger_words():
    """What a checkpoint's row adds to a prompt it adds to each one that is written, and blends stay blends."""
    model = Model(device="cpu")
    style = replace(builtin_models.TOYWORLD, name="styled", trigger="a drawing of")
    model.rows = {**model.rows, "styled": style}
    told = []

    def remember(self, **arguments):
        told.append(arguments["frame_prompts"])
        return np.zeros((3, 128, 128, 3), np.uint8), None

    with mock.patch.object(TextToVideoPipeline, "__call__", remember):
        model.generate(DirectorSettings(prompt="a red circle -> a blue circle", model="styled", num_frames=3))
    assert told == [("a drawing of, a red circle", "", "a drawing of, a blue circle")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "itself"),
        ({"anchors": "previous"}, "previous"),
        ({"anchor_period": 4}, "first"),
        ({"match_filter": 0.1}, "first"),
    ],
)
def test_whom_frames_attend_to_comes_from_the_checkpoint(changes, expected):
    """Unless something is asked for that only an anchor has; what was taken is recorded."""
    model = Model(device="cpu")
    frames = np.zeros((2, 128, 128, 3), np.uint8)
    with mock.patch.object(TextToVideoPipeline, "__call__", return_value=(frames, None)):
        clip = model.generate(DirectorSettings(prompt="a -> b", model="toyworld", num_frames=2, **changes))
    assert clip.settings.anchors == expected
