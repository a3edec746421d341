"""Every text file may come from any editor: with a byte order mark, in UTF-16, with the lines of any system."""

import json
from pathlib import Path

import pytest

from evaluation.prompt_lists import read_prompts
from model_manager.checkpoint_formats import read_index
from model_manager.styles import read_styles
from settings.user_files import read_text
from training.video_diffusion.dataset import captions_by_path, captions_of
from web.storyboard import read_file

WRITTEN = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, the other way": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "Windows": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "an old Macintosh": lambda text: text.replace("\n", "\r").encode(),
}


def captions_in_a_text(path: Path):
    return captions_of(path.with_suffix(".gif"), path.parent, {})


READERS = {
    "captions.tsv": ("a.gif\ta fläche\nb.gif\tb\n", lambda path: captions_by_path(path.parent)),
    "clip.txt": ("a fläche\nb\n", captions_in_a_text),
    "prompts.txt": ("# none\na fläche\n\nb\n", read_prompts),
    "storyboard.yaml": ("frames: 2\nprompts:\n  0: a fläche\n  1: b\n", lambda path: read_file(path, 2)),
    "styles.csv": ("name,prompt,negative_prompt\nsoft,a fläche {prompt},b\n", lambda path: read_styles([path])),
    "model_index.json": (json.dumps({"_class_name": "Flächen"}, indent=1), lambda path: read_index(path.parent)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_text_is_the_same_however_it_was_written(name, tmp_path):
    """Captions began with a mark that no prompt ever has, and whole tables were one line."""
    text, read = READERS[name]
    found = []
    for write in WRITTEN.values():
        (tmp_path / name).write_bytes(write(text))
        found.append(read(tmp_path / name))
    assert found[0]
    assert all(each == found[0] for each in found)
    assert "fl" in str(found[0]).lower()


def test_captions_that_are_no_text_lose_their_odd_bytes_alone(tmp_path):
    """The rest of a table is learned from."""
    (tmp_path / "x.tsv").write_bytes(b"a.gif\ta caf\xe9\nb.gif\tb\n")
    assert captions_by_path(tmp_path) == {"a.gif": ["a caf\ufffd"], "b.gif": ["b"]}
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "x.tsv")
