"""What may be asked for: every bad value is refused with a reason, and no good one is changed."""

import json
from pathlib import Path

import pytest
import yaml

from errors import InvalidSettings
from model_manager.options import EXTRAS
from settings import MAX_SEED, TextToVideoSettings, check_pixels
from settings.parsing import from_json, parse, read_mapping, to_json

NAN, INFINITY = float("nan"), float("inf")
EVERYTHING = {
    "prompt": 'a "red" circle: on green grass # 🎬\nsecond line',
    "negative_prompt": "grüne {0} $(id)",
    "style": "anime",
    "model": "toyworld",
    "lora": "style",
    "lora_scale": 0.5,
    "vae": "soft",
    "num_frames": 16,
    "fps": 8,
    "seed": MAX_SEED,
    "width": 136,
    "height": 72,
    "num_inference_steps": 50,
    "guidance_scale": 7.25,
    "scheduler": "ddim",
    "motion_field_strength_x": -3.5,
    "motion_field_strength_y": 0.0,
    "motion_window": (600, 700),
    "chunk_size": 4,
    "cross_frame_attention": False,
    "anchors": "first",
    "anchor_period": 4,
    "match_filter": 0.05,
    "attention_blocks": "decoder",
    "storyboard": "a red circle -> 🎬",
    "motion_field": False,
}
# The entries of HOSTILE.md under Numbers and Choices: setting, value, and what the reply must say.
REFUSED = [
    ("num_inference_steps", 101, "at most 100"),
    ("num_inference_steps", 0, "at least 2"),
    ("num_inference_steps", -1, "at least 2"),
    ("num_inference_steps", NAN, "whole number"),
    ("num_inference_steps", INFINITY, "whole number"),
    ("num_inference_steps", -INFINITY, "whole number"),
    ("num_inference_steps", None, "not nothing"),
    ("num_inference_steps", "20", "whole number"),
    ("num_inference_steps", [20], "whole number"),
    ("num_inference_steps", {}, "whole number"),
    ("num_inference_steps", True, "whole number"),
    ("num_frames", 8.6, "whole number"),
    ("num_frames", NAN, "whole number"),
    ("num_frames", 0, "at least 1"),
    ("num_frames", -8, "at least 1"),
    ("num_frames", 10**9, "at most 1024"),
    ("width", 15, "at least 64"),
    ("width", 65, "multiple of 8"),
    ("height", 513, "multiple of 8"),
    ("width", 10**30, "at most 2048"),
    ("width", 10**5000, "at most 2048"),
    ("height", "", "whole number"),
    ("seed", -2, "at least -1"),
    ("seed", 2**32, "at most"),
    ("seed", 2**63, "at most"),
    ("seed", 2**64, "at most"),
    ("seed", -(2**63), "at least -1"),
    ("seed", 1.5, "whole number"),
    ("seed", 1e300, "at most"),
    ("seed", NAN, "whole number"),
    ("motion_window", [9999, 10000], "0 < from < to < 1000"),
    ("motion_window", [941, 881], "0 < from < to < 1000"),
    ("motion_window", [881, 881], "0 < from < to < 1000"),
    ("motion_window", [0, 881], "0 < from < to < 1000"),
    ("motion_window", [NAN, 881], "whole number"),
    ("motion_window", [True, 881], "whole number"),
    ("motion_window", [881], "motion_window"),
    ("motion_window", [1, 2, 3], "motion_window"),
    ("motion_window", "881, 941", "motion_window"),
    ("motion_window", {"from": 881}, "motion_window"),
    ("guidance_scale", NAN, "finite number"),
    ("guidance_scale", INFINITY, "finite number"),
    ("guidance_scale", 1e308, "at most 30"),
    ("guidance_scale", -5, "at least 0"),
    ("guidance_scale", "7.5", "must be a number"),
    ("guidance_scale", True, "must be a number"),
    ("motion_field_strength_x", 1e9, "at most 128"),
    ("motion_field_strength_y", -1e9, "at least -128"),
    ("motion_field_strength_y", NAN, "finite number"),
    ("chunk_size", 0, "at least 1"),
    ("chunk_size", -1, "at least 1"),
    ("chunk_size", 10**9, "at most 1024"),
    ("fps", 0, "at least 1"),
    ("fps", 1e6, "at most 60"),
    ("fps", NAN, "whole number"),
    ("scheduler", "zz", "one of 'ddim'"),
    ("scheduler", None, "one of 'ddim'"),
    ("scheduler", ["ddim", "euler"], "one of 'ddim'"),
    ("model", None, "must be text"),
    ("model", ["a", "b"], "must be text"),
    ("model", "", "model"),
    ("model", "x" * 10_000, "at most 300"),
    ("lora", "", "lora"),
    ("lora", 5, "must be text"),
    ("lora", ["a"], "must be text"),
    ("lora", "x" * 301, "at most 300"),
    ("lora", "nul \x00", "U+0000"),
    ("lora", "half a sign \ud800", "UTF-8"),
    ("lora_scale", NAN, "finite number"),
    ("lora_scale", 2.5, "at most 2"),
    ("lora_scale", -0.1, "at least 0"),
    ("lora_scale", None, "not nothing"),
    ("vae", {"a": 1}, "must be text"),
    ("vae", "turned \u202e", "U+202E"),
    ("motion_field", {"a": 1}, "true or false"),
    ("motion_field", "yes", "true or false"),
    ("motion_field", 1, "true or false"),
    ("cross_frame_attention", None, "true or false"),
    ("prompt", "", "is empty"),
    ("prompt", " \n\t", "is empty"),
    ("prompt", None, "must be text"),
    ("prompt", 5, "must be text"),
    ("prompt", "x" * 2001, "at most 2000"),
    ("prompt", "x" * 10**6, "at most 2000"),
    ("prompt", "a" + "\u0301" * 10_000, "at most 2000"),
    ("prompt", "nul \x00", "U+0000"),
    ("prompt", "escape \x1b[31m", "U+001B"),
    ("prompt", "turned \u202e", "U+202E"),
    ("prompt", "half a sign \ud800", "UTF-8"),
    ("negative_prompt", 5, "must be text"),
    ("negative_prompt", {"a": 1}, "must be text"),
    ("negative_prompt", "nul \x00", "U+0000"),
    ("no_such_setting", 1, "is not a setting"),
    ("__class__", "x", "is not a setting"),
]
LITERAL_TEXTS = [
    "<script>alert(1)</script> ![x](http://evil)",
    "../../etc/passwd a/b\\c con -i",
    "{0.__class__} %s%n $(id) `id` py:__import__('os')",
    "emoji 🎬, zero\u200bwidth, e\u0301\u0301, two\nlines",
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_bad_value_is_refused_with_a_reason(name, value, said):
    """One short line that names the setting, and no more of a huge value than one can read."""
    with pytest.raises(InvalidSettings) as caught:
        parse({"prompt": "a red circle", name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert said in message
    assert "\n" not in message
    assert len(message) < 200
    message.encode()


def test_a_prompt_is_needed():
    """Everything else has a default."""
    with pytest.raises(InvalidSettings, match="prompt: is missing"):
        parse({})


def test_all_of_several_mistakes_are_told():
    """Nobody wants to mend one mistake to learn of the next."""
    with pytest.raises(InvalidSettings) as caught:
        parse({"prompt": "", "fps": 0, "seed": "x"})
    assert all(name in str(caught.value) for name in ("prompt", "fps", "seed"))


def test_frames_and_size_are_bounded_together():
    """Each may be within its own bounds while all of them at once would not fit any machine."""
    with pytest.raises(InvalidSettings, match="at most 16 frames of this size"):
        parse({"prompt": "x", "num_frames": 1024, "width": 2048, "height": 2048})
    parse({"prompt": "x", "num_frames": 16, "width": 2048, "height": 2048})
    with pytest.raises(ValueError, match="too much"):
        check_pixels(1024, 512, 512)


@pytest.mark.parametrize("text", LITERAL_TEXTS)
def test_no_text_is_changed_or_executed(text):
    """A prompt is only ever text: no template, path, markup or command."""
    assert parse({"prompt": text, "negative_prompt": text}).prompt == text


def test_whole_numbers_may_be_written_as_floats():
    """JSON and sliders turn 8 into 8.0, which is the same number."""
    settings = parse({"prompt": "x", "num_frames": 8.0, "motion_window": [600.0, 700.0], "width": 64.0})
    assert (settings.num_frames, settings.motion_window, settings.width) == (8, (600, 700), 64)
    assert type(settings.num_frames) is int


def test_settings_survive_json_and_yaml():
    """What travels inside a video or stands in a file means the same when it is read again."""
    settings = TextToVideoSettings(**EVERYTHING)
    assert set(EVERYTHING) == set(TextToVideoSettings.model_fields)
    assert from_json(to_json(settings)) == settings
    assert parse(read_mapping(yaml.safe_dump(settings.to_dict()))) == settings
    assert parse(json.loads(json.dumps(settings.to_dict()))) == settings
    assert from_json(to_json(TextToVideoSettings(prompt="x"))) == TextToVideoSettings(prompt="x")


def test_the_json_is_one_line_of_ascii():
    """So that any container, log or terminal can carry it."""
    text = to_json(TextToVideoSettings(**EVERYTHING))
    assert text.isascii()
    assert "\n" not in text


def test_a_random_seed_is_drawn_once_and_recorded():
    """-1 becomes a seed that makes the same video again; a seed that was given stays."""
    drawn = TextToVideoSettings(prompt="x").resolved()
    assert 0 <= drawn.seed <= MAX_SEED
    assert drawn.resolved() is drawn
    assert TextToVideoSettings(prompt="x", seed=7).resolved().seed == 7


@pytest.mark.parametrize("mode", ["zz", "", None, ["text_to_video"], {"a": 1}, 1])
def test_an_unknown_mode_is_refused(mode):
    """The tag comes from files and clients as everything else does."""
    with pytest.raises(InvalidSettings, match="mode: must be one of text_to_video"):
        parse({"prompt": "x", "mode": mode})


@pytest.mark.parametrize(
    "text",
    ["", "null", "just words", "[1, 2]", "1: a", "a: [", "!!no/such/type {}", "[" * 100_000, "\x00"],
    ids=lambda text: text[:12],
)
def test_a_text_that_holds_no_settings_is_refused(text):
    """Other types, broken syntax and endless nesting get no further than this."""
    with pytest.raises(InvalidSettings) as caught:
        read_mapping(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_text_runs_nothing(tmp_path, monkeypatch):
    """YAML can name functions to call; a file of settings or a video with one in it calls none."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSettings, match="not YAML or JSON"):
        read_mapping("prompt: !!python/object/apply:os.mkdir [attacked]")
    assert list(tmp_path.iterdir()) == []


def test_the_example_file_holds_every_setting_with_its_default():
    """config.yaml is kept by hand, so this is what keeps it true."""
    values = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text("utf-8"))
    others = {"randomize_seed", "output", "models", *EXTRAS}
    assert set(values) == {*TextToVideoSettings.model_fields, *others}
    settings = parse({name: value for name, value in values.items() if name not in others})
    assert settings == TextToVideoSettings(prompt="A lion walking in the jungle", seed=7)


def test_a_video_of_a_stranger_cannot_make_a_few_bytes_into_gigabytes():
    """YAML's aliases would; settings inside a video are read as JSON alone, and containers are not spelled out."""
    with pytest.raises(InvalidSettings):
        from_json("a: &a [x, x, x]\nprompt: [*a, *a, *a]\n")
    with pytest.raises(InvalidSettings, match="not a list"):
        parse({"prompt": [["x"] * 9] * 9})
