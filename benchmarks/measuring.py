"""Common tools of the benchmarks: runs timed in turn, peak memory, the machine in one line, markdown tables."""

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils import ROOT, versions

STATUS, CLEAR_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def in_turn(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each run, timed in turn (A B A B ...).

    A machine that slows down on the way then does so for all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            gc.collect()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def elsewhere(module: str, *arguments: object) -> Any:
    """Run a module in a process of its own, with a peak of its own; return its last line, read as JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_mib() -> tuple[float, float]:
    """Return this process's resident memory now, and its peak since ``forget_peak``. Linux only.

    Not ``ru_maxrss``: a child starts with its parent's peak there, which would hide its own.
    """
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def forget_peak() -> None:
    """Let the peak of ``memory_mib`` start from what is resident now."""
    gc.collect()
    CLEAR_PEAK.write_text("5")


def in_float32(components: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pipeline's parts with every network in single precision."""
    return {name: part.float() if hasattr(part, "parameters") else part for name, part in components.items()}


def conditions(**settings: object) -> str:
    """Describe the machine, the versions and the settings in lines of markdown."""
    import torch

    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines = [
        f"- {processor}, {os.cpu_count()} cores, torch on {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f} before the start",
        f"- Python {platform.python_version()}, {used}",
        "- " + ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in settings.items()),
    ]
    if torch.cuda.is_available():
        lines.insert(1, f"- {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    return "\n".join(lines) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a markdown table; every column but the first is flush right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines) + "\n"


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
