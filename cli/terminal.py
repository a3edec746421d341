"""Standard streams of the command line: one-line messages, a progress bar, and Ctrl-C as an event."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generation.progress import Progress

BAR_CHARS, TERMINAL_CHARS, MESSAGE_CHARS = 24, 79, 500


def one_line(text: str) -> str:
    """Return the text as one printable line of at most MESSAGE_CHARS, with escapes for signs that are not printable."""
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return shown if len(shown) <= MESSAGE_CHARS else f"{shown[:MESSAGE_CHARS]}..."


def write_result(text: str) -> None:
    """Write the result of a command to the standard output."""
    sys.stdout.write(f"{text}\n")


def write_remark(text: str) -> None:
    """Write one line to the error output."""
    sys.stderr.write(f"{one_line(text)}\n")


def redraw_line(text: str) -> None:
    """Write a text over the last line of a terminal; logs and pipes get none of this."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<{TERMINAL_CHARS}}" if text else f"\r{'':{TERMINAL_CHARS}}\r")
        sys.stderr.flush()


def draw_progress(progress: Progress) -> None:
    """Draw a bar of the work done, the step, and the time left."""
    bar = "#" * round(progress.fraction * BAR_CHARS)
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    redraw_line(f"[{bar:.<{BAR_CHARS}}] step {progress.step} of {progress.total}{left}")


@contextmanager
def cancel_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, so that the job ends by itself; the second one ends the program."""
    cancel = threading.Event()

    def stop(*_: object) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)
