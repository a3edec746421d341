"""Videos on disk: written with metadata inside, read from files that anyone may have made.

It knows frames and files, and nothing of models or settings. ffmpeg is told the container, opens that one local file,
and is stopped where a file asks for more pixels, memory or time than any honest one.
"""

import errno
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from errors import InvalidVideo
from media.files import MAX_PIXELS, UNREADABLE, kind_of, refuse_size
from media.metadata import as_comment, as_ffmetadata, insert_gif_comment
from media.processes import run
from media.rendering import Rendering, on_white, rendering

SUFFIXES = (".mp4", ".gif")
GIF_TICK_S = 0.01
FASTEST_GIF_FPS = 50  # delays are whole hundredths of a second, and players slow down what is below two of them
MAX_FITTED_PX, MIN_FITTED_PX = 2048, 64  # the longest side that fit_size keeps; the shortest it gives
MAX_READ_PIXELS = 64 * 1024 * 1024  # of all frames that are read at once; 192 MB
TIMEOUT_S = 60.0  # for one run of ffmpeg over a file of a stranger

# At crf 16 flat shapes keep clean edges. The colour matrix is used and declared: players guess where it is not.
_H264 = (
    "-vf",
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd,"
    "setparams=color_primaries=bt709:color_trc=bt709",
    *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-profile:v", "high", "-crf", "16", "-movflags", "+faststart"),
    *("-f", "mp4"),
)
# One palette for all frames, or colours flicker; an ordered pattern, because error diffusion crawls over still areas.
_GIF = (
    *("-vf", "split[a][b];[a]palettegen=reserve_transparent=0[p];[b][p]paletteuse=dither=bayer:bayer_scale=4"),
    *("-loop", "0", "-f", "gif"),
)

# First bytes of a file, by ffmpeg's name of its container.
_VIDEOS = {
    "mov": rb"....(?:ftyp|moov|mdat|wide|free|skip)",
    "matroska": rb"\x1aE\xdf\xa3",
    "avi": rb"RIFF....AVI ",
    "gif": rb"GIF8[79]a",
}
# Limits on what a file can ask for: the packets of a first look alone can turn 6 MB into 3 GB, an index likewise.
_UNTRUSTED = (
    *("-protocol_whitelist", "file", "-max_pixels", str(MAX_PIXELS), "-max_alloc", str(1 << 28)),
    *("-max_streams", "32", "-probesize", "200000"),
)
_FIRST_FRAME = rb"#tb 0: (\d+)/(\d+)\n.*#dimensions 0: (\d+)x(\d+)\n#sar 0: (\d+)/(\d+)\n0,"  # in a list of checksums


@dataclass(frozen=True)
class VideoFacts:
    """Properties of a video before it is decoded.

    Args:
        width: pixels as displayed: rotation and the shape of the pixels applied.
        height: pixels as displayed.
        fps: frames per second, the finest where they vary; always above zero.
        seconds: length by the container; None where it does not say.
    """

    width: int
    height: int
    fps: float
    seconds: float | None


def write_video(path: Path, frames: np.ndarray, fps: int, metadata: Mapping[str, str]) -> Path:
    """Write an MP4 (H.264, exact size) or a looping GIF, by the suffix, and return the path.

    The file appears under its name only when it is whole; until then, and after any failure, what was there stays.

    Args:
        frames: uint8 (frames, height, width, 3).
        fps: frames per second; a GIF is never faster than 50.
        metadata: any texts by name; ``read_metadata`` gives them back exactly.

    Raises:
        ValueError: frames of another type or shape, an odd size for MP4, or another suffix.
        OSError: the folder cannot be written, or the disk is full.
    """
    path = Path(path).absolute()
    suffix = path.suffix.lower()
    _check(suffix, frames, fps)
    comment = as_comment(metadata)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".video-") as folder:
        unfinished = Path(folder) / f"video{suffix}"
        if suffix == ".gif":
            _run_ffmpeg(frames, min(fps, FASTEST_GIF_FPS), [*_GIF, str(unfinished)])
            insert_gif_comment(unfinished, comment)
        else:
            tags = Path(folder) / "tags.txt"
            tags.write_bytes(as_ffmetadata(comment))
            tagged = ["-f", "ffmetadata", "-i", str(tags), "-map", "0:v", "-map_metadata", "1"]
            _run_ffmpeg(frames, fps, [*tagged, *_H264, str(unfinished)])
        os.replace(unfinished, path)
    return path


def probe(path: Path) -> VideoFacts:
    """Return the facts of an MP4, MOV, WebM, MKV, AVI or GIF; one frame is decoded, because a header may be untrue.

    Raises InvalidVideo, in one line without the path, where this is no such video or its frames are too large or small.
    """
    return _look(path)[0]


def _look(path: Path) -> tuple[VideoFacts, Rendering]:
    """The facts of a video, and how it is shown; raises InvalidVideo."""
    first_frame = ["-map", "0:V:0", "-frames:v", "1", "-f", "framecrc", "pipe:1"]
    decoded = _read_with_ffmpeg(path, first_frame)
    told = _read_with_ffmpeg(path, [], level="info").stderr
    header = re.search(_FIRST_FRAME, decoded.stdout, re.DOTALL)
    if header is None:
        if too_large := re.search(rb"Picture size (\d+)x(\d+) exceeds", told):
            refuse_size(int(too_large[1]), int(too_large[2]), InvalidVideo)
        if b"matches no streams" in decoded.stderr:
            raise InvalidVideo("this file has no video track: choose one with moving pictures")
        raise InvalidVideo(f"this video {UNREADABLE} MP4 (H.264)")
    step, steps_per_second, width, height, pixel_width, pixel_height = map(int, header.groups())
    if pixel_width and pixel_height:
        width = round(width * pixel_width / pixel_height)
    refuse_size(width, height, InvalidVideo)
    duration = re.search(rb"\n  Duration: (\d+):(\d\d):(\d\d\.\d+)", told)
    seconds = 3600 * int(duration[1]) + 60 * int(duration[2]) + float(duration[3]) if duration else None
    return VideoFacts(width, height, steps_per_second / step, seconds), rendering(told, _kind(path))


def read_video(
    path: Path, *, size: tuple[int, int], fps: float, num_frames: int, start_seconds: float = 0.0
) -> np.ndarray:
    """Read frames of a video at another size and speed, in time and memory that depend only on the arguments.

    Args:
        size: width and height to scale to, whatever the video's own.
        fps: frames per second of the result; frames of the video are left out or repeated.
        num_frames: at most; a video that ends earlier gives fewer.
        start_seconds: of the video, where the result begins.

    Returns:
        uint8 (frames, height, width, 3), RGB as a browser shows it, at least one frame.

    Raises:
        ValueError: a size, speed, number or start that only a mistake in the program asks for.
        InvalidVideo: as ``probe``, where the video ends before the start, and where its frames at that size are more
            than the memory of an honest one.
    """
    width, height = size
    if min(width, height, num_frames) < 1 or not 0.01 <= fps <= 1000 or not 0 <= start_seconds < 1e6:
        raise ValueError(f"size {size}, fps {fps}, num_frames {num_frames}, start_seconds {start_seconds}")
    if width * height > MAX_PIXELS:
        raise InvalidVideo(f"this video is too long and thin: at this size it would be {width}x{height}")
    most_frames = MAX_READ_PIXELS // (width * height)
    facts, shown = _look(path)
    seconds = facts.seconds
    # The last frame is passed on: rounding away what is shown for less than half a step would leave short clips empty.
    speed = f"fps={fps:.6f}:eof_action=pass"
    scaling = f"scale={width}:{height}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    output = [
        *("-map", "0:V:0", "-vf", ",".join([*shown.before, speed, scaling, *shown.after])),
        *("-fps_mode", "passthrough", "-frames:v", str(min(num_frames, most_frames + 2))),
        *("-pix_fmt", shown.pixels, "-f", "rawvideo", "pipe:1"),
    ]
    done = _read_with_ffmpeg(path, output, before=["-ss", f"{start_seconds:.6f}", *shown.decoder])
    if done.returncode:
        raise InvalidVideo(f"this video {UNREADABLE} MP4 (H.264)")
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, shown.channels)
    if seconds is not None and _kind(path) == "gif":  # it may last a tick longer than its frames, which shows no other
        frames = frames[: max(1, math.ceil((seconds - start_seconds - GIF_TICK_S) * fps - 1e-6))]
    if len(frames) > most_frames:
        raise InvalidVideo(f"this video has over {most_frames} frames of {width}x{height}: take fewer or smaller ones")
    frames = on_white(frames)
    if not len(frames):
        length = "" if seconds is None else f" (it is {seconds:g} s long)"
        raise InvalidVideo(f"this video shows nothing new after {start_seconds:g} s{length}: start earlier")
    return frames


def fit_size(width: int, height: int, *, side: int | None, multiple: int = 8) -> tuple[int, int]:
    """Return the size nearest to a shape whose sides are multiples and at least 64: width and height.

    Args:
        side: the longest side of the result; None keeps the size as it is, up to 2048.
        multiple: what both sides are rounded to; the shorter follows the rounded longer one.
    """
    longest = max(width, height)
    wanted = min(longest, MAX_FITTED_PX // multiple * multiple) if side is None else side
    scale = max(1, round(wanted / multiple)) * multiple / longest
    least = -(-MIN_FITTED_PX // multiple)
    fitted_width, fitted_height = (
        max(least, round(length * scale / multiple)) * multiple for length in (width, height)
    )
    return fitted_width, fitted_height


def fit_shorter_side(width: int, height: int, side: int) -> tuple[int, int]:
    """The size nearest to a shape with this shorter side, or as large as ``fit_size`` goes, in multiples of 8.

    The shorter side of the result, given again, gives the result again; that is all that a clip records of its size.
    """
    largest = fit_size(width, height, side=MAX_FITTED_PX)
    if side >= min(largest):
        return largest
    return fit_size(width, height, side=round(side * max(width, height) / min(width, height)))


def _kind(path: Path) -> str:
    """The name that ffmpeg has for a file of its first bytes; raises InvalidVideo for other files."""
    return kind_of(path, _VIDEOS, InvalidVideo("this file is not a video: use MP4, MOV, WebM, MKV, AVI or GIF"))


def _read_with_ffmpeg(
    path: Path, output: Sequence[str], *, before: Sequence[str] = (), level: str = "fatal"
) -> subprocess.CompletedProcess[bytes]:
    """Let ffmpeg read one file as its first bytes say; it is killed when the time is over or this process interrupted.

    Its messages stay here: there are paths in them, and a file can cause gigabytes of them unless only ``fatal`` is on.
    """
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", level, *_UNTRUSTED, *before),
        *("-f", _kind(path), "-i", f"file:{Path(path).absolute()}", *output),
    ]
    try:
        return run(command, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise InvalidVideo(f"this video took over {TIMEOUT_S:g} s to read: use a shorter or smaller one") from None


def _check(suffix: str, frames: np.ndarray, fps: int) -> None:
    """Raise ValueError for frames, names and speeds that only a mistake in the program asks for."""
    if suffix not in SUFFIXES:
        raise ValueError(f"a video's name ends in {' or '.join(SUFFIXES)}, not {suffix!r}")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be uint8 (frames, height, width, 3), not {frames.dtype} {frames.shape}")
    if suffix == ".mp4" and (frames.shape[1] % 2 or frames.shape[2] % 2):
        raise ValueError(f"MP4 halves the colour planes: {frames.shape[2]}x{frames.shape[1]} must be even")
    if fps < 1:
        raise ValueError(f"fps must be at least 1, not {fps}")


def _run_ffmpeg(frames: np.ndarray, fps: int, output: list[str]) -> None:
    """Encode raw frames; the child ends with this process."""
    height, width = frames.shape[1:3]
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"),
        *("-framerate", str(fps), "-i", "pipe:0", *output),
    ]
    pixels = np.ascontiguousarray(frames).reshape(-1).data
    done = run(command, input=pixels)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        full = os.strerror(errno.ENOSPC) in said
        raise OSError(errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC) if full else f"ffmpeg: {said}")
