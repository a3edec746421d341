"""Writes videos with facts about themselves inside, and reads those facts back.

It knows frames and files, and nothing of models or settings. The facts travel as one ASCII JSON text in the
container's own comment (MP4: the comment tag; GIF: a comment extension), where other programs see it as well.
Encoding is left to ffmpeg; reading never is: what is uploaded here gets no further than the few bytes looked at.
"""

import errno
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import imageio_ffmpeg
import numpy as np

from errors import InvalidVideo

SUFFIXES = (".mp4", ".gif")
MARK = "text2video"  # the comment is {MARK: metadata}; comments of other programs are not ours to read
MAX_COMMENT_BYTES = 1 << 20
MAX_BLOCKS = 10_000  # boxes of an MP4 level, blocks of a GIF: a file of nothing else would take minutes
FASTEST_GIF_FPS = 50  # delays are whole hundredths of a second, and players slow down what is below two of them

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
    comment = json.dumps({MARK: dict(metadata)}).encode("ascii")
    if len(comment) > MAX_COMMENT_BYTES:
        raise ValueError(f"metadata: {len(comment)} bytes, more than the {MAX_COMMENT_BYTES} that are read back")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".video-") as folder:
        unfinished = Path(folder) / f"video{suffix}"
        if suffix == ".gif":
            _run_ffmpeg(frames, min(fps, FASTEST_GIF_FPS), [*_GIF, str(unfinished)])
            _insert_gif_comment(unfinished, comment)
        else:
            tags = Path(folder) / "tags.txt"
            tags.write_bytes(_ffmetadata(comment))
            tagged = ["-f", "ffmetadata", "-i", str(tags), "-map", "0:v", "-map_metadata", "1"]
            _run_ffmpeg(frames, fps, [*tagged, *_H264, str(unfinished)])
        os.replace(unfinished, path)
    return path


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata inside an MP4 or GIF of this program, found in time and memory that the file cannot stretch.

    Raises InvalidVideo, in one line without the path, where the file is no whole video or carries none.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidVideo("there is no such file")
    try:
        with path.open("rb") as file:
            comment = _read_comment(file)
    except OSError as error:
        raise InvalidVideo(f"the file cannot be read: {error.strerror}") from None
    return _parse_comment(comment)


def _check(suffix: str, frames: np.ndarray, fps: int) -> None:
    """Raise ValueError for what only a mistake in the program asks for."""
    if suffix not in SUFFIXES:
        raise ValueError(f"a video's name ends in {' or '.join(SUFFIXES)}, not {suffix!r}")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be uint8 (frames, height, width, 3), not {frames.dtype} {frames.shape}")
    if suffix == ".mp4" and (frames.shape[1] % 2 or frames.shape[2] % 2):
        raise ValueError(f"MP4 halves the colour planes: {frames.shape[2]}x{frames.shape[1]} must be even")
    if fps < 1:
        raise ValueError(f"fps must be at least 1, not {fps}")


def _run_ffmpeg(frames: np.ndarray, fps: int, output: list[str]) -> None:
    """Encode raw frames; the child is killed if this process is interrupted, and ends by itself if it is killed."""
    height, width = frames.shape[1:3]
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"),
        *("-framerate", str(fps), "-i", "pipe:0", *output),
    ]
    pixels = np.ascontiguousarray(frames).reshape(-1).data
    done = subprocess.run(command, input=pixels, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        full = os.strerror(errno.ENOSPC) in said
        raise OSError(errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC) if full else f"ffmpeg: {said}")


def _ffmetadata(comment: bytes) -> bytes:
    """ffmpeg's own file of tags, in which four signs are escaped; unlike argv it may be long."""
    for sign in (b"\\", b"=", b";", b"#"):
        comment = comment.replace(sign, b"\\" + sign)
    return b";FFMETADATA1\ncomment=" + comment + b"\n"


def _insert_gif_comment(path: Path, comment: bytes) -> None:
    """Put a comment extension (GIF89a, section 24) before everything that is drawn."""
    gif = path.read_bytes()
    start = _end_of_gif_head(gif)
    pieces = (comment[at : at + 255] for at in range(0, len(comment), 255))
    blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    path.write_bytes(gif[:start] + b"!\xfe" + blocks + b"\0" + gif[start:])


def _end_of_gif_head(head: bytes) -> int:
    """Where the blocks begin: after the signature, the screen (13 bytes) and the global palette."""
    return 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)


def _read_comment(file: BinaryIO) -> bytes:
    """The comment of an MP4 or GIF, empty where there is none."""
    head = file.read(13)
    size = file.seek(0, os.SEEK_END)
    if head[4:8] == b"ftyp":
        return _read_mp4_comment(file, size)
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) == 13:
        return _read_gif_comment(file, _end_of_gif_head(head))
    raise InvalidVideo("this is not an MP4 or GIF video")


def _read_mp4_comment(file: BinaryIO, size: int) -> bytes:
    """The value at moov/udta/meta/ilst/©cmt/data (ISO 14496-12; the list of tags is QuickTime's)."""
    boxes = _boxes(file, 0, size)
    if b"moov" not in boxes or max(end for _, end in boxes.values()) != size:
        raise InvalidVideo("this MP4 is not complete")
    start, end = boxes[b"moov"]
    for kind, own_fields in ((b"udta", 0), (b"meta", 4), (b"ilst", 0), (b"\xa9cmt", 0), (b"data", 8)):
        inner = _boxes(file, start, end)
        if kind not in inner:
            return b""
        start, end = inner[kind][0] + own_fields, inner[kind][1]
    file.seek(start)
    return file.read(max(0, min(end - start, MAX_COMMENT_BYTES)))


def _boxes(file: BinaryIO, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Where the contents of the boxes between two places begin and end, by kind, up to the first that is broken."""
    boxes = {}
    for _ in range(MAX_BLOCKS):
        file.seek(start)
        head = file.read(16)
        size, kind, used = int.from_bytes(head[:4]), head[4:8], 8
        if size == 1:
            size, used = int.from_bytes(head[8:16]), 16
        if len(head) < used or size < used or start + size > end:
            break
        boxes[kind] = (start + used, start + size)
        start += size
    return boxes


def _read_gif_comment(file: BinaryIO, start: int) -> bytes:
    """The first comment among the extensions before the first picture."""
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b";":
        raise InvalidVideo("this GIF is not complete")
    file.seek(start)
    for _ in range(MAX_BLOCKS):
        head = file.read(2)
        if head[:1] != b"!":
            break
        data = b"".join(_sub_blocks(file))
        if head == b"!\xfe":
            return data
    return b""


def _sub_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The data of one GIF extension."""
    for _ in range(MAX_COMMENT_BYTES // 255 + 1):
        length = file.read(1)
        if length in (b"", b"\0"):
            return
        yield file.read(length[0])


def _parse_comment(comment: bytes) -> dict[str, str]:
    """The metadata in a comment; raises InvalidVideo where another program wrote it."""
    try:
        metadata: Any = json.loads(comment.decode("ascii"))[MARK]
    except (ValueError, LookupError, TypeError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise InvalidVideo("this video carries no settings of this program")
    return metadata
