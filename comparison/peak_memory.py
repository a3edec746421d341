"""Peak memory of a run: of a graphics card as PyTorch counts it, of a processor as the system does."""

import ctypes
import gc
import threading
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
ANONYMOUS, WATCH_EVERY_S = "RssAnon:", 0.01


class PeakMemory:
    """Watch over a device's memory: the most in use until ``stop``, above the use when this was made.

    Of a processor's memory only what the program has written itself counts: pages of libraries and files, which the
    first run reads for all that follow, do not.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._watched = device.startswith("cpu") and STATUS.exists() and ANONYMOUS in STATUS.read_text()
        self._stopped = threading.Event()
        self._before = self._most = 0
        if device.startswith("cuda"):
            import torch

            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        elif self._watched:
            give_back_heap()
            self._before = anonymous_bytes()
            threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> int | None:
        """Return the peak in bytes; None if the system does not tell: for Apple's graphics, and outside Linux."""
        self._stopped.set()
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self._device) - self._before)
        return max(0, max(self._most, anonymous_bytes()) - self._before) if self._watched else None

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_EVERY_S):
            self._most = max(self._most, anonymous_bytes())


def anonymous_bytes() -> int:
    """Return this process's resident memory that belongs to no file, in bytes. Linux only."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(ANONYMOUS))
    return int(line.split()[1]) * 1024


def give_back_heap() -> None:
    """Return freed memory from the GNU C library to the system."""
    gc.collect()
    if STATUS.exists():
        with suppress(AttributeError, OSError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
