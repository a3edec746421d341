"""Videos of strangers: honest ones of every kind are read as they look, others refused in a line."""

import os
import resource
import signal
import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from strangers import assert_refused, difference

from errors import InvalidPicture
from media import video_io
from media.pictures import read_picture
from media.video_io import VideoFacts, fit_shorter_side, fit_size, probe, read_video, write_video

FPS = 4
BT601 = ["-vf", "scale=out_color_matrix=bt601"]  # what decoders take for granted where no matrix is declared
CODECS = {
    ".mp4": ["-c", "copy"],
    ".mov": ["-c", "copy"],
    ".mkv": ["-c", "copy"],
    ".webm": ["-c:v", "libvpx", "-crf", "4", "-b:v", "2M", *BT601],
    ".avi": ["-c:v", "mpeg4", "-qscale", "1", *BT601],
    ".gif": ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"],
}
NEITHER = {
    "empty": b"",
    "one byte": b"\0",
    "zeros": bytes(5000),
    "random": np.random.default_rng(0).bytes(5000),
    "html": b"<!doctype html><title>404</title>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "hls": b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile secret.mp4\n",
    "wave": b"RIFF\x24\0\0\0WAVEfmt ",
}


def moving_square() -> np.ndarray:
    """A red square that goes right over a green ground, for two seconds: uint8 (8, 72, 136, 3)."""
    video = np.full((8, 72, 136, 3), (40, 150, 60), np.uint8)
    for index in range(8):
        video[index, 20:44, 8 + 10 * index : 32 + 10 * index] = (220, 30, 30)
    return video


def ffmpeg(*arguments: str | Path) -> None:
    """Run the bundled ffmpeg, silently."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def still(path: Path, size: str, *arguments: str) -> Path:
    """A video of one grey frame."""
    ffmpeg("-f", "lavfi", "-i", f"color=gray:size={size}:rate={FPS}", "-frames:v", "1", *arguments, path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The moving square as MP4."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_square(), FPS, {})


def read(path: Path, *, size=(136, 72), fps: float = FPS, num_frames: int = 100, start_seconds: float = 0.0):
    """Everything of a video as it is, where nothing else is said."""
    return read_video(path, size=size, fps=fps, num_frames=num_frames, start_seconds=start_seconds)


@pytest.mark.parametrize("suffix", CODECS)
def test_every_kind_of_video_is_read_as_it_looks(tmp_path, clip, suffix):
    """Size, speed, length, colours and the order of frames, also from the middle on (a GIF stores only changes)."""
    path = tmp_path / f"video{suffix}"
    ffmpeg("-i", clip, *CODECS[suffix], path)
    assert probe(path) == VideoFacts(width=136, height=72, fps=FPS, seconds=2.0)
    frames = read(path)
    assert frames.dtype == np.uint8
    assert difference(frames, moving_square()) < 5
    assert difference(read(path, start_seconds=1.25), moving_square()[5:]) < 5


def test_a_name_decides_nothing(tmp_path, clip, monkeypatch):
    """An MP4 may be called anything; options, protocols, patterns and wrong suffixes are just names."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "-i.mp4",
        "concat:a|b.mp4",
        "%03d.png",
        "a b;'$(id)'.gif",
        "ünï🎬",
        "pipe:0",
        "x.m3u8",
        "file:y?z#.mp4",
    ):
        Path(name).write_bytes(clip.read_bytes())
        assert probe(Path(name)).seconds == 2.0
        assert len(read(Path(name))) == 8


def test_frames_are_left_out_or_repeated_for_another_speed(clip):
    """The clip's own speed is no wish of the user; what counts is that the motion stays as fast as it was."""
    assert difference(read(clip, fps=2), moving_square()[::2]) < 8
    assert difference(read(clip, fps=8), moving_square().repeat(2, axis=0)) < 5
    assert difference(read(clip, num_frames=3), moving_square()[:3]) < 5


def test_frames_are_scaled_as_asked_and_may_be_written_to(clip):
    """The caller decides on the size, aspect included; tensors want arrays of their own memory."""
    frames = read(clip, size=(64, 80))
    assert frames.shape == (8, 80, 64, 3)
    assert frames.flags.writeable
    assert difference(frames[0, 30, 10], np.array([220, 30, 30])) < 12


def test_a_clip_shorter_than_half_a_step_still_has_a_frame(tmp_path):
    """ffmpeg rounds 0.04 s at one frame per second to no frames at all; a one-frame GIF would then be refused."""
    path = write_video(tmp_path / "clip.mp4", moving_square()[:1], 25, {})
    assert read(path, fps=1).shape == (1, 72, 136, 3)


def test_pictures_that_begin_after_the_sound_are_not_repeated(tmp_path, clip):
    """ffmpeg fills the second before the first picture with copies of it, unless it is told not to."""
    path = tmp_path / "late.mkv"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=3", "-itsoffset", "1", "-i", clip, "-map", "0", "-map", "1:v", path)
    assert difference(read(path), moving_square()) < 5


def test_a_turned_video_is_read_upright(tmp_path, clip):
    """Telephones record lying pictures and note that they stand."""
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", path)
    facts = probe(path)
    assert (facts.width, facts.height) == (72, 136)
    assert difference(read(path, size=(72, 136)), np.rot90(moving_square(), axes=(1, 2))) < 5


def test_oblong_pixels_widen_the_frame(tmp_path):
    """Old cameras store 720x576 and mean 1024x576; fitting the stored size would make everyone thin."""
    facts = probe(still(tmp_path / "video.mp4", "64x64", "-vf", "setsar=2"))
    assert (facts.width, facts.height) == (128, 64)


def test_a_length_that_nobody_wrote_down_is_unknown(tmp_path, clip):
    """Browsers record WebM as a stream, whose head is written before anyone knows the end."""
    path = tmp_path / "stream.webm"
    with path.open("wb") as file:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(clip), "-c:v", "libvpx", "-f", "webm", "-"]
        subprocess.run(command, stdout=file, check=True)
    assert probe(path).seconds is None
    assert len(read(path)) == 8
    assert_refused(lambda path: read(path, start_seconds=5), path, "after 5 s: start earlier")


def test_only_what_is_asked_for_is_decoded(tmp_path, clip):
    """An hour is searched by its index; decoding it to the asked minute would take seconds of a processor."""
    path = tmp_path / "hour.mp4"
    ffmpeg("-stream_loop", "1799", "-i", clip, "-c", "copy", path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert probe(path).seconds == 3600
    assert difference(read(path, start_seconds=3000, num_frames=8), moving_square()) < 5
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 0.5


@pytest.mark.parametrize("start", [2, 100.5])
def test_a_start_beyond_the_end_is_refused(clip, start):
    """Nothing would be left; the message gives the length, so that the next start is a good one."""
    assert_refused(lambda path: read(path, start_seconds=start), clip, r"after .* \(it is 2 s long\): start earlier")


@pytest.mark.parametrize("content", NEITHER.values(), ids=NEITHER.keys())
@pytest.mark.parametrize("name", ["upload.mp4", "upload.png"])
def test_what_is_neither_video_nor_picture_is_refused(tmp_path, clip, content, name):
    """Lists that name another file are text: no demuxer that would open that file ever sees them."""
    (tmp_path / "secret.mp4").write_bytes(clip.read_bytes())
    path = tmp_path / name
    path.write_bytes(content)
    assert_refused(probe, path, "not a video: use MP4")
    assert_refused(read, path, "not a video: use MP4")
    assert_refused(read_picture, path, "not a picture: use PNG", InvalidPicture)


def test_a_picture_is_no_video_and_the_other_way_round(tmp_path, clip):
    """A PNG named .mp4 and an MP4 named .png are told apart by what they hold."""
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.mp4", "PNG")
    (tmp_path / "video.png").write_bytes(clip.read_bytes())
    assert_refused(probe, tmp_path / "picture.mp4", "not a video")
    assert_refused(read_picture, tmp_path / "video.png", "not a picture", InvalidPicture)


def test_a_path_that_is_no_file_is_refused_without_waiting(tmp_path):
    """A folder, nothing at all, and a pipe, on which opening would wait for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4", "missing.mp4", "nul\0.mp4"):
        assert_refused(probe, tmp_path / name, "no such file")
        assert_refused(read_picture, tmp_path / name, "no such file", InvalidPicture)


def test_sound_is_no_video_even_with_a_cover(tmp_path):
    """Music shops put a picture on the track, which ffmpeg lists among the video streams."""
    tone = ["-f", "lavfi", "-i", "sine=duration=1"]
    cover = [
        "-i",
        still(tmp_path / "cover.png", "64x64"),
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "png",
        "-disposition:v",
        "attached_pic",
    ]
    ffmpeg(*tone, tmp_path / "plain.m4a")
    ffmpeg(*tone, *cover, tmp_path / "cover.m4a")
    for name in ("plain.m4a", "cover.m4a"):
        assert_refused(probe, tmp_path / name, "no video track")
        assert_refused(read, tmp_path / name, "no video track")


def test_frames_too_large_or_too_small_are_refused(tmp_path):
    """8192x8192 is a file of some kilobytes and 200 MB a frame; below 16 pixels there is nothing to see."""
    for suffix in (".gif", ".avi", ".mp4"):
        codec = [] if suffix == ".gif" else ["-c:v", "mjpeg"]
        path = still(tmp_path / f"large{suffix}", "4112x4096", *codec)
        assert_refused(probe, path, "4112x4096 is too large: scale it")
        assert_refused(read, path, "4112x4096 is too large: scale it")
    assert_refused(probe, still(tmp_path / "small.mp4", "64x8"), "64x8 is too small")
    assert_refused(probe, still(tmp_path / "wide.mp4", "8192x64", "-vf", "setsar=50"), "409600x64 is too large")


def test_a_header_that_lies_about_the_size_is_found_out(tmp_path):
    """The container says 64x64, the frames inside are what is decoded: the limit holds for them."""
    content = still(tmp_path / "large.avi", "4112x4096", "-c:v", "mjpeg").read_bytes()
    path = tmp_path / "lying.avi"
    honest, lying = struct.pack("<2i", 4112, 4096), struct.pack("<2i", 64, 64)
    path.write_bytes(content.replace(honest, lying))
    assert path.read_bytes().count(lying) >= 2
    assert_refused(probe, path, "4112x4096 is too large")


def test_a_broken_video_is_refused(tmp_path, clip):
    """Without its index an MP4 says nothing; with noise for pictures it says nothing that can be shown."""
    ffmpeg("-i", clip, "-c", "copy", tmp_path / "whole.mp4")  # the index at its end
    content = (tmp_path / "whole.mp4").read_bytes()
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    noise = np.random.default_rng(0).bytes(end - start)
    for broken in (content[:end], content[: end // 2], content[:28], content[:start] + noise + content[end:]):
        path = tmp_path / "broken.mp4"
        path.write_bytes(broken)
        assert_refused(probe, path, "damaged, incomplete")
        assert_refused(read, path, "damaged, incomplete")
    for head in (b"\x1aE\xdf\xa3", b"RIFF\x24\0\0\0AVI ", b"GIF89a", b"\0\0\0\x18ftypisom"):
        path.write_bytes(head + noise)
        assert_refused(probe, path, "damaged, incomplete|no video track")


def test_a_download_that_broke_off_gives_the_frames_that_are_there(tmp_path, clip):
    """The index came first, so what has arrived plays; half a clip is better than none."""
    path = tmp_path / "part.mp4"
    content = clip.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) * 3 // 4])
    frames = read(path)
    assert 1 <= len(frames) < 8
    assert difference(frames[0], moving_square()[0]) < 5


@pytest.fixture
def children(tmp_path, monkeypatch) -> list[subprocess.Popen]:
    """Instead of ffmpeg, a program that never ends; here are the processes that were started."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    started = []

    class Child(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(video_io.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))
    monkeypatch.setattr(video_io.subprocess, "Popen", Child)
    return started


@pytest.mark.parametrize("is_probed", [False, True])
def test_a_file_that_takes_for_ever_is_given_up(monkeypatch, clip, children, is_probed):
    """A hostile file may keep a decoder busy as long as it likes; the server's worker would never come back."""
    monkeypatch.setattr(video_io, "TIMEOUT_S", 0.2)
    if is_probed:
        monkeypatch.setattr(video_io, "probe", lambda path: VideoFacts(136, 72, FPS, 2.0))
    assert_refused(read, clip, r"took over 0\.2 s to read: use a shorter")
    assert [child.returncode for child in children] == [-signal.SIGKILL]


def test_an_interruption_leaves_no_decoder_behind(monkeypatch, clip, children):
    """Whoever stops the program stops the child as well."""
    monkeypatch.setattr(video_io.subprocess.Popen, "communicate", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe(clip)
    assert [child.returncode for child in children] == [-signal.SIGKILL]


def _interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "wrong", [{"size": (0, 72)}, {"fps": 0}, {"fps": float("nan")}, {"num_frames": 0}, {"start_seconds": -1}]
)
def test_a_mistake_in_the_program_is_loud(clip, wrong):
    """The settings have bounds; what comes past them is not the user's doing."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        read(clip, **wrong)


@pytest.mark.parametrize(
    ("width", "height", "side", "fitted"),
    [
        (1920, 1080, 512, (512, 288)),
        (1080, 1920, 512, (288, 512)),
        (512, 512, 256, (256, 256)),
        (100, 50, 512, (512, 256)),
        (4000, 100, 512, (512, 64)),
        (1920, 1080, None, (1920, 1080)),
        (101, 99, None, (104, 104)),
        (4096, 2160, None, (2048, 1080)),
        (16, 16, None, (64, 64)),
    ],
)
def test_sizes_are_fitted(width, height, side, fitted):
    """Networks want multiples of eight and enough of them; the aspect gives way by no more than that."""
    assert fit_size(width, height, side=side) == fitted


def test_fitted_sizes_keep_the_aspect_and_the_multiple():
    """The shorter side is off by half a multiple at most, also for other multiples."""
    for width, height in np.random.default_rng(0).integers(200, 4096, (200, 2)).tolist():
        for multiple in (8, 32, 48, 64):
            fitted = fit_size(width, height, side=None, multiple=multiple)
            assert max(fitted) <= 2048
            assert min(fitted) >= 64
            assert fitted[0] % multiple == fitted[1] % multiple == 0
            shorter = max(fitted) * min(width, height) / max(width, height)
            assert min(fitted) <= 64 + multiple or abs(min(fitted) - shorter) <= multiple / 2


def test_the_shorter_side_of_a_fitted_size_gives_it_again():
    """It is all that a clip records of its size; where the longer side was cut to 2048, another came back."""
    shapes = np.random.default_rng(0).integers(16, 4096, (200, 2)).tolist()
    for width, height in [(500, 333), (854, 480), (2048, 858), (4000, 16), *shapes]:
        for side in range(64, 2049, 8):
            fitted = fit_shorter_side(width, height, side)
            assert max(fitted) <= 2048
            assert fit_shorter_side(width, height, min(fitted)) == fitted
            if max(fitted) < 2048:
                assert abs(min(fitted) - side) <= 8


@pytest.mark.parametrize("frames", [1, 2, 8])
@pytest.mark.parametrize("fps", [3, 6, 8, 15, 17, 28, 40, 48, 50])
def test_a_gif_read_at_its_own_speed_has_its_frames(tmp_path, fps, frames):
    """Its delays are hundredths of a second; at many speeds it lasts a little longer than its frames, and one came back
    twice."""
    levels = np.arange(frames) * 255 // max(1, frames - 1)
    written = np.repeat(levels.astype(np.uint8), 16 * 16 * 3).reshape(frames, 16, 16, 3)
    path = write_video(tmp_path / "a.gif", written, fps, {})
    read = read_video(path, size=(16, 16), fps=fps, num_frames=99)
    assert len(read) == frames
    assert np.abs(read.mean(axis=(1, 2, 3)) - levels).max() < 6
