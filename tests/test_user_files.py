"""Paths, names, text files and numbers as people write them, wherever they stand."""

import os

import pytest

import inference
from cli.options import read_config, read_file
from director.storyboard import load_storyboard
from errors import InvalidSettings, InvalidStoryboard, ModelUnavailable
from evaluation.prompt_lists import read_prompts
from model_manager.builtin_models import models
from model_manager.catalogue import Extras, read_catalogue
from settings import TextToVideoSettings
from settings.parsing import parse
from settings.user_files import named_in, words_for_name
from tests.command_line import assert_refused, use_fake_model, write_lora
from web.controls import read_values


@pytest.fixture
def model(monkeypatch, tmp_path):
    """The fake in place of model.py, a folder of its own, and a home folder in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return use_fake_model(monkeypatch, tmp_path)


def test_a_tilde_is_the_home_folder_in_every_file_and_option(model, tmp_path):
    """Where no shell has read it: in quotes, in YAML, in variables; no folder is called so."""
    write_lora(tmp_path / "home" / "style.safetensors")
    (tmp_path / "home" / "mine.yaml").write_text("prompt: a dog\nlora: ~/style.safetensors\noutput: ~/kept/dog.mp4\n")
    assert inference.main(["--config", "~/mine.yaml"]) == 0
    assert inference.main(["a dog", "-o", "~/other/dog.mp4"]) == 0
    assert inference.main(["--from", "~/kept/dog.mp4", "--lora", "none", "-o", "again.mp4"]) == 0
    assert inference.main(["a dog", "--storyboard", "~/mine.txt", "-o", "x.mp4"]) == 2
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"style.safetensors", "mine.yaml", "kept", "other"}
    assert "~" not in os.listdir()
    assert models(["~/big.safetensors"])["big.safetensors"].source == str(tmp_path / "home" / "big.safetensors")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("красный круг движется", "красный-круг-движется"),
        ("été à la plage", "été-à-la-plage"),
        ("赤い円が動く", "赤い円が動く"),
        ("हिन्दी में चित्र", "हिन्दी-में-चित्र"),
        ("A red circle, moving right!", "a-red-circle-moving-right"),
        ("../../etc/passwd \\ : * ?", "etc-passwd"),
        ("🎬", ""),
    ],
)
def test_a_name_tells_the_prompt_in_its_own_script(prompt, name):
    """And is no path; however long the prompt, a file system takes it."""
    assert words_for_name(prompt) == name
    assert len(words_for_name(prompt * 100).encode()) <= 160


def encodings(text):
    """A text as editors of several systems write it."""
    windows = text.replace("\n", "\r\n")
    return {
        "plain": text.encode(),
        "notepad": b"\xef\xbb\xbf" + windows.encode(),
        "powershell": windows.encode("utf-16"),
        "big end": b"\xfe\xff" + text.encode("utf-16-be"),
        "old macintosh": text.replace("\n", "\r").encode(),
    }


@pytest.mark.parametrize("kind", encodings(""))
def test_text_files_are_read_however_an_editor_writes_them(model, tmp_path, kind):
    """Storyboards of both kinds, settings, lists of prompts: a byte order mark is nothing."""
    moments, yaml = "a red circle\na blue circle\n", "prompts:\n  0: a red circle\n  3: a blue circle\n"
    for text, suffix in ((moments, "txt"), (yaml, "yaml")):
        (tmp_path / f"s.{suffix}").write_bytes(encodings(text)[kind])
        assert inference.main(["a day", "--storyboard", f"s.{suffix}", "--frames", "4", "-o", "x.mp4"]) == 0
        written = load_storyboard(model.made[-1].settings.storyboard, 4)
        assert written == ("a red circle", "", "", "a blue circle")
    (tmp_path / "c.yaml").write_bytes(encodings("prompt: a red circle\nseed: 7\n")[kind])
    assert read_config(tmp_path / "c.yaml") == {"prompt": "a red circle", "seed": 7}
    (tmp_path / "p.txt").write_bytes(encodings("a red circle\na dog\n")[kind])
    assert read_prompts(tmp_path / "p.txt") == ["a red circle", "a dog"]


def test_a_byte_order_mark_in_pasted_text_is_nothing():
    """As a text box, or a program that has read a file, passes it on."""
    assert load_storyboard("\ufeffa dog -> a cat", 2) == ("a dog", "a cat")
    assert load_storyboard("\ufeffprompts: {0: a dog}", 1) == ("a dog",)


def test_numbers_of_frames_may_be_texts_as_json_has_them():
    """JSON has no other names; a frame twice is still a mistake."""
    assert load_storyboard('{"frames": 2, "prompts": {"0": "a dog", "1": "a cat"}}') == ("a dog", "a cat")
    for wrong in ('{"frames": 2, "prompts": {"0": "a", "00": "b"}}', "prompts: {'0': a, 0: b}", "prompts: {'-1': a}"):
        with pytest.raises(InvalidStoryboard):
            load_storyboard(wrong, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'prompt: a dog\nlora: "C:\\models\\a"\n',
            r"line 2: \\m is no escape in double quotes: use / or single quotes",
        ),
        ("prompt: a dog\n\tseed: 7\n", "line 2: a tab: indent with spaces"),
        ("prompt: a dog\nseed: [7\n", "line 3: "),
        ("prompt: a: dog\n", "line 1: mapping values are not allowed here"),
    ],
)
def test_a_mistake_in_yaml_names_the_line_and_the_trouble(tmp_path, text, said):
    """In settings, and in storyboards."""
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InvalidSettings, match=said):
        read_file(tmp_path / "c.yaml")


def test_a_mistake_in_a_storyboard_names_its_line():
    """With the same words."""
    with pytest.raises(InvalidStoryboard, match=r"line 2: \\m is no escape"):
        load_storyboard('prompts:\n  0: "a\\model"\n', 2)


def test_a_decimal_comma_is_a_point_in_every_number_that_is_typed(model):
    """A motion window stays a pair; a thousand is not one; the page reads .5 as well."""
    typed = ["--guidance-scale", "7,5", "--lora-scale", "0,8", "--motion-window", "400, 500"]
    assert inference.main(["a dog", *typed, "-o", "x.mp4"]) == 0
    settings = model.made[0].settings
    assert (settings.guidance_scale, settings.lora_scale, settings.motion_window) == (7.5, 0.8, (400, 500))
    assert parse({"prompt": "a dog", "guidance_scale": "7,5"}).guidance_scale == 7.5
    for text, value in (("7,5", 7.5), (".5", 0.5), (",5", 0.5), ("7.", 7.0)):
        assert read_values(TextToVideoSettings, {"prompt": "a dog", "guidance_scale": text}).guidance_scale == value


@pytest.mark.parametrize("typed", [["--frames", "1,000"], ["--guidance-scale", "1,000,000"], ["--fps", "8,5"]])
def test_a_comma_that_is_no_decimal_one_is_refused(model, capsys, typed):
    """Whole numbers have none."""
    assert_refused(capsys, ["a dog", *typed, "-o", "x.mp4"], "must be a")


def test_a_comma_in_the_name_of_a_file_divides_nothing(monkeypatch, tmp_path):
    """Where the file is there; else the line says that commas divide."""
    file, other = tmp_path / "【夏】 style v1.5, final .safetensors", tmp_path / "b.safetensors"
    write_lora(file)
    write_lora(other)
    monkeypatch.setenv("T2V_LORAS", f" {other}, {file},{other} ")
    assert named_in("T2V_LORAS") == [str(other), str(file), str(other)]
    assert list(read_catalogue().loras) == ["b", "【夏】 style v1.5, final "]
    monkeypatch.setenv("T2V_LORAS", f"{tmp_path}/gone, final.safetensors")
    with pytest.raises(ModelUnavailable, match="a comma in T2V_LORAS divides names"):
        read_catalogue(extras=Extras())
