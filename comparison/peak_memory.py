"""Peak memory of one run: of a graphics card as PyTorch counts it, of a processor as the system does."""

import ctypes
import gc
import threading
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")
ANONYMOUS, WATCH_EVERY_S = "RssAnon:", 0.01


class PeakMemory:
    """The most that is taken of a device's memory until ``stop``, above what was taken when this was made.

    Of a processor's memory it is what the program has written there itself: pages of libraries and files, which
    whoever comes first reads in for all, are nobody's.
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
        """The peak in bytes; None where the system does not say: of Apple's graphics, and outside Linux."""
        self._stopped.set()
        if self._device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self._device) - self._before)
        return max(0, max(self._most, anonymous_bytes()) - self._before) if self._watched else None

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_EVERY_S):
            self._most = max(self._most, anonymous_bytes())


def anonymous_bytes() -> int:
    """This process's resident memory that belongs to no file. Linux only."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(ANONYMOUS))
    return int(line.split()[1]) * 1024


def give_back_heap() -> None:
    """Let the system have what the C library keeps of freed memory, where that is GNU's."""
    gc.collect()
    if STATUS.exists():
        with suppress(AttributeError, OSError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
