"""Metadata of a video, how it was made, in its own comment: one ASCII JSON text that other programs show as well.

It knows the two containers this program writes (MP4: the comment tag; GIF: a comment extension) and nothing of
pictures. Reading is never left to a decoder: an upload gets no further than the few bytes looked at.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from errors import InvalidVideo
from media.files import opened

MARK = "text2video"  # the comment is {MARK: metadata}; comments of other programs are not ours to read
MAX_COMMENT_BYTES = 1 << 20
MAX_BLOCKS = 10_000  # boxes of an MP4 level, blocks of a GIF: a file of nothing else would take minutes


def as_comment(metadata: Mapping[str, str]) -> bytes:
    """Return the text that holds the metadata; raises ValueError where it is longer than will be read back."""
    comment = json.dumps({MARK: dict(metadata)}).encode("ascii")
    if len(comment) > MAX_COMMENT_BYTES:
        raise ValueError(f"metadata: {len(comment)} bytes, more than the {MAX_COMMENT_BYTES} that are read back")
    return comment


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata inside an MP4 or GIF of this program, in time and memory that the file cannot stretch.

    Raises InvalidVideo, in one line without the path, where the file is no whole video or carries none.
    """
    with opened(path, InvalidVideo) as file:
        return _parse(_find(file))


def as_ffmetadata(comment: bytes) -> bytes:
    """Return the comment as ffmpeg's own file of tags, with four characters escaped; unlike argv it may be long."""
    for sign in (b"\\", b"=", b";", b"#"):
        comment = comment.replace(sign, b"\\" + sign)
    return b";FFMETADATA1\ncomment=" + comment + b"\n"


def insert_gif_comment(path: Path, comment: bytes) -> None:
    """Put a comment extension (GIF89a, section 24) before everything that is drawn."""
    gif = path.read_bytes()
    start = _end_of_gif_head(gif)
    pieces = (comment[at : at + 255] for at in range(0, len(comment), 255))
    blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    path.write_bytes(gif[:start] + b"!\xfe" + blocks + b"\0" + gif[start:])


def _end_of_gif_head(head: bytes) -> int:
    """Position of the first block: after the signature, the screen (13 bytes) and the global palette."""
    return 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)


def _find(file: BinaryIO) -> bytes:
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
    """Begin and end of the contents of the boxes between two positions, by kind, up to the first that is broken."""
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


def _parse(comment: bytes) -> dict[str, str]:
    """The metadata in a comment; raises InvalidVideo where another program wrote it."""
    try:
        metadata: Any = json.loads(comment.decode("ascii"))[MARK]
    except (ValueError, LookupError, TypeError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise InvalidVideo("this video carries no settings of this program")
    return metadata
