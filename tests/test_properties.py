"""Whatever comes from outside is read or refused in one line: settings, storyboards, comments, headers, videos.

Few examples, always the same ones, so that the suite stays quick and never fails by chance.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from director.storyboard import load_storyboard, save_storyboard, storyboard
from errors import InvalidSettings, InvalidStoryboard, InvalidVideo, ModelUnavailable, UserError
from media.metadata import as_comment, read_metadata
from media.video_io import VideoFacts, probe, write_video
from model_manager.safetensors_header import read_shapes
from settings import SETTINGS_BY_MODE, field_facts
from settings.parsing import from_json, parse, read_mapping, to_json

PLAIN = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=40)
JSON = some.recursive(PLAIN, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=10)


def few(examples: int):
    """So many examples; files of a test are written anew for each."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def assert_one_line(error: UserError) -> None:
    """What a visitor is told."""
    assert str(error).isprintable(), str(error)
    assert 0 < len(str(error)) < 1000


@pytest.mark.parametrize("mode", SETTINGS_BY_MODE)
@few(40)
@given(data=some.data())
def test_any_values_are_settings_that_survive_json_or_one_line(mode, data):
    """Of every mode, under the names that it has and others; what is valid travels inside a video unchanged."""
    kind = SETTINGS_BY_MODE[mode]
    likely = {
        name: some.integers(-2, 70) | some.sampled_from(facts.get("enum", ["a red circle"])) | PLAIN
        for name, facts in field_facts(kind).items()
    }
    values = data.draw(some.fixed_dictionaries({}, optional=likely)) | data.draw(
        some.dictionaries(some.text(max_size=10), JSON, max_size=1)
    )
    try:
        read = parse({"prompt": "a", **values}, mode)
    except InvalidSettings as error:
        assert_one_line(error)
    else:
        assert from_json(to_json(read)) == read


@few(100)
@given(
    text=some.text(max_size=200) | JSON.map(json.dumps) | some.text(alphabet="a:-?[]{}&*!|>'\"%#@,\n \t0", max_size=60)
)
def test_any_text_is_a_mapping_or_one_line(text):
    """YAML or JSON, of anybody."""
    try:
        assert isinstance(read_mapping(text), dict)
    except InvalidSettings as error:
        assert_one_line(error)


@few(60)
@given(text=some.text(max_size=80) | some.text(max_size=60).map(lambda text: f"frames: 4\nprompts: {{0: {text}}}"))
def test_any_text_is_a_storyboard_or_one_line(text):
    """As moments and as a file; every frame has a text, and what is saved comes back."""
    for read in (lambda: storyboard(text, 6), lambda: load_storyboard(text, 6)):
        try:
            prompts = read()
        except InvalidStoryboard as error:
            assert_one_line(error)
        else:
            assert any(prompts)
            assert load_storyboard(save_storyboard(prompts)) == prompts


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """A video of each container, with metadata inside."""
    folder = tmp_path_factory.mktemp("clips")
    frames = np.arange(2 * 64 * 64 * 3, dtype=np.uint8).reshape(2, 64, 64, 3)
    return [write_video(folder / f"clip{suffix}", frames, 4, {"settings": "{}"}) for suffix in (".mp4", ".gif")]


@few(40)
@given(metadata=some.dictionaries(some.text(max_size=20), some.text(max_size=200), max_size=3))
def test_any_metadata_comes_back(metadata, tmp_path):
    """Through the comment alone; that files keep it is tested where videos are written."""
    comment = as_comment(metadata)
    gif = b"GIF89a" + bytes(7) + b"!\xfe"
    pieces = [comment[at : at + 255] for at in range(0, len(comment), 255)]
    text = b"".join(bytes([len(each)]) + each for each in pieces) + b"\0"
    picture = b"," + bytes(9) + b"\x02\x02\x4c\x01\0"
    (tmp_path / "x.gif").write_bytes(gif + text + picture + b";")
    assert read_metadata(tmp_path / "x.gif") == metadata


def damaged(draw: some.DataObject, whole: bytes) -> bytes:
    """A file with some bytes changed, or cut off, or with others in the middle."""
    place = draw.draw(some.integers(0, len(whole) - 1))
    new = draw.draw(some.binary(min_size=1, max_size=12))
    kept = draw.draw(some.sampled_from([place, place + len(new), len(whole)]))
    return whole[:place] + new + whole[kept:]


@few(60)
@given(data=some.data())
def test_the_comment_of_a_damaged_video_is_read_or_refused(data, clips, tmp_path):
    """Boxes and blocks that lie about their sizes included."""
    clip = data.draw(some.sampled_from(clips))
    (tmp_path / "x").write_bytes(damaged(data, clip.read_bytes()))
    try:
        assert all(isinstance(text, str) for text in read_metadata(tmp_path / "x").values())
    except InvalidVideo as error:
        assert_one_line(error)


@few(12)
@given(data=some.data())
def test_a_damaged_video_has_facts_or_is_refused(data, clips, tmp_path):
    """ffmpeg may say of it what it likes."""
    clip = data.draw(some.sampled_from(clips))
    (tmp_path / "x").write_bytes(damaged(data, clip.read_bytes()))
    try:
        assert isinstance(probe(tmp_path / "x"), VideoFacts)
    except InvalidVideo as error:
        assert_one_line(error)


@few(60)
@given(
    header=JSON | some.dictionaries(some.text(), some.fixed_dictionaries({"shape": JSON, "data_offsets": JSON})),
    length=some.none() | some.integers(0, 2**63),
)
def test_any_header_has_shapes_or_is_refused(header, length, tmp_path):
    """Also where it lies about its own length."""
    content = json.dumps(header).encode()
    size = len(content) if length is None else length
    (tmp_path / "x.safetensors").write_bytes(size.to_bytes(8, "little") + content)
    try:
        shapes = read_shapes(tmp_path / "x.safetensors")
    except ModelUnavailable as error:
        assert_one_line(error)
    else:
        assert all(type(side) is int and side >= 0 for shape in shapes.values() for side in shape)
