"""Files that anyone may have made: opened without waiting, told apart by their first bytes, refused by their size.

The name of a file decides nothing. Refusals are one line without the path.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from errors import UserError

MAX_PIXELS = 4096 * 4096  # of one frame or picture
MIN_SIDE_PX = 16
UNREADABLE = "is damaged, incomplete or of an unknown kind: save it again as"


@contextmanager
def opened(path: Path, refusal: type[UserError]) -> Iterator[BinaryIO]:
    """Open an ordinary file to read; others, such as pipes, can make the opening wait for ever. Raises ``refusal``."""
    path = Path(path)
    if not path.is_file():
        raise refusal("there is no such file")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise refusal(f"the file cannot be read: {error.strerror}") from None


def kind_of(path: Path, beginnings: Mapping[str, bytes], otherwise: UserError) -> str:
    """Return the kind of a file by its first bytes, regular expressions by kind; raises ``otherwise`` for no match."""
    with opened(path, type(otherwise)) as file:
        head = file.read(16)
    for name, beginning in beginnings.items():
        if re.match(beginning, head, re.DOTALL):
            return name
    raise otherwise


def refuse_size(width: int, height: int, refusal: type[UserError]) -> None:
    """Raise ``refusal`` where a frame or picture is too large to decode or too small to show anything."""
    if width * height > MAX_PIXELS:
        raise refusal(f"{width}x{height} is too large: scale it to at most {MAX_PIXELS} pixels, such as 4096x4096")
    if min(width, height) < MIN_SIDE_PX:
        raise refusal(f"{width}x{height} is too small: both sides must have at least {MIN_SIDE_PX} pixels")
