"""Memory that this process can still have, as the system, its container and its own limits say. Files alone are read.

Where a system says nothing there is no number, and nothing is refused for its sake.
"""

from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMORY_FACTS, OWN_FACTS = Path("/proc/meminfo"), Path("/proc/self/status")
# Of version 2 of control groups and of version 1: the limit, what is taken, and which of that is files read before,
# which the system gives back by itself.
CONTAINERS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
OWN_LIMITS = (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData"))


def available_bytes() -> int | None:
    """Return the bytes that can still be taken before something is killed for it; None where nothing is known."""
    found = [*_machine(), *_container(), *_own_limits()]
    return max(0, min(found)) if found else None


def _machine() -> Iterator[int]:
    """Bytes that the machine has to give."""
    facts = _kilobytes(MEMORY_FACTS)
    if "MemAvailable" in facts:
        yield facts["MemAvailable"]


def _container() -> Iterator[int]:
    """Bytes that the limit of a container leaves."""
    for limit, taken, files in CONTAINERS:
        try:
            most, now = (int((CGROUP / name).read_text()) for name in (limit, taken))
            facts = dict(line.split() for line in ((CGROUP / taken).parent / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no container, or no limit
            continue
        yield most - now + int(facts.get(files, 0))


def _own_limits() -> Iterator[int]:
    """Bytes that the limits of this process leave (ulimit)."""
    facts = _kilobytes(OWN_FACTS)
    try:
        import resource
    except ImportError:  # on Windows
        return
    for limit, taken in OWN_LIMITS:
        most = resource.getrlimit(getattr(resource, limit))[0]
        if most != resource.RLIM_INFINITY and taken in facts:
            yield most - facts[taken]


def _kilobytes(path: Path) -> dict[str, int]:
    """The numbers of one of the system's lists of facts, in bytes."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[2:] == ["kB"]}
