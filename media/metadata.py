"""Metadata of a video, how it was made, in its own comment: one ASCII JSON text that other programs show as well.

Written into the two containers of this program (MP4: the comment tag; GIF: a comment extension), read wherever other
programs have left it (comments.py).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errors import InvalidVideo
from media.comments import MAX_COMMENT_BYTES, comments, end_of_gif_head
from media.files import opened

MARK = "text2video"  # the comment is {MARK: metadata}; comments of other programs are not ours to read
MARK_WITHIN_BYTES = 64  # of the beginning


def as_comment(metadata: Mapping[str, str]) -> bytes:
    """Return the text that holds the metadata; raises ValueError where it is longer than will be read back."""
    comment = json.dumps({MARK: dict(metadata)}).encode("ascii")
    if len(comment) > MAX_COMMENT_BYTES:
        raise ValueError(f"metadata: {len(comment)} bytes, more than the {MAX_COMMENT_BYTES} that are read back")
    return comment


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata inside a video of this program, in time and memory that the file cannot stretch.

    Raises InvalidVideo, in one line without the path, where the file is no whole video or carries none.
    """
    with opened(path, InvalidVideo) as file:
        for comment in comments(file):
            if (metadata := _parse(comment)) is not None:
                return metadata
    raise InvalidVideo(
        "this video carries no settings of this program; another program that has saved it may have removed them"
    )


def as_ffmetadata(comment: bytes) -> bytes:
    """Return the comment as ffmpeg's own file of tags, with four characters escaped; unlike argv it may be long."""
    for sign in (b"\\", b"=", b";", b"#"):
        comment = comment.replace(sign, b"\\" + sign)
    return b";FFMETADATA1\ncomment=" + comment + b"\n"


def insert_gif_comment(path: Path, comment: bytes) -> None:
    """Put a comment extension (GIF89a, section 24) before everything that is drawn."""
    gif = path.read_bytes()
    start = end_of_gif_head(gif)
    pieces = (comment[at : at + 255] for at in range(0, len(comment), 255))
    blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    path.write_bytes(gif[:start] + b"!\xfe" + blocks + b"\0" + gif[start:])


def _parse(comment: bytes) -> dict[str, str] | None:
    """The metadata in a comment; None where another program wrote it."""
    if not comment.lstrip().startswith(b"{") or MARK.encode() not in comment[:MARK_WITHIN_BYTES]:
        return None
    try:
        metadata: Any = json.loads(comment.rstrip(b"\0").decode("ascii"))[MARK]
    except (ValueError, LookupError, TypeError, RecursionError):
        metadata = None
    is_ours = isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
    return metadata if is_ours else None
