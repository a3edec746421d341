"""Paths, names of files and text files as users and their editors write them, wherever they stand."""

import codecs
import os
import unicodedata
from pathlib import Path

MAX_NAME_CHARS, MAX_NAME_BYTES = 80, 160


def user_path(text: str | Path) -> Path:
    """Return a path as a user means it: ``~`` is the home folder, also where no shell has said so."""
    return Path(os.path.expanduser(text))


def words_for_name(text: str) -> str:
    """Return the words of a text for a file's name, in their own script, with dashes between them; at most
    MAX_NAME_CHARS and MAX_NAME_BYTES, since a file system counts bytes."""
    plain = unicodedata.normalize("NFC", text.lower())
    shown = "".join(sign if unicodedata.category(sign)[0] in "LNM" else " " for sign in plain)
    name = "-".join(shown.split())[:MAX_NAME_CHARS].encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    return name.strip("-")


def read_text(path: Path, *, errors: str = "strict") -> str:
    """Read a text file as any editor writes it: UTF-8, or UTF-16 with its byte order mark; lines of any system.

    Raises OSError, and UnicodeDecodeError (a ValueError) for other bytes, unless ``errors`` says what becomes of them,
    as in ``bytes.decode``.
    """
    content = path.read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "\n".join(content.decode("utf-16" if is_utf16 else "utf-8-sig", errors).replace("\r\n", "\n").split("\r"))


def named_in(variable: str) -> list[str]:
    """Return the sources that an environment variable names, separated by commas; a comma in the name of a file that
    is there divides nothing."""
    named: list[str] = []
    parts = os.environ.get(variable, "").split(",")
    while parts:
        joined = [",".join(parts[:end]).strip() for end in range(len(parts), 0, -1)]
        taken = next((each for each in joined if os.path.exists(user_path(each))), joined[-1])
        named, parts = [*named, taken], parts[len(joined) - joined.index(taken) :]
    return [name for name in named if name]
