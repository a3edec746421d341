"""Facts about the program and the machine: folder, versions, device, precision and threads, and access to the Hub."""

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from safetensors import SafetensorError

from errors import InvalidSettings, ModelUnavailable, UserError

if TYPE_CHECKING:
    import torch

Loaded = TypeVar("Loaded")
VERSION = "0.1.0"
ROOT = Path(__file__).resolve().parent  # of the program, with checkpoints/ and examples/
LIBRARIES = ("torch", "diffusers", "transformers")
HUB_TIMEOUT_S = 5.0
# What diffusers, transformers and safetensors raise for files that are missing, damaged or of another kind.
LOADING_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
# Modules of transformers whose remarks are no news: that its image processors do without torchvision, when diffusers
# imports them; that a prompt is longer than a tokenizer reads, which a note under the video says already.
IMPORTING_MODULE = "transformers.utils.import_utils"
QUIET_MODULES = (IMPORTING_MODULE, "transformers.tokenization_utils_base")
# Of a processor's allocator in PyTorch, of its kernels (oneDNN), and of C++.
NOT_ALLOCATED = ("can't allocate memory", "not enough memory", "could not create a primitive", "bad_alloc")
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
OWN_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
CGROUP = Path("/sys/fs/cgroup")
CPU_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # version 2 of control groups, version 1


def choose_device(requested: str | None = None) -> str:
    """Return ``cuda``, ``mps`` or ``cpu``: the best there is, or the one asked for.

    Raises UserError where the requested device is unknown or absent.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested is None:
        return next(name for name, present in available.items() if present)
    kind, _, index = requested.partition(":")
    counts = {"cuda": torch.cuda.device_count(), "mps": 1, "cpu": 1}
    if not available.get(kind, False) or (index and not (index.isdecimal() and int(index) < counts[kind])):
        present = ", ".join(name for name, is_present in available.items() if is_present)
        raise UserError(f"device {requested!r} is not available here; choose from: {present}")
    return requested


def granted_cores() -> int | None:
    """Return the processors' worth of time that this container may use, rounded down; None where nothing limits it."""
    for names in CPU_QUOTAS:
        files = [CGROUP / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text() for file in files).split()
            return max(1, int(quota) // int(period)) if quota.isdecimal() else None
    return None


def fit_threads() -> None:
    """Let torch have no more threads than this container may run at once.

    It counts the processors of the whole machine, and where some threads are held back all the others wait for them (a
    free Space has two processors and shows sixteen).
    """
    import torch

    cores = granted_cores()
    if cores is not None and cores < torch.get_num_threads():
        torch.set_num_threads(cores)


def choose_dtype(device: str) -> "torch.dtype":
    """Return the torch dtype to compute in.

    Half precision on graphics cards; on a processor bfloat16 where it multiplies matrices in it (a clip takes three
    quarters of the time and is as often right, see benchmarks/NOTES.md), else float32.
    """
    import torch

    if not device.startswith("cpu"):
        return torch.float16
    return torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else torch.float32


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise ``torch.OutOfMemoryError`` for every failed allocation inside: that of a processor's memory is a plain
    RuntimeError, of an array a MemoryError."""
    import torch

    try:
        yield
    except MemoryError as error:
        raise torch.OutOfMemoryError(str(error)) from None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not any(part in str(error) for part in NOT_ALLOCATED):
            raise
        raise torch.OutOfMemoryError(str(error)) from None


def make_writable(folder: Path, refusal: str) -> None:
    """Make a folder, and check that a file can be written in it; raises InvalidSettings, which begins with ``refusal``
    and says why."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{refusal}: {getattr(error, 'strerror', error)}") from None


def quiet_imports() -> None:
    """Switch off the remarks of transformers on image processors without torchvision; packages whose modules import
    pipelines of diffusers call it before they do."""
    logging.getLogger(IMPORTING_MODULE).setLevel(logging.ERROR)


def reach_this_machine_directly(host: str = "") -> None:
    """Let no request to this machine go through a proxy that the environment names; ``host`` is one more name of it.

    Raises InvalidSettings where a proxy that is named cannot be used.
    """
    if not _proxies():
        return  # the system's own settings count then, and a variable would hide them
    for name, value in _proxies().items():
        _check_proxy(name, value)
    hosts = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = [*filter(None, map(str.strip, hosts.split(","))), *OWN_HOSTS, socket.gethostname(), *filter(None, [host])]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(dict.fromkeys(direct))


@contextmanager
def unusable_proxies_hidden() -> Iterator[None]:
    """Inside, the environment names only proxies that can be used."""
    hidden = {}
    for name, value in _proxies().items():
        try:
            _check_proxy(name, value)
        except InvalidSettings:
            hidden[name] = os.environ.pop(name)
    try:
        yield
    finally:
        os.environ.update(hidden)


def _proxies() -> dict[str, str]:
    """The proxies that the environment names, by variable, in capitals and in small letters."""
    spellings = (spelling for name in PROXY_VARIABLES for spelling in (name, name.lower()))
    return {name: value for name in spellings if (value := os.environ.get(name))}


def _check_proxy(variable: str, address: str) -> None:
    """Raise InvalidSettings for a proxy that the library for requests (httpx) refuses with an exception of its own."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.scheme not in PROXY_SCHEMES:
        raise InvalidSettings(f"{variable}: must be an address such as http://proxy.example:8080: change or unset it")
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        raise InvalidSettings(
            f"{variable}: names a SOCKS proxy, for which a package is missing: unset it, name an HTTP proxy, or run "
            "pip install socksio"
        )


def quiet_libraries() -> None:
    """Switch off progress bars of diffusers and transformers, remarks of diffusers, and those of QUIET_MODULES; call it
    before a pipeline's class is imported."""
    for name in QUIET_MODULES:
        logging.getLogger(name).setLevel(logging.ERROR)
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def versions() -> dict[str, str]:
    """Return the versions that decide what a seed draws, for the metadata of a video."""
    return {"text2video-zero-studio": VERSION} | {name: version(name) for name in LIBRARIES}


def local_or_hub(source: str, read: Callable[..., Loaded]) -> Loaded:
    """Read files from this machine, and only where they are not whole from the Hub.

    Args:
        source: a folder, a Hub id, or a repository of one.
        read: called with ``local_files_only=True``, and without it where that raised OSError.

    Raises whatever ``read`` raises, OSError where the Hub does not give the files, and ModelUnavailable where this
    process may not ask it.
    """
    try:
        return read(local_files_only=True)
    except OSError:
        if Path(source).is_dir():
            raise
        if not HUB_ACCESS.allows(source):
            raise ModelUnavailable(
                f"{source} is not on this server, and on a page that others reach visitors start no downloads: its "
                "operator can name it or fetch it before"
            ) from None
        ask_hub(source)
        return read()


@dataclass
class HubAccess:
    """Permission of this process to fetch from the Hub: everything, or the repositories in ``only``. A page that others
    reach sets it once, before the first job: a download is gigabytes, and not for strangers to start."""

    only: frozenset[str] | None = None

    def restrict(self, sources: Iterable[str]) -> None:
        """Allow these Hub ids, or files of theirs, and no others."""
        self.only = frozenset(map(repository_of, sources))

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Inside, fetching can be restricted; afterwards it is as before."""
        before = self.only
        try:
            yield
        finally:
            self.only = before

    def allows(self, source: str) -> bool:
        """Return whether a Hub id, or the repository of a file, may be fetched from."""
        return self.only is None or repository_of(source) in self.only


HUB_ACCESS = HubAccess()


def repository_of(source: str) -> str:
    """Return the Hub id in a source such as ``user/repository/file.safetensors``."""
    return "/".join(source.split("/")[:2])


def ask_hub(source: str) -> None:
    """Ask the Hub once whether it has ``source``; raises OSError, and InvalidSettings for a proxy that is of no use.

    Without a connection every file would be asked for six times, and the user told after more than a minute.
    """
    reach_this_machine_directly()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import httpx

    try:
        HfApi().model_info(source, timeout=HUB_TIMEOUT_S)
    except (httpx.HTTPError, HFValidationError) as error:
        raise ConnectionError(f"the Hub does not give {source}") from error
