"""Comments inside videos, wherever MP4, QuickTime, Matroska and GIF let one stand, whichever program wrote it there.

No decoder is asked: a file gets no further than the few bytes looked at, in time and memory that it cannot stretch.
What stands behind the end of a video, or is missing there, and what players do not mind, does no harm.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

from errors import InvalidVideo

MAX_COMMENT_BYTES = 1 << 20
MAX_BLOCKS = 10_000  # boxes of an MP4, elements of a Matroska file, blocks of a GIF: of nothing else they take minutes
MAX_SUB_BLOCKS = 2_000_000  # of a GIF's pictures, 255 bytes each
_OF_BOXES = (b"meta", b"moov", b"trak", b"udta", b"ilst")
_PICTURES = (b"mdat", b"moof")
# Identifiers of Matroska (RFC 9559): the elements that lead to tags, and their names and texts.
_SEGMENT, _TAGS, _TAG, _SIMPLE_TAG, _TEXT = b"\x18S\x80g", b"\x12T\xc3g", b"ss", b"g\xc8", b"D\x87"


def comments(file: BinaryIO) -> Iterator[bytes]:
    """Yield the texts of a video's comments and other tags; raises InvalidVideo where it is no whole video."""
    head = file.read(13)
    size = file.seek(0, os.SEEK_END)
    if head[4:8] in (b"ftyp", b"moov", b"wide", b"free", b"skip", b"mdat"):
        return _of_mp4(file, size)
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) == 13:
        return _of_gif(file, end_of_gif_head(head))
    if head[:4] == b"\x1aE\xdf\xa3":
        return _of_matroska(file, size)
    raise InvalidVideo("this is not an MP4 or GIF video, nor a MOV, MKV or WebM one")


def end_of_gif_head(head: bytes) -> int:
    """Position of the first block: after the signature, the screen (13 bytes) and the global palette."""
    return 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)


def _text(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(0, min(end - start, MAX_COMMENT_BYTES)))


def _of_mp4(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Texts in lists of tags (iTunes' and QuickTime's) and in QuickTime's user data, of the video and its tracks."""
    kinds = {kind for kind, _, _ in _boxes(file, 0, size, whole=True)}
    if b"moov" not in kinds or not kinds & set(_PICTURES):
        raise InvalidVideo("this MP4 is not complete")
    yield from _tags(file, 0, size)


def _boxes(file: BinaryIO, start: int, end: int, *, whole: bool = False) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the contents of the boxes between two positions, up to the first that is none.

    ``whole`` raises InvalidVideo for one of the pictures or the index that is cut off, and for too many.
    """
    for _ in range(MAX_BLOCKS):
        file.seek(start)
        head = file.read(16)
        size, kind, used = int.from_bytes(head[:4]), head[4:8], 8
        if size == 1:
            size, used = int.from_bytes(head[8:16]), 16
        elif size == 0:
            size = end - start  # to the end of the file
        if len(head) < used or size < used:
            return
        if start + size > end:
            if whole and kind in (b"moov", *_PICTURES):
                raise InvalidVideo("this MP4 is not complete")
            return
        yield kind, start + used, start + size
        start += size
    if whole:
        raise InvalidVideo("this MP4 is not complete")


def _tags(file: BinaryIO, start: int, end: int, parents: tuple[bytes, ...] = ()) -> Iterator[bytes]:
    """The texts in boxes between two positions, and in the boxes in those."""
    parent = parents[-1] if parents else b""
    for kind, begin, close in _boxes(file, start, end):
        if kind == b"data" and parents[-2:-1] == (b"ilst",):
            yield _text(file, begin + 8, close)
        elif kind[:1] == b"\xa9" and parent == b"udta":
            yield _text(file, begin + 4, close)  # after its length and language
        elif kind in _OF_BOXES or parent == b"ilst":
            # In MP4 "meta" has four bytes of its own before the boxes in it, in QuickTime none.
            begin += 4 if kind == b"meta" and _text(file, begin, begin + 4) == b"\0\0\0\0" else 0
            yield from _tags(file, begin, close, (*parents, kind)) if len(parents) < 6 else ()


def _of_matroska(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Texts of the tags, which stand before or behind the pictures."""
    for name, start, end in _elements(file, 0, size):
        if name == _SEGMENT:
            for inner, begin, close in _elements(file, start, end):
                if inner == _TAGS:
                    yield from _simple_tags(file, begin, close, depth=0)


def _simple_tags(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[bytes]:
    for name, begin, close in _elements(file, start, end):
        if name == _TEXT:
            yield _text(file, begin, close)
        elif name in (_TAG, _SIMPLE_TAG) and depth < 4:
            yield from _simple_tags(file, begin, close, depth + 1)


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Identifier, begin and end of the contents of the elements between two positions; one of unknown size is the
    last."""
    for _ in range(MAX_BLOCKS):
        file.seek(start)
        head = file.read(12)
        length = _width(head[:1])
        width = _width(head[length : length + 1])
        used = length + width
        if not length or not width or len(head) < used or start >= end:
            return
        size = int.from_bytes(head[length:used]) & (1 << 7 * width) - 1
        unknown = size == (1 << 7 * width) - 1
        stop = end if unknown else min(end, start + used + size)
        yield head[:length], start + used, stop
        start = stop


def _width(first: bytes) -> int:
    """Bytes of a number of variable length, by its first; 0 for none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _of_gif(file: BinaryIO, start: int) -> Iterator[bytes]:
    """Comment extensions, before, between and behind the pictures; raises InvalidVideo where one breaks off."""
    file.seek(start)
    texts: list[bytes] = []
    pictures = 0
    for _ in range(MAX_BLOCKS):
        kind = file.read(1)
        if kind in (b"", b";") and pictures:
            yield from texts
            return
        if kind == b"!":
            is_comment = file.read(1) == b"\xfe"
            data = _sub_blocks(file, MAX_COMMENT_BYTES if is_comment else 0)
            texts += [data] if is_comment else []
        elif kind == b",":
            facts = file.read(9)
            palette = 3 << (facts[8] & 7) + 1 if len(facts) == 9 and facts[8] & 0x80 else 0
            if len(facts) < 9 or len(file.read(palette + 1)) <= palette:
                break
            _sub_blocks(file, 0)
            pictures += 1
        else:
            break
    raise InvalidVideo("this GIF is not complete")


def _sub_blocks(file: BinaryIO, kept: int) -> bytes:
    """The first ``kept`` bytes of the data of one GIF block; raises InvalidVideo where it breaks off."""
    data = bytearray()
    for _ in range(MAX_SUB_BLOCKS):
        length = file.read(1)
        if length == b"\0":
            return bytes(data)
        piece = file.read(length[0]) if length else b""
        if not length or len(piece) < length[0]:
            break
        if len(data) < kept:
            data += piece
    raise InvalidVideo("this GIF is not complete")
