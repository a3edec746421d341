"""Programs that work for this one and end with it, however it ends."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program as ``subprocess.run`` does, and catch its output.

    It is killed if this process is interrupted. On Linux it is also killed when this process, or the thread that waits
    for it, is; elsewhere it then goes on to its end.
    """
    options = {"capture_output": True, "check": False, **options}
    if sys.platform.startswith("linux"):
        options["preexec_fn"] = _dying_with(os.getpid())
    return subprocess.run(command, **options)


def _dying_with(parent: int) -> Callable[[], None]:
    """A function for a new process, which asks the system to kill it when its parent dies; nothing is imported or
    looked up in it, since threads of the parent may hold locks."""
    prctl, parent_of, leave = ctypes.CDLL(None).prctl, os.getppid, os._exit
    kill = ctypes.c_ulong(signal.SIGKILL)

    def ask() -> None:
        prctl(SET_PARENT_DEATH_SIGNAL, kill)
        if parent_of() != parent:  # it died before
            leave(1)

    return ask
