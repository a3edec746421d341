"""What is written plays, has the size and speed it was given, and says later how it was made."""

import errno
import json
import os
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from errors import InvalidVideo
from media import video_io
from media.metadata import read_metadata
from media.video_io import write_video

HOSTILE_TEXTS = {
    "settings": json.dumps({"prompt": 'a "red" circle; grass = green # not \\ blue', "seed": 7}),
    "lines": "first\nsecond\r\nthird\n\n;FFMETADATA1\n[CHAPTER]\ncomment=another\n",
    "signs": "= ; # \\ ' \" %s {0} $(id) `id` <b> & \t \x00 \x1b[31m",
    "ünï 🎬": "emoji 🎬👩‍👩‍👧, right to left \u202e, zero\u200bwidth, e\u0301\u0301\u0301",
    "long": "=;#\\\n🎬" * 1500,
    "empty": "",
}
NOT_VIDEOS = {
    "empty": b"",
    "one byte": b"\0",
    "zeros": bytes(5000),
    "random": np.random.default_rng(0).bytes(5000),
    "html": b"<!doctype html><title>404</title>",
    "hls": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile secret.mp4\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "only an mp4 head": b"\0\0\0\x18ftypisom" + bytes(12),
    "mp4 of a box without end": b"\0\0\0\x08ftyp" + b"\0\0\0\x01moov" + b"\xff" * 8,
    "mp4 of a box without size": b"\0\0\0\x08ftyp" + b"\0\0\0\x00moov",
    "only a gif head": b"GIF89a",
    "gif of nothing": b"GIF89a" + bytes(7),
    "gif that stops in a comment": b"GIF89a" + bytes(7) + b"!\xfe\xff;",
}


def moving_square(frames: int = 8, height: int = 72, width: int = 136) -> np.ndarray:
    """A red square that goes right over a green ground: uint8 (frames, height, width, 3)."""
    video = np.full((frames, height, width, 3), (40, 150, 60), np.uint8)
    for index in range(frames):
        video[index, 20:44, 8 + 10 * index : 32 + 10 * index] = (220, 30, 30)
    return video


def decode(path: Path) -> tuple[dict, np.ndarray]:
    """ffmpeg's facts about a video, and its frames."""
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_any_text_comes_back_exactly(tmp_path, suffix):
    """A prompt may hold whatever the user typed; a tag format's own signs must not cut or change it."""
    path = write_video(tmp_path / f"clip{suffix}", moving_square(), 4, HOSTILE_TEXTS)
    assert read_metadata(path) == HOSTILE_TEXTS


def test_other_programs_see_the_settings_too(tmp_path):
    """The comment is where media players and picture viewers look, so a clip explains itself without this program."""
    mp4 = write_video(tmp_path / "clip.mp4", moving_square(), 4, {"settings": "a red circle"})
    gif = write_video(tmp_path / "clip.gif", moving_square(), 4, {"settings": "a red circle"})
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(mp4), "-f", "ffmetadata", "-"]
    assert b"a red circle" in subprocess.run(command, capture_output=True, check=True).stdout
    with Image.open(gif) as picture:
        assert b"a red circle" in picture.info["comment"]


@pytest.mark.parametrize("fps", [1, 4, 25, 60])
def test_mp4_has_the_size_speed_and_frames_it_was_given(tmp_path, fps):
    """136 and 72 are multiples of 8 but not of 16, which some writers round up without a word."""
    frames = moving_square()
    facts, decoded = decode(write_video(tmp_path / "clip.mp4", frames, fps, {}))
    assert (facts["size"], facts["fps"], facts["codec"]) == ((136, 72), fps, "h264")
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 4


def test_mp4_plays_in_browsers_and_starts_before_it_is_loaded(tmp_path):
    """Browsers want H.264 High with halved colour planes; the index comes before the pictures."""
    path = write_video(tmp_path / "clip.mp4", moving_square(), 4, {})
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert re.search(r"h264 \(High\) .*yuv420p\(tv, bt709, progressive\)", said), said
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(("fps", "delays_ms"), [(4, {250}), (3, {330, 340}), (60, {20})])
def test_gif_loops_with_true_delays_and_clean_colours(tmp_path, fps, delays_ms):
    """Delays are hundredths of a second and add up; below two of them browsers play ten times too slowly."""
    frames = moving_square()
    path = write_video(tmp_path / "clip.gif", frames, fps, {"settings": "x"})
    with Image.open(path) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (8, 0)
        for index in range(8):
            picture.seek(index)
            assert picture.info["duration"] in delays_ms
            assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - frames[index]).max() < 10


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("count", [1, 2])
def test_still_and_repeated_frames_are_all_there(tmp_path, suffix, count):
    """One frame is a video too, and equal frames are not merged into one."""
    frames = moving_square(1).repeat(count, axis=0)
    path = write_video(tmp_path / f"clip{suffix}", frames, 4, {})
    if suffix == ".mp4":
        assert len(decode(path)[1]) == count
    else:
        with Image.open(path) as picture:
            assert (picture.n_frames, picture.info["duration"]) == (count, 250)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_the_same_clip_is_the_same_file(tmp_path, suffix):
    """No time of day and no random number gets into the file, so that equal jobs can be compared by their bytes."""
    first, second = (write_video(tmp_path / f"{name}{suffix}", moving_square(), 4, {"a": "b"}) for name in "xy")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["-i.mp4", "concat:a|b.mp4", "%03d.mp4", "a b;'$(id)'.mp4", "ünï🎬.MP4", "pipe:0.gif"])
def test_no_file_name_means_anything_to_ffmpeg(tmp_path, monkeypatch, name):
    """Names are given absolute and no shell reads them, so options, protocols and patterns are just names."""
    monkeypatch.chdir(tmp_path)
    path = write_video(Path(name), moving_square(2), 4, {"name": name})
    assert path == tmp_path / name
    assert read_metadata(path) == {"name": name}
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("failure", ["ffmpeg", "interrupt", "rename"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, suffix, failure):
    """A full disk, Ctrl-C or a broken encoder: the clip that was there is whole, and no part of a new one is."""
    target = tmp_path / f"clip{suffix}"
    target.write_bytes(b"the old one")
    expected: type[BaseException] = OSError
    if failure == "ffmpeg":
        monkeypatch.setattr(video_io, "_H264", ("-c:v", "no-such-encoder", "-f", "mp4"))
        monkeypatch.setattr(video_io, "_GIF", ("-vf", "no-such-filter", "-f", "gif"))
    elif failure == "interrupt":
        expected = KeyboardInterrupt
        monkeypatch.setattr(video_io.subprocess, "run", _interrupted_half_way)
    else:
        monkeypatch.setattr(video_io.os, "replace", _disk_full)
    with pytest.raises(expected):
        write_video(target, moving_square(), 4, {})
    assert os.listdir(tmp_path) == [target.name]
    assert target.read_bytes() == b"the old one"


def _interrupted_half_way(command, **_):
    Path(command[-1]).write_bytes(b"half a video")
    raise KeyboardInterrupt


def _disk_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_as_one(tmp_path, monkeypatch):
    """ffmpeg only says so in words and returns an ordinary failure; the caller gets the ordinary errno."""
    said = b"av_interleaved_write_frame(): No space left on device\n"
    failed = subprocess.CompletedProcess([], returncode=1, stdout=b"", stderr=said)
    monkeypatch.setattr(video_io.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(OSError, match="No space left") as caught:
        write_video(tmp_path / "clip.mp4", moving_square(), 4, {})
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("name", "frames", "fps", "said"),
    [
        ("clip.avi", moving_square(), 4, r"\.mp4 or \.gif"),
        ("clip", moving_square(), 4, r"\.mp4 or \.gif"),
        ("clip.mp4", moving_square().astype(np.float32), 4, "uint8"),
        ("clip.mp4", moving_square()[0], 4, "frames, height, width, 3"),
        ("clip.gif", moving_square()[..., :1], 4, "frames, height, width, 3"),
        ("clip.gif", moving_square()[:0], 4, "frames, height, width, 3"),
        ("clip.mp4", moving_square(height=71), 4, "136x71 must be even"),
        ("clip.mp4", moving_square(), 0, "fps"),
    ],
)
def test_a_mistake_in_the_program_is_loud(tmp_path, name, frames, fps, said):
    """Floats from 0 to 1 written as bytes would be a black video; the caller learns of it instead."""
    with pytest.raises(ValueError, match=said):
        write_video(tmp_path / name, frames, fps, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("frames", "fps", "width", "height"), [(1, 4, 136, 72), (2, 1, 136, 72), (3, 60, 136, 72), (2, 4, 64, 2048)]
)
def test_every_size_and_speed_is_an_mp4_that_browsers_play(tmp_path, frames, fps, width, height):
    """High profile at a level of at most 5.2, BT.709, the index first; one frame is a video too."""
    path = write_video(tmp_path / "clip.mp4", moving_square(frames, height, width), fps, {})
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    version, profile, _, level = content[content.index(b"avcC") + 4 :][:4]
    assert (version, profile) == (1, 100)
    assert level <= 52
    assert b"yuv420p(tv, bt709" in subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, check=False
    ).stderr  # fmt: skip
    assert len(decode(path)[1]) == frames


@pytest.mark.parametrize("content", NOT_VIDEOS.values(), ids=NOT_VIDEOS.keys())
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_what_is_no_video_is_refused_in_one_line(tmp_path, content, suffix):
    """Only the bytes count, not the name; nothing here ever reaches a demuxer that would open other files."""
    path = tmp_path / f"upload{suffix}"
    path.write_bytes(content)
    assert_refused(path)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_truncated_video_is_refused(tmp_path, suffix):
    """An upload that broke off is not a whole video, even where the settings in its head can still be read."""
    content = write_video(tmp_path / f"clip{suffix}", moving_square(), 4, HOSTILE_TEXTS).read_bytes()
    for kept in (5, 20, 100, len(content) // 2, len(content) - 100, len(content) - 2):
        path = tmp_path / f"part{suffix}"
        path.write_bytes(content[:kept])
        assert_refused(path)


def test_a_file_of_countless_boxes_is_not_read_to_its_end(tmp_path):
    """A hundred megabytes of empty boxes are an upload of seconds, and would be a walk of minutes."""
    path = write_video(tmp_path / "clip.mp4", moving_square(), 4, HOSTILE_TEXTS)
    path.write_bytes(path.read_bytes() + b"\0\0\0\x08free" * 20_000)
    assert_refused(path)


def test_a_video_of_another_program_is_refused(tmp_path):
    """It is a fine video, but there is nothing in it to restore; the message says that."""
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.gif")
    Image.new("RGB", (8, 8)).save(tmp_path / "other.gif", comment=b'{"prompt": "a cat"}')
    Image.new("RGB", (8, 8)).save(tmp_path / "deep.gif", comment=b"[" * 100_000)
    Image.new("RGB", (8, 8)).save(tmp_path / "wrong.gif", comment=b'{"text2video": {"settings": 7}}')
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=size=64x64:duration=1"]
    subprocess.run([*command, str(tmp_path / "plain.mp4")], check=True)
    for path in sorted(tmp_path.iterdir()):
        assert "carries no settings" in assert_refused(path)


def test_a_path_that_is_no_file_is_refused_without_waiting(tmp_path):
    """A folder, nothing at all, and a pipe, on which opening would wait for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4", "missing.mp4"):
        assert_refused(tmp_path / name)


def assert_refused(path: Path) -> str:
    """The message, which is one line and does not tell a client where on the server the file lies."""
    with pytest.raises(InvalidVideo) as caught:
        read_metadata(path)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert str(path.parent) not in message
    return message
