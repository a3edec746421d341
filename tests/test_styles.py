"""Styles: words by a name, added for the text encoder alone and written down in full."""

import json

import numpy as np
import pytest

from director.storyboard import load_storyboard
from errors import InvalidSettings, ModelUnavailable
from generation.prompts import EncoderPrompts, style_notes, styled
from media.metadata import read_metadata
from model_manager.catalogue import Extras, read_catalogue
from model_manager.offered_names import with_offered_names
from model_manager.styles import Style, read_styles
from settings import SETTINGS_BY_MODE, TextToVideoSettings
from settings.parsing import from_json, parse

QUALITY = "high quality, HD, 8K, trending on artstation, high focus, dramatic lighting"
A1111 = """name,prompt,negative_prompt
==== Mine ====,,
"Noir, soft","film noir, {prompt}, rain",colour
Plain,"sharp, ""new"" film",
"""


@pytest.mark.parametrize(
    ("style", "prompt", "whole"),
    [
        (Style("x"), " a dog. ", " a dog. "),
        (Style("x", "oil painting of {prompt}"), "a dog.", "oil painting of a dog."),
        (Style("x", "sharp, HD"), "a dog.", "a dog, sharp, HD"),
        (Style("x", "a, {prompt}, b"), "a dog, ", "a, a dog, b"),
        (Style("x", "{prompt} and {prompt}"), "{prompt}", "{prompt} and {prompt}"),
    ],
)
def test_words_stand_around_what_was_written(style, prompt, whole):
    """Before, after, or behind it where the style does not say; no comma follows a full stop."""
    assert style.around(prompt) == whole


@pytest.mark.parametrize(
    ("style", "written", "whole"),
    [
        (Style("x"), "", ""),
        (Style("x"), "red", "red"),
        (Style("x", "", "ugly"), "", "ugly"),
        (Style("x", "", "ugly"), "red", "red, ugly"),
        (Style("x", "", "{prompt}, ugly"), " ", "ugly"),
    ],
)
def test_what_was_not_wanted_comes_first(style, written, whole):
    """A negative prompt of one's own is kept, and none leaves no stray comma."""
    assert style.against(written) == whole


def test_the_originals_words_are_one_of_those_that_ship():
    """Every row of the file has its words; nothing is added where no style is named."""
    styles = read_styles()
    assert styles["text2video-zero"].around("A lion in the jungle") == f"A lion in the jungle, {QUALITY}"
    assert styles["text2video-zero"].against("").startswith("longbody, lowres, bad anatomy")
    assert all(style.prompt and style.negative_prompt for style in styles.values())
    written = EncoderPrompts("a dog", "", ("a", "", "b"))
    assert styled(written, None) is written
    assert list(style_notes(written, None)) == []


def test_every_frame_of_a_storyboard_has_the_style():
    """Blends stay blends."""
    prompts = styled(EncoderPrompts("a -> b", "", tuple(load_storyboard("a -> b", 3))), Style("ink", "ink of {prompt}"))
    assert prompts.frame_prompts == ("ink of a", "", "ink of b")
    (note,) = style_notes(prompts, Style("ink"))
    assert note == 'With the style ink the prompts of the frames begin with "ink of a".'


def test_files_of_other_programs_are_read(tmp_path, caplog):
    """A1111's styles.csv lies beside its models; a file that is named wins; odd ones are refused or left out."""
    (tmp_path / "models" / "Lora").mkdir(parents=True)
    (tmp_path / "styles.csv").write_text(A1111, "utf-8-sig")
    (tmp_path / "mine.yaml").write_text("Plain: mine\ntext2video-zero: {prompt: 'my {prompt}'}\n")
    for root in (tmp_path, tmp_path / "models"):
        found = read_catalogue(extras=Extras(roots=[str(root)], styles=[str(tmp_path / "mine.yaml")])).styles
        assert found["Noir, soft"] == Style("Noir, soft", "film noir, {prompt}, rain", "colour")
        assert (found["Plain"].prompt, found["text2video-zero"].prompt) == ("mine", "my {prompt}")
        assert "==== Mine ====" not in found
    (tmp_path / "styles.csv").write_text("a,b\n1,2\n")
    assert "Plain" not in read_catalogue(extras=Extras(roots=[str(tmp_path)])).styles
    assert "left out: styles styles.csv: must have the columns" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words", "must be a mapping"),
        ("none: x", "'none' cannot be the name of a style"),
        ("x: {promt: y}", "x: must have prompt and negative_prompt, and nothing else"),
        ("x: {prompt: [y]}", "x: must be texts of at most 2000 characters"),
        ("x: []", "x: must have"),
        (b"x: \xff", "is not a text in UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_line(tmp_path, text, said):
    """With its name and the row."""
    file = tmp_path / "my.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidSettings, match=f"^styles my.yaml: .*{said}") as caught:
        read_styles([file])
    assert "\n" not in str(caught.value)


def test_a_style_that_is_not_offered_is_named():
    """A video from elsewhere may ask for one; none is always possible."""
    settings = TextToVideoSettings(prompt="x", style="gone")
    with pytest.raises(
        ModelUnavailable, match=r"'gone' is not offered \(there are text2video-zero, .*\): allow it with --st"
    ):
        with_offered_names(settings, read_catalogue())
    with pytest.raises(ModelUnavailable, match="style: must be empty or one of text2video-zero, "):
        read_catalogue().with_adapters(read_catalogue().models["toyworld"], settings)


@pytest.mark.parametrize("kind", SETTINGS_BY_MODE.values())
def test_every_mode_has_styles_and_none_by_default(kind):
    """Old videos know nothing of styles and come back as they were."""
    assert kind.model_fields["style"].get_default() is None
    assert parse({"prompt": "x", "control": "canny"} if kind.mode == "control" else {"prompt": "x"}, kind.mode)


def test_a_style_draws_what_its_words_would(steered_model, tmp_path):
    """What was written and the style's name make the video again; the full text is in the notes and in the file."""
    asked = {"prompt": "a red circle.", "style": "text2video-zero", "negative_prompt": "blue", "seed": 1}
    small = {"num_frames": 2, "num_inference_steps": 2, "model": "tiny", "guidance_scale": 5}
    clip = steered_model.generate(parse({**small, **asked}))
    style = read_styles()["text2video-zero"]
    whole, against = f"a red circle, {QUALITY}", f"blue, {style.negative_prompt}"
    typed = steered_model.generate(parse({**small, "prompt": whole, "negative_prompt": against, "seed": 1}))
    plain = steered_model.generate(parse({**small, **asked, "style": None}))
    np.testing.assert_array_equal(clip.frames, typed.frames)
    assert not np.array_equal(clip.frames, plain.frames)
    assert clip.notes[0] == f'With the style text2video-zero the prompt is "{whole}", the negative prompt "{against}".'
    metadata = read_metadata(clip.save(tmp_path / "x.gif"))
    assert from_json(metadata["settings"]) == clip.settings
    assert (clip.settings.prompt, clip.settings.style) == ("a red circle.", "text2video-zero")
    assert json.loads(metadata["style"]) == style.to_dict()
    assert "style" not in read_metadata(plain.save(tmp_path / "y.gif"))
